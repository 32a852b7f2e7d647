//! A replica of a range on this node: its Raft group and the tasks that serve it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use openraft::{Config, SnapshotPolicy};
use quintet_proto::v1::Code;
use tokio::sync::mpsc;

use super::{
    advance,
    cadence::Cadence,
    elections::{self, RaftTimes},
    executor::Executor,
    expiring,
    faults::{Doing, Faults},
    known::{Known, LeaderHeard},
    leadership::Leaderships,
    raft::{
        log_store::LogStore,
        log_writer::LogWriter,
        network::Network,
        state_machine::{RangeState, StateMachine},
        types::{self, Raft},
    },
    reads::{self, ReadQueue},
    request::{Read, Write},
    snapshot::{install, limits::Transfers, receive::Inbox, source::Outbox},
};
use crate::{
    error::OpError,
    failpoint,
    ids::{NodeId, RangeId, ReplicaId, SYSTEM_RANGE, TimeDomain},
    ops::metrics::Metrics,
    peer::Peers,
    planted::{self, Bug},
    size::Size,
    storage::{
        self, Engine,
        codec::{Command, Descriptor},
        disk::Disk,
    },
    time::{Hlc, Timestamp, local::Instant},
};

/// Requests that may wait for the executor.
const QUEUE_MAX: usize = 16_384;
/// Truncated entries that a log keeps all the same, for followers that are a little behind.
const LOG_KEPT_ENTRIES: Size = Size::new("log-kept-entries", 1_000, 5);
/// A log is truncated once so many entries can go.
const TRUNCATE_ENTRIES_MIN: Size = Size::new("truncate-entries", 5_000, 10);
/// What goes of a log that is larger than its retention is at least this part of the retention.
const RETENTION_STEP: u64 = 4;

/// How long openraft may take to note what is durable.
const DURABLE_POINT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the tasks of a replica share.
pub struct Shared {
    /// The range.
    pub range: RangeId,
    /// Its applied state.
    pub state: Arc<RangeState>,
    /// The engine of all logs of the node.
    pub log: Arc<dyn Engine>,
    /// The node's clock.
    pub hlc: Arc<Hlc>,
    /// Where the range's timestamps come from.
    pub time_domain: TimeDomain,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// What waits in its tasks, for the metrics.
    pub waiting: Waiting,
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
    /// That the range's time is ahead of the node's clock was said (`upkeep/clocks.rs`).
    pub time_is_ahead: AtomicBool,
    /// The node's disk.
    pub disk: Arc<Disk>,
    /// Whether another voter is live and has space; looked at while this one leads.
    pub others_have_space: AtomicBool,
    /// Wakes the executor.
    pub(super) stirred: AtomicWaker,
}

/// How much a replica's tasks have taken out of their queues and not done yet.
#[derive(Debug, Default)]
pub struct Waiting {
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
    pub fn leader_hint(&self, raft: &Raft) -> Option<String> {
        let node = leader_node(raft)?;
        (node != self.peers.me()).then(|| self.peers.client_address(node)).flatten()
    }
}

/// What [`Replica::start`] needs of its node.
#[derive(Clone)]
pub struct Host {
    /// The engine of all logs.
    pub log: Arc<dyn Engine>,
    /// Its writer.
    pub writer: LogWriter,
    /// The engine of applied state.
    pub data: Arc<dyn Engine>,
    /// The disk that both are on.
    pub disk: Arc<Disk>,
    /// The node's clock.
    pub hlc: Arc<Hlc>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// Times of its Raft groups.
    pub times: RaftTimes,
    /// What raft snapshots may take, and the log that spares them.
    pub transfers: Arc<Transfers>,
    /// When its leaders propose.
    pub cadence: Cadence,
    /// Confirms that they lead.
    pub leaderships: Arc<Leaderships>,
    /// Told when storage fails.
    pub failed: Arc<dyn Fn(storage::Error) + Send + Sync>,
}

/// A replica and its queues; cheap to clone.
#[derive(Clone)]
pub struct Replica {
    /// Its range.
    pub range: RangeId,
    /// Its id in the range.
    pub id: ReplicaId,
    /// Its Raft group.
    pub raft: Raft,
    /// Its log.
    pub log: LogStore,
    /// What its tasks share.
    pub shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
    reads: ReadQueue,
}

