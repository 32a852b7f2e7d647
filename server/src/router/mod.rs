//! From a key to the replica that serves it, here or on another node.
//!
//! Every node accepts every request. Where this node leads the key's range the request is queued; where
//! another does, it is forwarded over the link to that node. A node that does not lead the range, or does not hold
//! the key, answers so, with the leader or the descriptors that it knows. The request then goes there, once more and
//! no further, and this node keeps the better route. Only definite answers are followed: nothing was begun.
//!
//! ```text
//!   dispatch.rs  a request goes where its route says    routes.rs     key -> descriptor, as known
//!   way.rs       straight to the leader, or around      relay.rs      passes on what takes the way around
//!   forward.rs   to the node that leads its range
//!   serve.rs     what another node forwarded            admission.rs  how much the node takes on
//!   scan.rs      scans get their moment                 parts.rs      a scan's span, by ranges
//!   hints.rs     where clients had better go             watches.rs    feeds that clients have open
//!   follower.rs  newest state, by a replica that does not lead
//!   timestamp.rs timestamps, which are of no range
//! ```
//!
//! What goes in is decoded, beside the message that it came in, which may have to go on as it is
//! ([`Request`](crate::request::decoded::Request)). What comes out is an
//! [`Answered`](crate::request::answer::Answered): found here, passed on from another node, or failed.
//!
//! # Invariants
//!
//! * A replica serves a request only if the key is in its range and the request was routed by the
//!   generation that it has ([`Router::admit`]); the executor, reads and apply look at the span again.
//! * A request is sent to a second node only where the first has done nothing.

pub mod admission;
mod dispatch;
mod follower;
mod forward;
pub(crate) mod hints;
pub(crate) mod parts;
mod relay;
pub mod routes;
mod scan;
mod serve;
mod timestamp;
pub mod watches;
mod way;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

use self::{admission::Admission, routes::Routes, watches::Watches, way::Turns};
use crate::{
    config::Limits,
    ids::{NodeId, RangeId},
    ops::metrics::Metrics,
    peer::Peers,
    planted::{self, Bug},
    range::replica::Replica,
    request::{decode::Decoder, place::Place},
    seams::Random,
    storage::changes::Position,
    time::{Timestamp, oracle::handle::Oracle},
};

/// How often a request is sent on after a definite "not here".
const CORRECTIONS_MAX: u32 = 1;

/// The ranges that a node knows and its replicas of them.
pub struct Router {
    routes: Routes,
    replicas: RwLock<BTreeMap<RangeId, Replica>>,
    /// Who leads ranges and in which term, as was heard; for those of which this node has no replica that
    /// votes, or whose replica does not know of that term yet.
    leaders: RwLock<BTreeMap<RangeId, (u64, NodeId)>>,
    relays: Turns,
    /// Room for scans that are being opened.
    scans: Arc<Semaphore>,
    /// Room for reads that this node's replicas serve behind their leaders.
    follower_reads: Arc<Semaphore>,
    admission: Arc<Admission>,
    watches: Arc<Watches>,
    decoder: Decoder,
    peers: Arc<Peers>,
    oracle: Arc<Oracle>,
    metrics: Arc<Metrics>,
    limits: Limits,
    patience: Duration,
}

impl Router {
    /// A router that knows no range yet. After `patience` without any other node there is no hope for one in
    /// an election.
    pub fn new(
        peers: Arc<Peers>,
        oracle: Arc<Oracle>,
        metrics: Arc<Metrics>,
        limits: Limits,
        patience: Duration,
        random: Random,
    ) -> Router {
        Router {
            patience,
            routes: Routes::default(),
            replicas: RwLock::default(),
            leaders: RwLock::default(),
            relays: Turns::default(),
            scans: Arc::new(Semaphore::new(scan::OPENED_AT_ONCE_MAX)),
            follower_reads: Arc::new(Semaphore::new(follower::AT_ONCE_MAX)),
            admission: Admission::new(&limits, metrics.clone()),
            watches: Watches::new(limits.watches_max, metrics.clone()),
            decoder: Decoder::new(limits.clone(), oracle.clone(), peers.clone(), random),
            peers,
            oracle,
            metrics,
            limits,
        }
    }

    /// What the node knows of where keys are.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Takes this node's replica of a range into use.
    pub fn add(&self, replica: Replica) {
        self.routes.learn(&replica.shared.state.descriptor());
        self.replicas.write().insert(replica.range, replica);
    }

    /// Another node leads a range, as was heard.
    pub fn heard_leader(&self, range: RangeId, leader: NodeId, term: u64) {
        // Only of ranges that this node knows: a peer can't make the map grow.
        if self.replica(range).is_some() || self.routes.knows(range) {
            let mut leaders = self.leaders.write();
            let known = leaders.entry(range).or_insert((term, leader));
            if known.0 <= term {
                *known = (term, leader);
            }
        }
    }

    /// Takes over what this node's own replicas know of their ranges by now.
    pub fn refresh_routes(&self) {
        for replica in self.replicas() {
            self.routes.learn(&replica.shared.state.descriptor());
        }
    }

    /// The node that leads a range, as far as this one knows.
    pub fn leader_of(&self, range: RangeId) -> Option<NodeId> {
        let heard = self.leaders.read().get(&range).copied();
        let replicas = self.replicas.read();
        let Some(replica) = replicas.get(&range) else { return heard.map(|(_, leader)| leader) };
        // The careless hand: "its replica knows best".
        let waits_for_disk = planted::active(Bug::HungDiskKeepsRequests);
        let seat = replica.seat();
        match heard {
            // The replica has not heard of it: it does not vote yet, or its disk keeps it from taking notice.
            Some((term, leader)) if term > seat.term && !waits_for_disk => Some(leader),
            Some((_, leader)) if !seat.votes => seat.leader.or(Some(leader)),
            _ => seat.leader,
        }
    }

    /// Whether this node leads a range, as far as it knows.
    pub fn leads(&self, range: RangeId) -> bool {
        let leads = self.replicas.read().get(&range).is_some_and(Replica::is_leader);
        leads && self.leader_of(range) == Some(self.peers.me())
    }

    /// Whether this node has reached no other for longer than its patience: nothing can be hoped from asking again.
    pub fn is_cut_off(&self) -> bool {
        self.peers.alone_for().is_some_and(|alone| alone > self.patience)
    }

    /// This node's replica of a range.
    pub fn replica(&self, range: RangeId) -> Option<Replica> {
        self.replicas.read().get(&range).cloned()
    }

    /// This node's replicas.
    pub fn replicas(&self) -> Vec<Replica> {
        self.replicas.read().values().cloned().collect()
    }

    /// The closed moment of this node's replica of a span of stored keys within one range, where nothing at or below it
    /// is behind a position. It is what most questions of a feed come to, and costs nothing so.
    pub(crate) fn nothing_new(
        &self,
        (start, end): (&[u8], &[u8]),
        after: &Position,
    ) -> Option<Timestamp> {
        let replica = self.replica(self.routes.find(Place::Key(start))?.range)?;
        let holds = replica.shared.state.descriptor().covers(start, end);
        (holds && replica.shows_changes(after)).then(|| replica.nothing_new(after)).flatten()
    }

    /// Decodes requests by what the node accepts.
    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// What the node accepts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much the node takes on.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// The feeds that clients have open at this node.
    pub fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    /// The node's way to timestamps.
    pub fn oracle(&self) -> &Arc<Oracle> {
        &self.oracle
    }

    /// The node's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The other nodes.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }
}
