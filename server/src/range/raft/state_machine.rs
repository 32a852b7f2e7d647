//! Applies a group's log to the data engine, as openraft's state machine.
//!
//! # Invariants
//!
//! * The applied position and what the entries did are one batch: after a crash the engine is at
//!   some applied position, exactly.
//! * Apply is deterministic: no clock, no randomness, no hash order. The same entries on the same
//!   state give the same state and the same answers on every replica.
//! * Entries are applied in the order of the log, each once and without a gap: anything else is an
//!   error that stops the replica.
//! * Versions rise along the log: a group of writes at or below the time of the range, which no version
//!   is above, leaves no trace and is evaluated again.
//!
//! # On a crash
//!
//! The data engine is not synced at each apply. It comes back at an earlier applied position, and
//! the log, which is truncated only below what the data engine has made durable, is applied again. A
//! raft snapshot whose installation was interrupted is installed before the state is opened
//! ([`install::recover`]).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::{Mutex, MutexGuard, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    log_store::LogStore,
    types::{self, Applied, Entry, LogId, Payload, StoredMembership, TypeConfig},
};
use crate::{
    failpoint,
    ids::{Generation, RangeId},
    observe::{self, Seen},
    ops::metrics::Metrics,
    planted::{self, Bug},
    range::{
        command::apply::{self, Overlay},
        snapshot::{SnapshotData, Ticket, install, source::Outbox},
    },
    size::Size,
    storage::{
        Batch, Engine, Family,
        codec::{self, AppliedRecord, Command, Descriptor},
        engine::Error,
        keys::{self, MetaKind},
        watched::Failed,
    },
    time::{Hlc, Timestamp, local::Instant},
    trace,
};

/// Entries that one batch applies.
const APPLY_ENTRIES_MAX: Size = Size::new("apply-entries", 256, 1);
/// Bytes of entries after which a batch takes no more: the node's few threads do nothing else while
/// one is applied.
const APPLY_BYTES_MAX: usize = 256 << 10;
/// How long an installation waits for room on a full disk before it looks again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A replica's applied state, shared by the state machine and the leader's evaluation.
pub struct RangeState {
    range: RangeId,
    engine: Arc<dyn Engine>,
    hlc: Arc<Hlc>,
    applied: Mutex<AppliedRecord>,
    descriptor: RwLock<Arc<Descriptor>>,
    /// Copy of `applied.newest`, to read without the lock.
    newest: AtomicU64,
    /// Copy of `applied.time`, to read without the lock.
    time: AtomicU64,
    /// A raft snapshot is being installed: what is stored is neither the old state nor the new one.
    installing: AtomicBool,
    /// Held while something is removed from what is stored beside apply.
    removal: Mutex<()>,
}

impl RangeState {
    /// Loads a replica's applied state. `birth` describes the range where nothing is stored yet. An
    /// interrupted installation must have been completed ([`install::recover`]).
    pub fn open(
        birth: &Descriptor,
        engine: Arc<dyn Engine>,
        hlc: Arc<Hlc>,
    ) -> Result<Arc<RangeState>, Error> {
        let range = birth.range;
        if install::pending(&*engine, range)?.is_some() {
            let why = format!("the installation of a raft snapshot of {range} is not completed");
            return Err(Error::Open(why));
        }
        let read = |kind| engine.get(Family::Meta, &keys::range_meta(range, kind));
        let applied: AppliedRecord = match read(MetaKind::Applied)? {
            Some(bytes) => codec::decode(&bytes)?,
            None => AppliedRecord::default(),
        };
        let descriptor: Descriptor = match read(MetaKind::Descriptor)? {
            Some(bytes) => codec::decode(&bytes)?,
            None => birth.clone(),
        };
        hlc.observe(applied.time);
        observe::tell(range, || Seen::Opened { applied: applied.applied });
        Ok(Arc::new(RangeState {
            range,
            engine,
            hlc,
            newest: AtomicU64::new(applied.newest.0),
            time: AtomicU64::new(applied.time.0),
            installing: AtomicBool::new(false),
            removal: Mutex::default(),
            applied: Mutex::new(applied),
            descriptor: RwLock::new(Arc::new(descriptor)),
        }))
    }