impl Replica {
    /// Loads a replica and starts its group.
    pub async fn start(id: ReplicaId, birth: &Descriptor, host: &Host) -> anyhow::Result<Replica> {
        let range = birth.range;
        let log = LogStore::open(range, host.log.clone(), host.writer.clone())?;
        if install::recover(&*host.data, range).await? {
            host.metrics.snapshots.received.inc();
        }
        let state = RangeState::open(birth, host.data.clone(), host.hlc.clone())?;
        let outbox = Arc::new(Outbox::new(range, host.data.clone(), host.transfers.clone()));
        let faults = Arc::new(Faults::new(host.hlc.clone()));
        let shared = Arc::new(Shared {
            range,
            faults: faults.clone(),
            leader_heard: LeaderHeard::new(host.peers.me(), host.times.patience()),
            outbox: outbox.clone(),
            inbox: Inbox::new(),
            time_is_ahead: AtomicBool::new(false),
            state: state.clone(),
            log: host.log.clone(),
            hlc: host.hlc.clone(),
            time_domain: TimeDomain::default(),
            metrics: host.metrics.clone(),
            waiting: Waiting::default(),
            cadence: host.cadence.clone(),
            leaderships: host.leaderships.clone(),
            peers: host.peers.clone(),
            failed: host.failed.clone(),
            disk: host.disk.clone(),
            // Until somebody has looked: a caller that tries again does no harm.
            others_have_space: AtomicBool::new(true),
            stirred: AtomicWaker::new(),
        });
        let (place, of) = elections::place(range, host.peers.book());
        let config =
            Arc::new(config(range, host.times, host.times.standing(place, of)).validate()?);
        let network = Network {
            range,
            me: id,
            log: log.clone(),
            peers: host.peers.clone(),
            transfers: host.transfers.clone(),
            outbox: outbox.clone(),
            metrics: host.metrics.clone(),
            faults,
        };
        let (metrics, failed) = (host.metrics.clone(), host.failed.clone());
        let machine = StateMachine::new(state, outbox, log.clone(), metrics, failed);
        let raft = Raft::new(id.0, config, network, log.clone(), machine).await?;
        let (writes, write_queue) = mpsc::channel(QUEUE_MAX);
        let (expiring, expiring_queue) = mpsc::channel(expiring::WAITING_MAX);
        let reads = reads::start(shared.clone(), raft.clone(), log.clone(), expiring);
        let executor = Executor::new(shared.clone(), raft.clone(), write_queue, reads.clone());
        tokio::spawn(executor.run());
        tokio::spawn(expiring::run(shared.clone(), raft.clone(), expiring_queue));
        Ok(Replica { range, id, raft, log, shared, writes, reads })
    }

