//! A replica of a range on this node: its Raft group and the tasks that serve it.
//!
//! ```text
//!   write --> executor --(latched, evaluated, proposed)--> group --> state --> answer
//!   read  --> reads    --(leadership confirmed)-----------> state ----------> answer
//!                 \--> waiting --(guards down, or a round)-> state --------> answer
//! ```
//!
//! What they share is in `shared.rs`. What is done with a replica beside serving requests has files of its own, each
//! with methods of [`Replica`]: `change.rs` (the replicas of the range), `truncation.rs` (its log).
//!
//! # Invariants
//!
//! * Queues are bounded; what is over the bound is refused before anything is begun ([`Replica::write`]).
//! * A replica serves only what its own state holds: an interrupted installation of a raft snapshot is completed
//!   before the state is opened ([`Replica::start`]).
//!
//! # On a crash
//!
//! Queued requests are lost, and their callers learn from their streams' end that nobody knows what became of them.
//! A restarted node resumes no term (`raft/config.rs`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::sync::mpsc;

use super::{
    cadence::Cadence,
    changes,
    closed::{Closed, Moment},
    command::outcome::Applied,
    elections::{self, RaftTimes},
    error::ReplicaError,
    executor::task::Executor,
    expiry::Expiry,
    faults::Faults,
    guards::{Guards, Looks},
    known::{Known, LeaderHeard},
    leadership::{Leaderships, claim::Claim},
    passes::Passes,
    raft::{
        group::{Group, Seat},
        log_store::LogStore,
        log_writer::LogWriter,
        network::Network,
        state_machine::StateMachine,
    },
    reads::{
        self,
        follower::{self, Followed, PointOf},
        queue::ReadQueue,
        serve::{For, Served, serve, serve_closed},
        waiting::{self, Waiting},
    },
    recent::Room,
    request::{OpResult, Read, ReadKind, Reply, Write},
    shared::{Backlog, Shared},
    snapshot::{install, limits::Transfers, receive::Inbox, source::Outbox},
    state::RangeState,
};
use crate::{
    error::OpError,
    ids::{NodeId, RangeId, ReplicaId, TimeDomain},
    ops::metrics::Metrics,
    peer::{Peers, ask::ReadPoint},
    planted::{self, Bug},
    storage::{
        self, Engine,
        changes::Position,
        disk::Disk,
        format::{command::Command, descriptor::Descriptor},
    },
    time::{
        Timestamp,
        local::{Instant, timeout},
        oracle::{Block, handle::Oracle},
    },
};

/// Requests that may wait for the executor.
const QUEUE_MAX: usize = 16_384;
/// How long a leader may take to apply what was in its log when it was elected.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(1);
/// A replica whose closed moment is older than this has lost its leader, or is behind: feeds ask the leader.
const CLOSED_LATELY: Duration = Duration::from_secs(2);
/// How long a command may take that is no request of a client.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// The node's way to timestamps.
    pub oracle: Arc<Oracle>,
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
    /// Memory for what was written lately, in all of its ranges.
    pub recent: Arc<Room>,
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
    pub raft: Group,
    /// Its log.
    pub log: LogStore,
    /// What its parts share.
    pub shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
    reads: ReadQueue,
    waiting: mpsc::Sender<Waiting>,
}