    /// The range's descriptor as of the last applied entry.
    pub fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.read().clone()
    }

    /// The newest version that the range holds.
    pub fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(Ordering::Acquire))
    }

    /// The range's time: no write has, or will ever have, a version at or below it that is not applied
    /// here yet.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.time.load(Ordering::Acquire))
    }

    /// Requests with an earlier first attempt are refused.
    pub fn dedup_threshold(&self) -> Timestamp {
        self.applied.lock().dedup_threshold
    }

    /// Reads of earlier moments are refused: what only they would see may be gone.
    pub fn gc_threshold(&self) -> Timestamp {
        self.applied.lock().gc_threshold
    }

    /// Where the replica keeps its data.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The index up to which everything is applied.
    pub fn applied_index(&self) -> Option<u64> {
        self.applied.lock().applied.map(|at| at.index)
    }

    /// Whether a raft snapshot is being installed. Nothing may read the state meanwhile.
    pub fn is_installing(&self) -> bool {
        self.installing.load(Ordering::Acquire)
    }

    /// For removing what nobody can see any more; none while a raft snapshot is being installed. What
    /// looks like a key's last version then may only be the last one that is there already.
    pub fn removal(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = self.removal.lock();
        (!self.is_installing()).then_some(guard)
    }

    /// Puts a raft snapshot that is staged in the place of the state. Durable when this returns.
    pub async fn install(&self, ticket: &Ticket) -> Result<(), Error> {
        self.installing.store(true, Ordering::Release);
        // A removal that is under way ends first; later ones leave this range out.
        drop(self.removal.lock());
        let old = self.descriptor();
        let record = install::commit(&*self.engine, ticket, &old).await?;
        loop {
            match install::complete(&*self.engine, &record).await {
                Ok(()) => break,
                // There is no way back from the commit point; the old content went first, so there
                // may be room soon.
                Err(Error::Full(why)) => {
                    tracing::warn!(range = %self.range, why, "raft snapshot: waiting for room");
                    crate::time::local::sleep(FULL_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let applied = record.head.applied;
        self.hlc.observe(applied.time);
        self.newest.store(applied.newest.0, Ordering::Release);
        self.time.store(applied.time.0, Ordering::Release);
        if let Some(at) = applied.applied {
            observe::tell(self.range, || Seen::Installed { applied: at });
        }
        *self.applied.lock() = applied;
        *self.descriptor.write() = Arc::new(record.head.descriptor);
        self.installing.store(false, Ordering::Release);
        Ok(())
    }

    /// What a crash at this moment would leave applied.
    pub fn durable(&self) -> Result<AppliedRecord, Error> {
        if planted::active(Bug::LogTruncatedTooFar) {
            // The careless hand: "what is applied is stored".
            return Ok(self.applied.lock().clone());
        }
        let key = keys::range_meta(self.range, MetaKind::Applied);
        match self.engine.get_durable(Family::Meta, &key)? {
            Some(bytes) => codec::decode(&bytes),
            None => Ok(AppliedRecord::default()),
        }
    }

    /// Applies entries in one batch; what became of each.
    fn apply(&self, entries: &[Entry]) -> Result<Vec<Applied>, Error> {
        let mut next = self.applied.lock().clone();
        let mut descriptor = None;
        let mut batch = Batch::new();
        let mut overlay = Overlay::default();
        let mut results = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = types::position(&entry.log_id);
            let expected = next.applied.map_or(0, |applied| applied.index + 1);
            if at.index != expected {
                return Err(Error::Corrupt(format!(
                    "log of {}: entry {} is to be applied where {expected} belongs",
                    self.range, at.index
                )));
            }
            let result = match &entry.payload {
                Payload::Blank => Applied::Done,
                Payload::Normal(proposal) => {
                    let command: Command<'_> = codec::decode_borrowed(&proposal.0)?;
                    let before = descriptor.clone().unwrap_or_else(|| self.descriptor());
                    let mut span = before.clone();
                    let mut target = apply::Target {
                        engine: &*self.engine,
                        descriptor: &mut span,
                        applied: &mut next,
                        batch: &mut batch,
                        overlay: &mut overlay,
                    };
                    let result = apply::apply(&mut target, at.term, command)?;
                    if !Arc::ptr_eq(&before, &span) {
                        descriptor = Some(span);
                    }
                    result
                }
                Payload::Membership(membership) => {
                    next.membership = types::membership_record(membership);
                    next.membership_at = Some(at);
                    let current = descriptor.clone().unwrap_or_else(|| self.descriptor());
                    descriptor = Some(Arc::new(with_membership(&current, &next.membership)));
                    Applied::Done
                }
            };
            next.applied = Some(at);
            results.push(result);
        }
        if let Some(descriptor) = &descriptor {
            let key = keys::range_meta(self.range, MetaKind::Descriptor);
            batch.put(Family::Meta, key, codec::encode(&**descriptor));
        }
        if planted::active(Bug::ApplyByLocalState) {
            // The careless hand: "what time it is the clock knows best".
            next.time = next.time.max(self.hlc.wall());
        }
        let key = keys::range_meta(self.range, MetaKind::Applied);
        if planted::active(Bug::AppliedNotAtomic) {
            // The careless hand: "first note that it is done, so that nothing is done twice".
            let mut note = Batch::new();
            note.put(Family::Meta, key.clone(), codec::encode(&next));
            self.engine.write(note)?;
        }
        batch.put(Family::Meta, key, codec::encode(&next));
        batch.sort();
        failpoint::hit("apply.before-batch");
        self.engine.write(batch)?;
        failpoint::hit("apply.after-batch");
        self.hlc.observe(next.time);
        self.newest.store(next.newest.0, Ordering::Release);
        self.time.store(next.time.0, Ordering::Release);
        *self.applied.lock() = next;
        if let Some(descriptor) = descriptor {
            *self.descriptor.write() = descriptor;
        }
        Ok(results)
    }
}

/// Hash of what an entry says.
fn content_hash(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Blank => 0,
        Payload::Normal(proposal) => xxh3_64(&proposal.0),
        Payload::Membership(membership) => {
            xxh3_64(&codec::encode(&types::membership_record(membership)))
        }
    }
}

/// The descriptor that follows from a membership (design, section 3).
fn with_membership(current: &Descriptor, membership: &codec::Membership) -> Descriptor {
    let mut next = current.clone();
    next.generation = Generation(current.generation.0 + 1);
    next.replicas.clone_from(&membership.replicas);
    for (replica, _) in &membership.replicas {
        next.next_replica.0 = next.next_replica.0.max(replica.0 + 1);
    }
    next
}

/// openraft's handle to a replica's applied state.
pub struct StateMachine {
    state: Arc<RangeState>,
    outbox: Arc<Outbox>,
    log: LogStore,
    metrics: Arc<Metrics>,
    failed: Failed,
}

impl StateMachine {
    /// A state machine over a replica's state. `log` says what a raft snapshot must reach to be of
    /// use. `failed` is told when something can't be applied or installed: the replica ends with it, and
    /// a node with a replica that only looks like one must stop.
    pub fn new(
        state: Arc<RangeState>,
        outbox: Arc<Outbox>,
        log: LogStore,
        metrics: Arc<Metrics>,
        failed: Failed,
    ) -> StateMachine {
        StateMachine { state, outbox, log, metrics, failed }
    }

    fn fail(&self, error: Error) -> io::Error {
        tracing::error!(range = %self.state.range, %error, "state can't be written: the node stops");
        (self.failed)(error.clone());
        io::Error::other(error)
    }
}

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

fn stored_membership(record: &AppliedRecord) -> io::Result<StoredMembership> {
    let membership = types::membership(&record.membership).map_err(io::Error::other)?;
    Ok(StoredMembership::new(record.membership_at.map(types::log_id), membership))
}

/// What openraft wants to know of a raft snapshot of an applied state.
pub fn snapshot_meta(record: &AppliedRecord) -> io::Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: record.applied.map(types::log_id),
        last_membership: stored_membership(record)?,
    })
}

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Says what of the applied state is durable: openraft truncates a log only below such a point. It has
/// no content; what is sent is read when it is needed ([`Outbox`]).
pub struct DurablePoint {
    state: Arc<RangeState>,
}