    /// Founds the group with the replicas of its first descriptor. Does nothing where it exists.
    pub async fn found(&self, birth: &Descriptor) -> anyhow::Result<()> {
        if self.raft.is_initialized().await? {
            return Ok(());
        }
        let members: std::collections::BTreeMap<u64, types::Holder> = birth
            .replicas
            .iter()
            .map(|(replica, node)| (replica.0, types::Holder { node: *node }))
            .collect();
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            // Another member was faster, and its log is here already.
            Err(_) if self.raft.is_initialized().await? => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues a write. It is answered at once where the queue is full.
    pub fn write(&self, write: Write) {
        match self.writes.try_send(write) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(write)) => {
                write
                    .reply
                    .send(Err(OpError::overloaded("too many writes are waiting; slow down")));
            }
            Err(mpsc::error::TrySendError::Closed(write)) => {
                write.reply.send(Err(OpError::unavailable("the node is stopping")));
            }
        }
    }

    /// Queues a read. It is answered at once where the queue is full.
    pub fn read(&self, read: Read) {
        self.reads.send(read);
    }

    /// Writes that wait to be proposed.
    pub fn writes_waiting(&self) -> usize {
        let queued = self.writes.max_capacity() - self.writes.capacity();
        queued + self.shared.waiting.writes.load(Relaxed)
    }

    /// Reads that wait for a confirmation of leadership.
    pub fn reads_waiting(&self) -> usize {
        self.reads.waiting() + self.shared.waiting.reads.load(Relaxed)
    }

    /// Proposes a command, as the range's leader, in its term; does not wait until it is applied.
    /// Does nothing where this replica does not lead.
    pub async fn propose(&self, command: impl FnOnce(u64) -> Command<'static>) {
        let Ok(leader) = self.raft.as_leader() else { return };
        let term = leader.term();
        // A proposal that is lost was not promised to anybody.
        drop(advance::propose(&self.raft, term, &command(term)).await);
    }

    /// Commits an advance of the range's time to `to`, as its leader: nothing is written at or below it
    /// afterwards. Every error says that it may not have happened; asking again is harmless.
    pub async fn advance_time(&self, to: Timestamp, deadline: Instant) -> Result<(), OpError> {
        advance::advance_time(&self.shared, &self.raft, to, deadline).await
    }

    /// Whether this replica leads its range, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.as_leader().is_ok()
    }

    /// Who leads the range now, for people and monitors.
    pub fn known_leader(&self) -> Known {
        self.shared.leader_heard.known(&self.raft)
    }

    /// The term of its vote.
    pub fn term(&self) -> u64 {
        use openraft::async_runtime::watch::WatchReceiver;
        self.raft.server_metrics().borrow_watched().vote.leader_id.term
    }

    /// The node that leads the range, as far as this replica knows; it may be gone by now.
    pub fn leader_node(&self) -> Option<NodeId> {
        leader_node(&self.raft)
    }

    /// Truncates the log below what every replica holds, and, where it is larger than `retention_bytes`,
    /// also below what a lagging one needs: that one is sent a raft snapshot. Always only below what this
    /// replica's data engine has made durable (design, section 4), and not behind a raft snapshot from
    /// which a replica still has to catch up.
    pub async fn truncate_log(&self, held_by_all: u64, retention_bytes: u64) -> anyhow::Result<()> {
        let purged = self.log.purged().map_or(0, |purged| purged.index());
        let held = held_by_all.saturating_sub(LOG_KEPT_ENTRIES.get() as u64);
        let held = Some(held).filter(|held| *held >= purged + TRUNCATE_ENTRIES_MIN.get() as u64);
        let over = self.log.bytes().saturating_sub(retention_bytes);
        let surplus = Some(over).filter(|over| *over > retention_bytes / RETENTION_STEP);
        let surplus = surplus.and_then(|_| self.log.index_before(retention_bytes));
        let Some(wanted) = held.max(surplus) else { return Ok(()) };
        self.shared.outbox.release(wanted, |replica| self.matched(replica));
        let wanted =
            self.shared.outbox.held_from(Instant::now()).map_or(wanted, |from| wanted.min(from));
        if wanted <= purged {
            return Ok(());
        }
        let durable =
            |record: storage::codec::AppliedRecord| record.applied.map_or(0, |at| at.index);
        // The data engine flushes by itself, and mostly soon enough: what is only surplus waits for it
        // a while.
        let urgent = held.is_some() || over > retention_bytes;
        if durable(self.shared.state.durable()?) < wanted && urgent {
            failpoint::hit("data.before-flush");
            self.shared.state.engine().sync().await?;
            failpoint::hit("data.after-flush");
        }
        let upto = wanted.min(durable(self.shared.state.durable()?));
        if upto <= purged {
            return Ok(());
        }
        tracing::debug!(
            range = %self.range, purged, upto, held_by_all, bytes = self.log.bytes(), "truncating"
        );
        // openraft truncates only below a snapshot: this makes it note the durable point.
        self.raft.trigger().snapshot().await?;
        let is_noted = |metrics: &types::RaftMetrics| {
            metrics.snapshot.as_ref().is_some_and(|noted| noted.index() >= upto)
        };
        self.raft.wait(Some(DURABLE_POINT_TIMEOUT)).metrics(is_noted, "durable").await?;
        self.raft.trigger().purge_log(upto).await?;
        Ok(())
    }

    /// The index up to which another replica is known to hold the log; the leader knows.
    fn matched(&self, replica: ReplicaId) -> Option<u64> {
        use openraft::async_runtime::watch::WatchReceiver;
        types::matched(&self.raft.metrics().borrow_watched(), replica.0)
    }

    /// Lets go of what raft snapshots left behind and nobody wants any more.
    pub fn collect_snapshots(&self) -> Result<(), storage::Error> {
        let now = Instant::now();
        self.shared.outbox.drop_idle(now);
        let state = &self.shared.state;
        self.shared.inbox.collect(&**state.engine(), self.range, state.applied_index(), now)
    }
}

fn leader_node(raft: &Raft) -> Option<NodeId> {
    use openraft::async_runtime::watch::WatchReceiver;
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader?;
    metrics.membership_config.membership().get_node(&leader).map(|holder| holder.node)
}

fn config(range: RangeId, times: RaftTimes, standing: RaftTimes) -> Config {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: range.to_string(),
        heartbeat_interval: ms(elections::interval(times)),
        election_timeout_min: ms(standing.election_min),
        election_timeout_max: ms(standing.election_max),
        // A restarted node never resumes a term (design, section 4). openraft's default does.
        enable_leader_restore: Some(planted::active(Bug::TermResumedAfterRestart)),
        enable_pre_vote: Some(true),
        // The node sends heartbeats for all its groups at once (`upkeep/heartbeats.rs`). What is left of the
        // interval above is how long messages of the group may take, and a fifth of it how often
        // each group looks at its clock: at every 20 ms a hundred idle groups are a busy node.
        enable_heartbeat: false,
        // The node says when the log is truncated (`truncate_log`), and raft snapshots to send are
        // read when they are needed.
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: u64::MAX,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Followers get entries while the leader's own sync runs.
        broadcast_submitted_on_append: Some(true),
        max_payload_entries: 1_024,
        ..Config::default()
    }
}
