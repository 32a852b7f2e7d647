//! What a node knows and is: its cluster, its router and links, and what other nodes have told it.
//!
//! One value a node, shared by everything above the router: the doors (`api/`), the background jobs
//! (`upkeep/`), the answers to peers (`answers/`) and the operations of this folder, which are methods of
//! [`NodeState`] in the file of their name. It starts nothing by itself: that is the work of `node/`.
//!
//! # Invariants
//!
//! * What other nodes say is kept per node or per range that this node knows: a peer can't make a map grow
//!   (checked where it is heard, `answers/pings.rs`).
//! * No lock of the maps is held across an await, and each guards one field. `planning` is held while a plan is taken.
//!
//! # On a crash
//!
//! What [`super::records`] wrote of it is left. What others said comes again with their next pings, and nodes to be
//! told that they are drained with the next look at the registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quintet_proto::internal::v1 as wire;
use tokio::sync::Notify;

use super::{
    around::Around, closed_age::ClosedAges, disks::DiskNews, holds::Holds, retention::Settings,
    time_server::TimeServerHere,
};
use crate::{
    ids::{NodeId, RangeId},
    peer::{
        Peers,
        ask::{Ask, NoAnswer},
    },
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
    time_server: Arc<TimeServerHere>,
    random: Random,
    pub(super) cluster: Mutex<Option<ClusterRecord>>,
    /// One plan at a time.
    pub(super) planning: Arc<tokio::sync::Mutex<()>>,
    /// What leaders said last about their ranges.
    news: Mutex<BTreeMap<RangeId, wire::RangeNews>>,
    /// Nodes that take no leaders at the moment.
    draining: Mutex<BTreeMap<NodeId, bool>>,
    /// What became of leaders that this node handed over.
    pub(super) handovers: Mutex<Handovers>,
    /// Nodes that are to be told that they are drained, as the registry has it.
    to_drain: Mutex<BTreeSet<NodeId>>,
    /// What is set about retention; none before it was read.
    retention: Mutex<Option<Arc<Settings>>>,
    /// Moments that this node keeps from being collected.
    holds: Holds,
    /// How old closed moments are.
    closed_ages: Arc<ClosedAges>,
    /// By how many microseconds the clocks of nodes are wrong, as each says of itself.
    clocks: Mutex<BTreeMap<NodeId, i64>>,
    /// What other nodes said last of their disks.
    disks: Mutex<BTreeMap<NodeId, DiskNews>>,
    /// Whom other nodes reach, as they say.
    pub(super) around: Around,
    /// The places of this node's leaders are to be looked at now.
    leaders_look: Notify,
    /// Ranges of which this node, as their leader, replaces a replica at the moment.
    pub(super) replacing: Mutex<BTreeSet<RangeId>>,
}