impl Replica {
    /// Loads a replica and starts its group.
    pub async fn start(
        id: ReplicaId,
        birth: &Descriptor,
        host: &Host,
    ) -> Result<Replica, ReplicaError> {
        let range = birth.range;
        let log = LogStore::open(range, host.log.clone(), host.writer.clone())?;
        if install::recover(&*host.data, range).await? {
            host.metrics.snapshots.received.inc();
        }
        let recent = host.recent.clone();
        let state = RangeState::open(birth, host.data.clone(), host.oracle.clone(), recent)?;
        let outbox = Arc::new(Outbox::new(range, host.data.clone(), host.transfers.clone()));
        let faults = Arc::new(Faults::new(host.oracle.clone()));
        let shared = Arc::new(Shared {
            range,
            faults: faults.clone(),
            leader_heard: LeaderHeard::new(host.peers.me(), host.times.patience()),
            outbox: outbox.clone(),
            inbox: Inbox::new(),
            state: state.clone(),
            log: host.log.clone(),
            oracle: host.oracle.clone(),
            guards: Arc::<Guards>::default(),
            closed: Closed::default(),
            passes: Passes::default(),
            prepared: AtomicU64::new(0),
            time_domain: TimeDomain::default(),
            metrics: host.metrics.clone(),
            waiting: Backlog::default(),
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
        let times = (host.times, host.times.standing(place, of));
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
        let raft = Group::start(times, network, log.clone(), machine).await;
        let raft = raft.map_err(ReplicaError::Group)?;
        let (writes, write_queue) = mpsc::channel(QUEUE_MAX);
        let (waiting, waiting_queue) = mpsc::channel(waiting::QUEUE_MAX);
        let reads = reads::task::start(shared.clone(), raft.clone(), log.clone(), waiting.clone());
        let executor =
            Executor::new(shared.clone(), raft.clone(), log.clone(), write_queue, reads.clone());
        tokio::spawn(executor.run());
        tokio::spawn(waiting::run(shared.clone(), waiting_queue));
        Ok(Replica { range, id, raft, log, shared, writes, reads, waiting })
    }

    /// Founds the group with the replicas of its first descriptor. Does nothing where it exists.
    pub async fn found(&self, birth: &Descriptor) -> Result<(), ReplicaError> {
        self.raft.found(&birth.replicas).await.map_err(ReplicaError::Group)
    }

    /// Queues a write. It is answered at once where the queue is full.
    pub fn write(&self, write: Write) {
        let sent = self.writes.try_send(write);
        Reply::unless_sent(sent, |write| write.reply, "too many writes are waiting; slow down");
    }

    /// Queues a read. It is answered at once where the queue is full. Where it asks for a moment that is not known to
    /// be published, a round has to come first.
    pub fn read(&self, read: Read) {
        match &read.kind {
            // What is closed needs no leader.
            ReadKind::Changes(_) => changes::answer(&self.shared, read),
            // The careless hand: "it led a moment ago".
            ReadKind::Index(..) if planted::active(Bug::FollowerReadUnconfirmed) => {
                self.serve_unconfirmed(read);
            }
            // The careless hand of that bug asks for no round here either.
            kind if kind.moment().is_some_and(|at| at > self.shared.oracle.now())
                && !planted::active(Bug::ReadTimestampUnpublished) =>
            {
                let what = For::Moment(self.reads.clone());
                waiting::send(&self.waiting, Waiting { read, what });
            }
            _ => self.reads.send(read),
        }
    }

    /// Only with [`Bug::FollowerReadUnconfirmed`].
    fn serve_unconfirmed(&self, read: Read) {
        let Read { kind, deadline, reply } = read;
        let Some(term) = self.raft.leads() else {
            return reply.send(Err(OpError::not_leader(None)));
        };
        match serve(&self.shared, kind, term, Expiry::Known { guarded: false }) {
            Served::Answer(result) => reply.send(result),
            Served::Later { kind, what } => {
                let read = Waiting { read: Read { kind, deadline, reply }, what };
                waiting::send(&self.waiting, read);
            }
            Served::Stale => reply.send(Err(OpError::not_leader(None))),
        }
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
        let Some(term) = self.raft.leads() else { return };
        // A proposal that is lost was not promised to anybody.
        drop(self.raft.propose_command(term, &command(term)).await);
    }

    /// Proposes a command in a term and waits until it is applied. Whether it has done something: where not, perhaps it
    /// will yet.
    pub async fn commit(&self, term: u64, command: &Command<'_>) -> bool {
        self.committed(term, command).await == Some(Applied::Done)
    }

    /// The same: what it came to, where that is known.
    pub async fn committed(&self, term: u64, command: &Command<'_>) -> Option<Applied> {
        let applied = async { self.raft.propose_command(term, command).await?.await };
        timeout(COMMIT_TIMEOUT, applied).await.ok().flatten()
    }

    /// Whether this replica leads its range, as a majority confirms after the call, and has applied all that the log
    /// held before; none where it does not lead.
    pub async fn leads_prepared(&self) -> Option<bool> {
        let term = self.raft.leads()?;
        let prepared = self.shared.prepare_now(&self.raft, term, PREPARE_TIMEOUT).await;
        Some(prepared && self.raft.leads_in(term))
    }

    /// The newest moment that this replica can show by itself, and how old it is at most: what was acknowledged longer
    /// ago is at or below it. None where it can show none, or nobody knows how old that is.
    pub fn closed_age(&self) -> Option<(Timestamp, Duration)> {
        let usable = self.shared.closed.usable(self.shared.state.applied_index())?;
        // The careless hand: "it was new when it came".
        let since = match planted::active(Bug::StaleSinceHeard) {
            true => Some(usable.heard),
            false => usable.since,
        };
        Some((usable.block.last(), since?.elapsed()))
    }

    /// The range's leader tells a moment that it has closed; what was acknowledged before `since` is at or below it.
    pub fn hear_closed(&self, moment: Moment, since: Option<Instant>) {
        self.shared.closed.hear(moment, since, self.shared.state.applied_index());
        self.shared.state.recent().drop_unasked();
    }

    /// Whether a feed at a position had better ask this replica: its closed moment is behind that, or it hears of new
    /// ones.
    pub fn shows_changes(&self, after: &Position) -> bool {
        let usable = self.shared.closed.usable(self.shared.state.applied_index());
        let is_ahead = usable.is_some_and(|usable| usable.block.last() > after.floor());
        self.can_follow()
            && (is_ahead || self.closed_age().is_some_and(|(_, age)| age < CLOSED_LATELY))
    }

    /// The closed moment of this replica, where nothing at or below it is behind a position.
    pub fn nothing_new(&self, after: &Position) -> Option<Timestamp> {
        changes::nothing_new(&self.shared, after)
    }

    /// Closes a moment of the range, as its leader; none where it does not lead, or nobody confirms it. `block` has
    /// been decided by a round of this node. The order of the steps matters: `range/closed.rs`.
    pub async fn close(&self, block: Block) -> Option<Moment> {
        let term = self.raft.leads()?;
        let shared = &self.shared;
        if !shared.prepare(&self.raft, term, PREPARE_TIMEOUT).await {
            return None;
        }
        let looks = Looks { term, applied: shared.state.applied_index() };
        let lowest = shared.guards.lowest(looks);
        // The careless hand: "it is not there yet".
        let lowest = lowest.filter(|_| !planted::active(Bug::ClosedIgnoresGuards));
        let block = lowest.map_or(block, |lowest| block.min(lowest));
        let applied = shared.state.applied_index()?;
        let claim = Claim::of(self.range, &self.raft).filter(|claim| claim.term() == term)?;
        // The careless hand: "it led a moment ago".
        if !planted::active(Bug::ClosedUnconfirmed) {
            shared.leaderships.confirm(claim, self.log.clone()).await?;
        }
        Some(Moment { block, applied }).filter(|_| self.raft.leads_in(term))
    }

    /// Serves a read of a moment by itself; none where the moment is not closed here.
    pub fn read_closed(&self, at: Timestamp, kind: impl FnOnce() -> ReadKind) -> Option<OpResult> {
        self.shows(at).then(|| serve_closed(&self.shared, kind()))
    }

    /// Whether it can show a moment by itself.
    pub(crate) fn shows(&self, at: Timestamp) -> bool {
        let (shared, applied) = (&self.shared, self.shared.state.applied_index());
        let is_closed =
            shared.closed.usable(applied).is_some_and(|closed| at <= closed.block.last());
        is_closed && self.can_follow()
    }

    /// Whether it can serve reads without leading: it stores a state, and its disk answers.
    pub fn can_follow(&self) -> bool {
        !self.shared.state.is_installing() && !self.shared.disk_hangs()
    }

    /// Serves a read of what its leader would show, once everything up to a point of the log is applied here.
    pub(crate) async fn read_behind(
        &self,
        kind: &ReadKind,
        point: ReadPoint,
        decides: bool,
    ) -> Followed {
        follower::read(&self.shared, kind, point, decides).await
    }

    /// What a replica has to ask its leader before it serves a read, as [`ReadIndex`] has it; none for what is not
    /// served so.
    pub(crate) fn point_of(&self, kind: &ReadKind) -> Option<PointOf> {
        follower::point_of(&self.shared, kind)
    }

    /// What this replica is in its group, all that a router asks of it in one look.
    pub fn seat(&self) -> Seat {
        self.raft.seat()
    }

    /// Whether this replica leads its range, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.leads().is_some()
    }

    /// Who leads the range now, for people and monitors.
    pub fn known_leader(&self) -> Known {
        self.shared.leader_heard.known(&self.raft)
    }

    /// The term of its vote.
    pub fn term(&self) -> u64 {
        self.raft.term()
    }

    /// The node that leads the range, as far as this replica knows; it may be gone by now.
    pub fn leader_node(&self) -> Option<NodeId> {
        self.raft.leader_node()
    }
}
