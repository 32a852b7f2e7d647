//! Bounded queues, by how many items wait in them.

use prometheus_client::{encoding::EncodeLabelSet, metrics::family::Family, registry::Registry};

use super::{Gauge, add};

/// A bounded queue of the node, by its place on the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Answers waiting to be sent on sessions.
    Session,
    /// Requests waiting for the answer of another node.
    Forward,
    /// Writes waiting to be proposed, behind others of their key included.
    Propose,
    /// Reads waiting for the confirmation of leadership.
    Read,
    /// Appends waiting for the log's next sync.
    Log,
    /// Messages waiting for links to other nodes, all but bulk.
    Peer,
    /// Bulk waiting for links to other nodes.
    PeerBulk,
}

impl Queue {
    pub(super) const ALL: [(Queue, &str); 7] = [
        (Queue::Session, "session"),
        (Queue::Forward, "forward"),
        (Queue::Propose, "propose"),
        (Queue::Read, "read"),
        (Queue::Log, "log"),
        (Queue::Peer, "peer"),
        (Queue::PeerBulk, "peer_bulk"),
    ];
}

/// Counts as one in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// One more.
    pub fn one(gauge: &Gauge) -> Held {
        gauge.inc();
        Held(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

/// The handles of all queues, in the order of [`Queue::ALL`].
pub(super) fn queues(registry: &mut Registry) -> [Gauge; Queue::ALL.len()] {
    let depth: Family<QueueLabels, Gauge> =
        add(registry, "queue_depth", "Items waiting in a queue of the node");
    Queue::ALL.map(|(_, queue)| depth.get_or_create_owned(&QueueLabels { queue }))
}