impl NodeState {
    /// The state of a node that belongs to no cluster yet.
    pub(crate) fn new(
        host: Host,
        router: Arc<Router>,
        time_server: Arc<TimeServerHere>,
        random: Random,
    ) -> Arc<NodeState> {
        // What this process is known by, to itself alone.
        let life = random();
        Arc::new(NodeState {
            host,
            router,
            time_server,
            random,
            cluster: Mutex::new(None),
            planning: Arc::default(),
            news: Mutex::default(),
            draining: Mutex::default(),
            handovers: Mutex::default(),
            to_drain: Mutex::default(),
            retention: Mutex::default(),
            holds: Holds::new(life),
            closed_ages: Arc::new(ClosedAges::new(life)),
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

    /// How old closed moments are.
    pub(crate) fn closed_ages(&self) -> &Arc<ClosedAges> {
        &self.closed_ages
    }

    /// The node's router.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The node's time server.
    pub(crate) fn time_server(&self) -> &Arc<TimeServerHere> {
        &self.time_server
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

    /// Has a node do what a question asks for: this one by `here`, another one by asking it, no longer than `within`.
    pub(super) async fn at<A: Ask>(
        &self,
        node: NodeId,
        range: Option<RangeId>,
        question: A,
        within: Duration,
        here: impl Future<Output = A::Answer>,
    ) -> Result<A::Answer, NoAnswer> {
        if node == self.peers().me() {
            return Ok(here.await);
        }
        self.peers().ask_within(node, range, question, within).await
    }

    /// What a leader said last of its range.
    pub(crate) fn news_of(&self, range: RangeId) -> Option<wire::RangeNews> {
        self.news.lock().get(&range).cloned()
    }

    /// Up to which index all replicas of a range are known to hold its log, as its leader said last.
    pub(crate) fn held_by_all(&self, range: RangeId) -> u64 {
        self.news.lock().get(&range).map_or(0, |news| news.held_by_all)
    }

    /// A leader of this node, or of another one, says this of its range; what a leader of a later term said stays.
    pub(super) fn heard_news(&self, news: wire::RangeNews) {
        let mut known = self.news.lock();
        match known.get(&RangeId(news.range_id)) {
            Some(known) if known.term > news.term => {}
            _ => {
                known.insert(RangeId(news.range_id), news);
            }
        }
    }

    /// Whether a node takes no leaders, as it says itself.
    pub(super) fn says_draining(&self, node: NodeId) -> bool {
        self.draining.lock().get(&node).copied().unwrap_or(false)
    }

    /// Whether a node takes no leaders, as far as this one knows.
    pub(super) fn is_draining(&self, node: NodeId) -> bool {
        self.says_draining(node) || self.to_drain.lock().contains(&node)
    }

    /// A node says whether it takes leaders.
    pub(super) fn heard_draining(&self, node: NodeId, draining: bool) {
        self.draining.lock().insert(node, draining);
    }

    /// Whether this node takes leaders.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.heard_draining(self.peers().me(), draining);
    }

    /// The nodes that are to be told that they are drained, as the registry has it now.
    pub(crate) fn set_to_drain(&self, nodes: BTreeSet<NodeId>) {
        *self.to_drain.lock() = nodes;
    }

    /// What is set about retention, as the registry has it.
    pub(crate) fn set_retention_settings(&self, settings: Settings) {
        *self.retention.lock() = Some(Arc::new(settings));
    }

    /// What is set about retention, where the node knows.
    pub(crate) fn retention_settings(&self) -> Option<Arc<Settings>> {
        self.retention.lock().clone().filter(|settings| settings.is_known())
    }

    /// Moments that this node keeps from being collected.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The registry has it that a node is to be told that it is drained, or that it is not; this node's replica shows
    /// that in a moment.
    pub(super) fn expect_told(&self, node: NodeId, drained: bool) {
        let mut to_drain = self.to_drain.lock();
        match drained {
            true => to_drain.insert(node),
            false => to_drain.remove(&node),
        };
    }

    /// A node says by how many microseconds its clock is wrong; what it said before, or 0.
    pub(crate) fn heard_clock(&self, node: NodeId, wrong_by_us: i64) -> i64 {
        self.clocks.lock().insert(node, wrong_by_us).unwrap_or(0)
    }

    /// By how many microseconds a node's clock is wrong, as it says itself.
    pub(super) fn clock_wrong_by_us(&self, node: NodeId) -> i64 {
        self.clocks.lock().get(&node).copied().unwrap_or(0)
    }

    /// A node says what its disk is good for.
    pub(super) fn heard_disk(&self, node: NodeId, disk: DiskNews) {
        self.disks.lock().insert(node, disk);
    }

    /// Has the places of this node's leaders looked at now.
    pub(crate) fn look_at_leaders(&self) {
        self.leaders_look.notify_one();
    }

    /// Waits for that.
    pub(crate) async fn leaders_are_to_be_looked_at(&self) {
        self.leaders_look.notified().await;
    }

    /// What is known of a node's disk; of one that was not heard of, nothing bad.
    pub(super) fn disk_of(&self, node: NodeId) -> Option<DiskNews> {
        if node == self.peers().me() {
            return Some(DiskNews::of(&self.host.disk));
        }
        self.disks.lock().get(&node).copied()
    }
}
