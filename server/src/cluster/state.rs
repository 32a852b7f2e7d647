//! What a node knows and is: its cluster, its router and links, and what other nodes have told it.
//!
//! One value a node, shared by everything above the router: the doors (`api/`), the background jobs
//! (`upkeep/`), the answers to peers (`answers/`) and the operations of this folder, which are methods of
//! [`NodeState`] in the file of their name. It starts nothing by itself: that is the work of `node/`.
//!
//! # Invariants
//!
//! * What other nodes say is kept a node or a range that this node knows: a peer can't make a map grow
//!   (checked where it is heard, `answers/pings.rs`).
//! * No lock here is held across an await; each guards one field and nothing else.
//!
//! # On a crash
//!
//! Only what [`super::records`] wrote is left. News and words of others come again with their next pings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use quintet_proto::internal::v1 as wire;
use tokio::sync::Notify;

use super::{around::Around, disks::DiskNews};
use crate::{
    ids::{NodeId, RangeId},
    peer::Peers,
    placement::handover::Handovers,
    range::replica::{Host, Replica},
    router::Router,
    seams::Random,
    storage::format::cluster::ClusterRecord,
};

/// What a node knows and is.
pub struct NodeState {
    host: Host,
    router: Arc<Router>,
    random: Random,
    pub(super) cluster: Mutex<Option<ClusterRecord>>,
    /// One plan at a time.
    pub(super) planning: Arc<tokio::sync::Mutex<()>>,
    /// What leaders said last about their ranges.
    pub(crate) news: Mutex<BTreeMap<RangeId, wire::RangeNews>>,
    /// Nodes that take no leaders at the moment.
    pub(super) draining: Mutex<BTreeMap<NodeId, bool>>,
    /// What became of leaders that this node handed over.
    pub(super) handovers: Mutex<Handovers>,
    /// Nodes that are to be told that they are drained, as the registry has it.
    pub(crate) to_drain: Mutex<BTreeSet<NodeId>>,
    /// By how many microseconds the clocks of nodes are wrong, as each says of itself.
    pub(crate) clocks: Mutex<BTreeMap<NodeId, i64>>,
    /// What other nodes said last of their disks.
    pub(super) disks: Mutex<BTreeMap<NodeId, DiskNews>>,
    /// Whom other nodes reach, as they say.
    pub(super) around: Around,
    /// The places of this node's leaders are to be looked at now.
    pub(crate) leaders_look: Notify,
    /// Ranges of which this node, as their leader, replaces a replica at the moment.
    pub(super) replacing: Mutex<BTreeSet<RangeId>>,
}

impl NodeState {
    /// The state of a node that belongs to no cluster yet.
    pub(crate) fn new(host: Host, router: Arc<Router>, random: Random) -> Arc<NodeState> {
        Arc::new(NodeState {
            host,
            router,
            random,
            cluster: Mutex::new(None),
            planning: Arc::default(),
            news: Mutex::default(),
            draining: Mutex::default(),
            handovers: Mutex::default(),
            to_drain: Mutex::default(),
            clocks: Mutex::default(),
            disks: Mutex::default(),
            around: Around::default(),
            leaders_look: Notify::new(),
            replacing: Mutex::default(),
        })
    }

    /// The node's links.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.host.peers
    }

    /// The node's router.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The replicas that lead their ranges, as far as the node knows.
    pub(crate) fn leading(&self) -> Vec<Replica> {
        let mut replicas = self.replicas();
        replicas.retain(|replica| self.router.leads(replica.range));
        replicas
    }

    /// The node's replicas.
    pub fn replicas(&self) -> Vec<Replica> {
        self.router.replicas()
    }

    /// What the node's replicas run on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// 64 random bits.
    pub(crate) fn random(&self) -> u64 {
        (self.random)()
    }

    /// The client part of ids of requests that this node makes for itself.
    pub(crate) fn draw_client(&self) -> u128 {
        (u128::from(self.random()) << 64) | u128::from(self.random())
    }

    /// The cluster that the node belongs to.
    pub fn cluster(&self) -> Option<ClusterRecord> {
        self.cluster.lock().clone()
    }

    /// What is known of a node's disk; of one that was not heard of, nothing bad.
    pub(super) fn disk_of(&self, node: NodeId) -> Option<DiskNews> {
        if node == self.peers().me() {
            return Some(DiskNews::of(&self.host.disk));
        }
        self.disks.lock().get(&node).copied()
    }
}
