//! Where time servers are: on every node that holds a voter of the system range, or on those of them alone that an
//! operator has named. So the set shrinks to the survivors of a lost room, and grows back when the room is there again.
//!
//! Five servers with a room of two lost decide rounds as long as no other one is lost. Three, those that are left, may
//! lose one more, and rounds wait for two of three instead of all three that are left. What an operator names is a
//! record of the system range (`cluster/registry.rs`); the set follows by a change like any other (`change.rs`).
//!
//! # Invariants
//!
//! * No fewer are named than a majority of the voters: else nodes could be lost that ranges can do without, and time
//!   can't.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use quintet_proto::v1;

use crate::{
    cluster::{
        orders,
        registry::{self, Name},
        state::NodeState,
    },
    error::OpError,
    ids::{NodeId, SYSTEM_RANGE},
    peer::ask,
    range::replica::Replica,
    storage::format::codec,
    time::oracle::ServerId,
};

impl NodeState {
    /// Has time servers on these nodes alone, or on all that belong there. The set has changed some moments later.
    pub async fn place_time_servers(
        self: &Arc<Self>,
        request: v1::PlaceTimeServersRequest,
    ) -> Result<v1::PlaceTimeServersResponse, OpError> {
        self.check_named(&request)?;
        let question = || ask::PlaceTimeServers(request.clone());
        let here = || self.place_time_servers_here(request.clone());
        self.order_of_leader(orders::until(request.timeout_ms), question, here).await
    }

    /// What can be told of the nodes that are named by whoever is asked.
    fn check_named(&self, request: &v1::PlaceTimeServersRequest) -> Result<(), OpError> {
        let Some(cluster) = self.cluster() else { return Err(self.peers().no_cluster()) };
        let nodes: BTreeSet<_> = request.node_ids.iter().map(|id| NodeId(*id)).collect();
        if let Some(stranger) = nodes.iter().find(|node| !cluster.nodes.contains(node)) {
            return Err(OpError::invalid(format!(
                "there is no node {}; 'quintet status' lists them",
                stranger.0
            )));
        }
        if nodes.len() != request.node_ids.len() {
            return Err(OpError::invalid("a node is named twice; name it once"));
        }
        if !nodes.is_empty() && nodes.len().is_multiple_of(2) {
            return Err(OpError::invalid(format!(
                "{} time servers bear the loss of no more than {} do; name an odd number of nodes",
                nodes.len(),
                nodes.len() - 1
            )));
        }
        Ok(())
    }

    /// The same, by the leader of the system range, which this node is to be.
    pub(in crate::cluster) async fn place_time_servers_here(
        &self,
        request: v1::PlaceTimeServersRequest,
    ) -> Result<v1::PlaceTimeServersResponse, OpError> {
        self.check_named(&request)?;
        let (replica, registry) = self.led_registry()?;
        let members = replica.members();
        let voters = members.voters();
        let named = &request.node_ids;
        let holders: BTreeSet<_> =
            voters.iter().filter_map(|voter| members.holder(*voter)).collect();
        if let Some(other) = named.iter().find(|id| !holders.contains(&NodeId(**id))) {
            return Err(OpError::invalid(format!(
                "node {other} holds no voter of range {SYSTEM_RANGE}, where time servers are; name one that does"
            )));
        }
        let least = voters.len() / 2 + 1;
        if !named.is_empty() && named.len() < least {
            return Err(OpError::invalid(format!(
                "{} of {} are named, {least} at least are needed: time would stop where ranges go on",
                named.len(),
                voters.len()
            )));
        }
        let is_live = |id: &&u64| {
            let node = NodeId(**id);
            node == self.peers().me() || self.peers().is_live(node)
        };
        let live = named.iter().filter(is_live).count();
        if !named.is_empty() && live <= named.len() / 2 {
            return Err(OpError::invalid(format!(
                "{live} of {} nodes can be reached, a majority is needed; name those that are up",
                named.len()
            )));
        }
        let stands = registry.time_servers;
        let stands_for = stands.as_ref().map_or(&[][..], |(_, nodes)| nodes);
        if stands_for != request.node_ids {
            let value = (!request.node_ids.is_empty())
                .then(|| Bytes::from(codec::encode(&request.node_ids)));
            let instead_of = stands.as_ref().map(|(at, _)| *at);
            self.write_record(&replica, &Name::TimeServers, value, instead_of).await?;
        }
        Ok(v1::PlaceTimeServersResponse {})
    }
}

/// The servers that there should be without those that are lost: on which node, and whether that can be asked. None
/// where it can't be said now.
pub(super) fn candidates(
    node_state: &NodeState,
    replica: &Replica,
    lost: &BTreeSet<ServerId>,
) -> Option<BTreeMap<ServerId, (NodeId, bool)>> {
    let members = replica.members();
    if members.is_joint() {
        return None;
    }
    let peers = node_state.peers();
    let server = |node: NodeId| {
        let at = peers.book().get(node).filter(|at| at.directory != 0)?;
        Some((ServerId(at.directory), (node, peers.is_live(node))))
    };
    let voters = members.voters();
    let holders: Option<Vec<_>> = voters.iter().map(|voter| members.holder(*voter)).collect();
    let servers: Option<BTreeMap<_, _>> = holders?.into_iter().map(server).collect();
    let mut servers = servers?;
    servers.retain(|server, _| !lost.contains(server));
    // What can't be read now is looked at again with the next look.
    let only = registry::time_servers(replica).ok()?;
    let named = servers.values().filter(|(node, _)| only.contains(node)).count();
    // Where one of them is lost, or votes no more, it is as if none were named.
    if !only.is_empty() && named == only.len() {
        servers.retain(|_, (node, _)| only.contains(node));
    }
    Some(servers)
}
