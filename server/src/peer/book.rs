//! The address book: where each node was heard of last.
//!
//! Addresses are not in the Raft membership (five restarts with new ports could not commit the
//! change): they come from handshakes and the configured seeds, and a copy is kept on disk. The
//! newest start of a node wins. In a cluster only its members have addresses: another process that is started
//! beside its nodes is neither dialled nor counted, nor are others told of it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use quintet_proto::internal::v1 as wire;
use tokio::sync::Notify;

use crate::{ids::NodeId, storage::format::node::AddressRecord};

/// Nodes that a book holds at most: peers can't make it grow without bound.
const NODES_MAX: usize = 1_000;

/// Addresses of nodes.
#[derive(Debug)]
pub struct AddressBook {
    me: RwLock<AddressRecord>,
    others: RwLock<BTreeMap<NodeId, AddressRecord>>,
    /// Who may be in it; everybody as long as there is no cluster.
    members: RwLock<Option<BTreeSet<NodeId>>>,
    seeds: Vec<String>,
    /// Told when something was learnt.
    changed: Notify,
}

impl AddressBook {
    pub(super) fn new(
        me: AddressRecord,
        known: Vec<AddressRecord>,
        seeds: Vec<String>,
    ) -> AddressBook {
        let others = known
            .into_iter()
            .filter(|other| other.node != me.node)
            .map(|other| (other.node, other));
        let others = RwLock::new(others.collect());
        let members = RwLock::default();
        AddressBook { others, me: RwLock::new(me), members, seeds, changed: Notify::new() }
    }

    /// This node's addresses.
    pub fn me(&self) -> AddressRecord {
        self.me.read().clone()
    }

    /// The configured addresses to begin with.
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// The addresses of a node.
    pub fn get(&self, node: NodeId) -> Option<AddressRecord> {
        let me = self.me();
        if node == me.node {
            return Some(me);
        }
        self.others.read().get(&node).cloned()
    }

    /// The other nodes.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.others.read().keys().copied().collect()
    }

    /// Every known node, this one first.
    pub fn all(&self) -> Vec<AddressRecord> {
        let mut all = vec![self.me()];
        all.extend(self.others.read().values().cloned());
        all
    }

    /// Forgets everybody but the members of a cluster, and learns nobody else from now on.
    pub(super) fn keep_members(&self, members: &BTreeSet<NodeId>) {
        *self.members.write() = Some(members.clone());
        self.others.write().retain(|node, _| members.contains(node));
    }

    /// Takes what is newer than what is known.
    pub fn learn(&self, address: AddressRecord) {
        if self.members.read().as_ref().is_some_and(|members| !members.contains(&address.node)) {
            return;
        }
        let mut others = self.others.write();
        let full = others.len() >= NODES_MAX;
        match others.get_mut(&address.node) {
            Some(known) if known.epoch >= address.epoch => return,
            Some(known) => *known = address,
            None if full => tracing::warn!(node = %address.node, "the address book is full"),
            None => {
                others.insert(address.node, address);
            }
        }
        self.changed.notify_one();
    }

    /// Somebody remembers another start of this node. Where that counts as newer this one's was counted on
    /// a directory that began again: from now on it is the newest. Whether that changed anything.
    pub(super) fn outgrow(&self, remembered: &AddressRecord) -> bool {
        let mut me = self.me.write();
        if remembered.epoch < me.epoch || *remembered == *me {
            return false;
        }
        let Some(epoch) = remembered.epoch.checked_add(1) else { return false };
        me.epoch = epoch;
        self.changed.notify_one();
        true
    }

    /// Returns once something was learnt since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

pub(super) fn to_wire(address: &AddressRecord) -> wire::NodeAddress {
    wire::NodeAddress {
        node_id: address.node.0,
        city: address.city.clone(),
        room: address.room.clone(),
        internal_address: address.internal.clone(),
        client_address: address.client.clone(),
        http_address: address.http.clone(),
        epoch: address.epoch,
        version: address.version.clone(),
        directory: address.directory,
    }
}

pub(super) fn from_wire(address: &wire::NodeAddress) -> AddressRecord {
    AddressRecord {
        node: NodeId(address.node_id),
        city: address.city.clone(),
        room: address.room.clone(),
        internal: address.internal_address.clone(),
        client: address.client_address.clone(),
        http: address.http_address.clone(),
        epoch: address.epoch,
        version: address.version.clone(),
        directory: address.directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(node: u64, epoch: u64) -> AddressRecord {
        let wire = wire::NodeAddress { node_id: node, epoch, ..wire::NodeAddress::default() };
        from_wire(&wire)
    }

    #[test]
    fn who_is_no_member_is_forgotten_and_not_learnt() {
        let book = AddressBook::new(record(1, 1), vec![record(6, 1)], Vec::new());
        book.learn(record(2, 1));
        book.learn(record(7, 1));
        assert_eq!(book.nodes(), [2, 6, 7].map(NodeId));
        book.keep_members(&[1, 2, 3].map(NodeId).into());
        assert_eq!(book.nodes(), [NodeId(2)]);
        book.learn(record(6, 9));
        book.learn(record(3, 1));
        assert_eq!(book.nodes(), [2, 3].map(NodeId));
    }
}
