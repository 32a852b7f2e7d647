//! Which processes at the other ends of links have ended, as far as this node can be certain.
//!
//! A link that falls silent says nothing of the other node: it may be slow, or out of reach. But where the other
//! side closed the connection and a new one is refused, its machine is there and no process listens; and where
//! the node answers under a later start than before, the process that was there before is gone. The ranges that this
//! process led have no leader then: a restarted node never resumes a term. So their replicas need not wait for the
//! election timeout (`upkeep/lost_leaders.rs`).
//!
//! # Invariants
//!
//! * Nothing but time rests on it: a node that is taken for gone and is not may cost an election, for which
//!   a majority has to be of the same opinion.
//! * What waits to be taken is bounded by the nodes that are known.

use std::{
    collections::BTreeSet,
    error::Error,
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ids::NodeId;

/// Nodes whose process has ended, to be taken by one task.
#[derive(Default)]
pub(super) struct Departures {
    nodes: Mutex<BTreeSet<NodeId>>,
    told: Notify,
}

impl Departures {
    pub(super) fn note(&self, node: NodeId) {
        self.nodes.lock().insert(node);
        self.told.notify_one();
    }

    /// Those since the last call; waits for one. What was not taken when the future is dropped is still
    /// there.
    pub(super) async fn next(&self) -> BTreeSet<NodeId> {
        loop {
            let nodes = std::mem::take(&mut *self.nodes.lock());
            if !nodes.is_empty() {
                return nodes;
            }
            self.told.notified().await;
        }
    }
}

/// The process at the other end of a link.
#[derive(Default)]
pub(super) struct OtherEnd {
    /// Of its last life.
    epoch: AtomicU64,
    is_gone: AtomicBool,
}

impl OtherEnd {
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Acquire)
    }

    /// A connection was refused. Whether that is news.
    pub(super) fn refuses(&self) -> bool {
        !self.is_gone.swap(true, AcqRel)
    }

    /// It answers, in its start of a number. Whether that is news of the end of the process before.
    pub(super) fn answers(&self, epoch: u64) -> bool {
        let before = self.epoch.swap(epoch, AcqRel);
        let was_gone = self.is_gone.swap(false, AcqRel);
        before != 0 && before != epoch && !was_gone
    }
}

/// Whether an error says that nobody listens at an address.
pub(super) fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_gone_once() {
        let end = OtherEnd::default();
        assert!(!end.answers(3), "nobody was there before");
        assert!(!end.answers(3), "the link broke, the process did not");
        assert!(end.refuses() && end.is_gone());
        assert!(!end.refuses(), "said already");
        assert!(!end.answers(4), "said already");
        assert!(!end.is_gone());
        // It was back before anybody could be refused.
        assert!(end.answers(5));
    }

    #[tokio::test]
    async fn departures_are_told_together_and_once() {
        let departures = Departures::default();
        departures.note(NodeId(2));
        departures.note(NodeId(1));
        departures.note(NodeId(2));
        assert_eq!(departures.next().await, BTreeSet::from([NodeId(1), NodeId(2)]));
        let next = crate::time::local::timeout(Duration::from_millis(5), departures.next()).await;
        assert!(next.is_err());
        departures.note(NodeId(1));
        assert_eq!(departures.next().await, BTreeSet::from([NodeId(1)]));
    }

    /// As tonic and the system say it; whoever changes the transport has to find another way.
    #[tokio::test]
    async fn a_port_where_nobody_listens_refuses() {
        let held = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = held.local_addr().expect("its address");
        drop(held);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let error = endpoint.expect("an address").connect().await.expect_err("nobody listens");
        assert!(is_refusal(&error), "{error:?}");
        let other = io::Error::new(io::ErrorKind::TimedOut, "no answer");
        assert!(!is_refusal(&other));
    }
}