impl RaftSnapshotBuilder<TypeConfig> for DurablePoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let durable = self.state.durable().map_err(io::Error::other)?;
        Ok(Snapshot { meta: snapshot_meta(&durable)?, snapshot: SnapshotData::Durable })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = DurablePoint;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied.lock();
        Ok((applied.applied.map(types::log_id), stored_membership(&applied)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let (mut applied, mut responders) = (Vec::new(), Vec::new());
            let (mut bytes, mut item) = (0, Some(first));
            while let Some(next) = item.take() {
                let (entry, responder) = next?;
                bytes += types::payload_bytes(&entry);
                applied.push(entry);
                responders.push(responder);
                if applied.len() < APPLY_ENTRIES_MAX.get() && bytes < APPLY_BYTES_MAX {
                    item = entries.next().now_or_never().flatten();
                }
            }
            let results = self.state.apply(&applied).map_err(|error| self.fail(error))?;
            for entry in &applied {
                let at = types::position(&entry.log_id);
                observe::tell(self.state.range, || Seen::Applied { at, hash: content_hash(entry) });
            }
            if let Some(last) = applied.last() {
                let (range, at) = (self.state.range, last.log_id);
                trace::event("apply", format_args!("{range} up to {at}"));
            }
            for (responder, result) in responders.into_iter().zip(results) {
                if let Some(responder) = responder {
                    responder.send(result);
                }
            }
            if applied.len() >= APPLY_ENTRIES_MAX.get() || bytes >= APPLY_BYTES_MAX {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> DurablePoint {
        DurablePoint { state: self.state.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Staged(ticket) = snapshot else {
            return Err(io::Error::other("only what was received can be installed"));
        };
        if meta.last_log_id != ticket.head.applied.applied.map(types::log_id) {
            return Err(io::Error::other("the raft snapshot is not what it is said to be"));
        }
        let range = self.state.range;
        trace::event("install", format_args!("{range} begins"));
        self.metrics.snapshots.installing.inc();
        let installed = self.state.install(&ticket).await;
        self.metrics.snapshots.installing.dec();
        installed.map_err(|error| self.fail(error))?;
        self.metrics.snapshots.received.inc();
        trace::event("install", format_args!("{range} ends"));
        Ok(())
    }

    /// What to send now. Its position may be beyond what is durable here: it is committed.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let purged = self.log.purged().map_or(0, |purged| purged.index());
        let now = Instant::now();
        let Some(source) = self.outbox.source(purged, now).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let meta = snapshot_meta(&source.head().applied)?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Source(source) }))
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::{
        ids::ReplicaId,
        seams::SystemClock,
        storage::{
            codec::Position,
            engine::Durability,
            memory::{MemoryDisk, MemoryEngine, MemorySettings},
        },
    };

    fn blank(index: u64) -> Entry {
        Entry { log_id: types::log_id(Position { term: 1, index }), payload: Payload::Blank }
    }

    #[test]
    fn a_gap_in_the_log_is_not_applied() {
        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "data", Durability::Flush, MemorySettings::instant())
                .expect("opened");
        let birth = Descriptor {
            range: RangeId(2),
            start: Vec::new(),
            end: Vec::new(),
            generation: Generation(1),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        };
        let hlc = Arc::new(Hlc::new(Arc::new(SystemClock)));
        let state = RangeState::open(&birth, engine, hlc).expect("opened");
        state.apply(&[blank(0), blank(1)]).expect("applied");
        for wrong in [[blank(1), blank(2)], [blank(3), blank(4)], [blank(2), blank(4)]] {
            let refused = state.apply(&wrong).expect_err("not the next ones");
            assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
        }
        // Nothing of them was done.
        state.apply(&[blank(2)]).expect("applied");
    }
}
