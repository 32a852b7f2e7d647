//! What the parts of one replica share: its tasks (executor, reads, and those that wait) and whoever
//! works on it from outside.
//!
//! One value a replica, made when it starts. What is in it is either fixed, or keeps itself in order: no task needs
//! another one's lock. The parts themselves know nothing of each other; what they hand over goes through queues
//! (`replica.rs`).

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use quintet_proto::v1::Code;

use super::{
    cadence::Cadence,
    closed::Closed,
    faults::{Doing, Faults},
    guards::{Guards, Looks},
    known::LeaderHeard,
    leadership::Leaderships,
    passes::Passes,
    raft::group::Group,
    snapshot::{receive::Inbox, source::Outbox},
    state::RangeState,
};
use crate::{
    error::OpError,
    ids::{RangeId, SYSTEM_RANGE, TimeDomain},
    ops::metrics::Metrics,
    peer::Peers,
    planted::{self, Bug},
    storage::{self, Engine, disk::Disk},
    time::oracle::handle::Oracle,
};

/// What the parts of a replica share.
pub struct Shared {
    /// The range.
    pub range: RangeId,
    /// Its applied state.
    pub state: Arc<RangeState>,
    /// The engine of all logs of the node.
    pub log: Arc<dyn Engine>,
    /// The node's way to timestamps.
    pub oracle: Arc<Oracle>,
    /// Writes that have begun to ask for their timestamp and are not applied yet.
    pub(super) guards: Arc<Guards>,
    /// What it knows of closed moments.
    pub closed: Closed,
    /// Of who looks at the whole range for a feed.
    pub(super) passes: Passes,
    /// The term in which this leader has applied all that was in its log when it was elected.
    pub(super) prepared: AtomicU64,
    /// Where the range's timestamps come from.
    pub time_domain: TimeDomain,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// What waits in its tasks, for the metrics.
    pub waiting: Backlog,
    /// When the node's leaders propose.
    pub cadence: Cadence,
    /// Confirms that it leads.
    pub leaderships: Arc<Leaderships>,
    /// The node's peers: addresses for hints.
    pub peers: Arc<Peers>,
    /// What went wrong last.
    pub faults: Arc<Faults>,
    /// When its leader was confirmed last.
    pub leader_heard: LeaderHeard,
    /// Told when storage fails.
    pub failed: Arc<dyn Fn(storage::Error) + Send + Sync>,
    /// Its raft snapshot to send.
    pub outbox: Arc<Outbox>,
    /// The place for one that is received.
    pub inbox: Inbox,
    /// The node's disk.
    pub disk: Arc<Disk>,
    /// Whether another voter is live and has space; looked at while this one leads.
    pub others_have_space: AtomicBool,
    /// Wakes the executor.
    pub(super) stirred: AtomicWaker,
}

/// How much a replica's tasks have taken out of their queues and not done yet.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Writes that are not proposed yet.
    pub writes: AtomicUsize,
    /// Proposals that are not applied yet.
    pub proposals: AtomicUsize,
    /// Reads whose leadership is being confirmed.
    pub reads: AtomicUsize,
}

impl Shared {
    /// Lets the executor look at the disk.
    pub fn stir(&self) {
        self.stirred.wake();
    }

    /// Whether the node's disk does not answer, so that nobody should wait for it here.
    pub fn disk_hangs(&self) -> bool {
        // The careless hand: "it will answer some day".
        self.disk.hangs() && !planted::active(Bug::HungDiskKeepsRequests)
    }

    /// What a write is told that is refused because the disk is nearly full; nothing was begun.
    fn refuse_for_space(&self) -> OpError {
        let short = self.log.free_space().tighter(self.state.engine().free_space());
        let full = format!(
            "{} MiB are free, storage.free_mb_min keeps {} free",
            short.bytes >> 20,
            short.kept_bytes >> 20
        );
        // The careless hand of that bug leaves leaders where they are.
        let moves = !planted::active(Bug::FullDiskDenies);
        if self.others_have_space.load(Relaxed) && moves {
            return OpError::unavailable(format!(
                "the disk of the range's leader is nearly full ({full}); another node with space takes over, \
                 try again"
            ));
        }
        OpError::new(
            Code::Storage,
            format!(
                "no voter of the range has space on its disk ({full}): add disk space to its nodes, or \
                 delete keys, whose space comes back after limits.version_retention_s"
            ),
        )
    }

    /// Whether this replica leads in a term and has applied all that was in its log when it was elected; waits for
    /// that, where nobody has in this term.
    pub(super) async fn prepare(&self, raft: &Group, term: u64, patience: Duration) -> bool {
        if self.is_prepared(term) {
            return true;
        }
        self.prepare_now(raft, term, patience).await
    }

    /// The same by a round of its own, which begins after this was called.
    pub(super) async fn prepare_now(&self, raft: &Group, term: u64, patience: Duration) -> bool {
        let is_prepared = raft.prepare(term, patience).await;
        if is_prepared {
            self.prepared.fetch_max(term, AcqRel);
        }
        is_prepared
    }

    /// Whether somebody has waited for that already.
    pub(super) fn is_prepared(&self, term: u64) -> bool {
        self.prepared.load(Acquire) == term
    }

    /// As who a leader that was confirmed in a term looks at guards now.
    pub(super) fn looks(&self, term: u64) -> Looks {
        Looks { term, applied: self.state.applied_index() }
    }

    /// Stops the node: its storage can't be trusted any more.
    pub fn fail(&self, error: storage::Error) {
        self.faults.note(Doing::Store, None, &error.to_string());
        (self.failed)(error);
    }

    /// Whether the node's disk has room for data that grows. What the cluster notes of itself always has:
    /// it is little, and a cluster with full disks must be operated.
    pub fn check_space(&self) -> Result<(), OpError> {
        if self.range == SYSTEM_RANGE {
            return Ok(());
        }
        let space = self.log.check_space().and_then(|()| self.state.engine().check_space());
        space.map_err(|_| self.refuse_for_space())
    }

    /// Client address of the range's leader, where another node is known to lead it.
    pub fn leader_hint(&self, raft: &Group) -> Option<String> {
        let node = raft.leader_node()?;
        (node != self.peers.me()).then(|| self.peers.client_address(node)).flatten()
    }
}
