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
//! the log, which is truncated only below what the data engine has made durable, is applied again.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::{Mutex, RwLock};

use super::types::{self, Applied, Entry, LogId, Payload, StoredMembership, TypeConfig};
use crate::{
    ids::{Generation, RangeId},
    range::command::apply::{self, Overlay},
    storage::{
        Batch, Engine, Family,
        codec::{self, AppliedRecord, Command, Descriptor},
        engine::Error,
        keys::{self, MetaKind},
    },
    time::{Hlc, Timestamp},
    trace,
};

/// Entries that one batch applies.
const APPLY_ENTRIES_MAX: usize = 256;
/// Bytes of entries after which a batch takes no more: the node's few threads do nothing else while
/// one is applied.
const APPLY_BYTES_MAX: usize = 256 << 10;

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
}

impl RangeState {
    /// Loads a replica's applied state. `birth` describes the range where nothing is stored yet.
    pub fn open(
        birth: &Descriptor,
        engine: Arc<dyn Engine>,
        hlc: Arc<Hlc>,
    ) -> Result<Arc<RangeState>, Error> {
        let range = birth.range;
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
        Ok(Arc::new(RangeState {
            range,
            engine,
            hlc,
            newest: AtomicU64::new(applied.newest.0),
            time: AtomicU64::new(applied.time.0),
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

    /// What a crash at this moment would leave applied.
    pub fn durable(&self) -> Result<AppliedRecord, Error> {
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
                    let command: Command = codec::decode(&proposal.0)?;
                    let span = descriptor.clone().unwrap_or_else(|| self.descriptor());
                    let mut target = apply::Target {
                        engine: &*self.engine,
                        descriptor: &span,
                        applied: &mut next,
                        batch: &mut batch,
                        overlay: &mut overlay,
                    };
                    apply::apply(&mut target, at.term, command)?
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
        let key = keys::range_meta(self.range, MetaKind::Applied);
        batch.put(Family::Meta, key, codec::encode(&next));
        self.engine.write(batch)?;
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
    snapshot: Option<openraft::alias::SnapshotMetaOf<TypeConfig>>,
    built: Arc<Mutex<Option<openraft::alias::SnapshotMetaOf<TypeConfig>>>>,
}

impl StateMachine {
    /// A state machine over a replica's state.
    pub fn new(state: Arc<RangeState>) -> StateMachine {
        StateMachine { state, snapshot: None, built: Arc::default() }
    }
}

fn stored_membership(record: &AppliedRecord) -> io::Result<StoredMembership> {
    let membership = types::membership(&record.membership).map_err(io::Error::other)?;
    Ok(StoredMembership::new(record.membership_at.map(types::log_id), membership))
}

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, ()>;

/// Makes the applied state durable. The "snapshot" has no content: raft snapshots between nodes are
/// not built yet, and openraft truncates a log only below one.
pub struct DurablePoint {
    state: Arc<RangeState>,
    built: Arc<Mutex<Option<openraft::alias::SnapshotMetaOf<TypeConfig>>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for DurablePoint {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.state.engine.sync().await.map_err(io::Error::other)?;
        let durable = self.state.durable().map_err(io::Error::other)?;
        let meta = openraft::alias::SnapshotMetaOf::<TypeConfig> {
            last_log_id: durable.applied.map(types::log_id),
            last_membership: stored_membership(&durable)?,
        };
        *self.built.lock() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = ();
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
                if applied.len() < APPLY_ENTRIES_MAX && bytes < APPLY_BYTES_MAX {
                    item = entries.next().now_or_never().flatten();
                }
            }
            let results = self.state.apply(&applied).map_err(io::Error::other)?;
            if let Some(last) = applied.last() {
                let (range, at) = (self.state.range, last.log_id);
                trace::event("apply", format_args!("{range} up to {at}"));
            }
            for (responder, result) in responders.into_iter().zip(results) {
                if let Some(responder) = responder {
                    responder.send(result);
                }
            }
            if applied.len() >= APPLY_ENTRIES_MAX || bytes >= APPLY_BYTES_MAX {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> DurablePoint {
        DurablePoint { state: self.state.clone(), built: self.built.clone() }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &openraft::alias::SnapshotMetaOf<TypeConfig>,
        (): (),
    ) -> io::Result<()> {
        // No peer of this version sends one: the log is kept until every replica holds it.
        Err(io::Error::other("raft snapshots between nodes are not supported by this version"))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if let Some(built) = self.built.lock().take() {
            self.snapshot = Some(built);
        }
        Ok(self.snapshot.clone().map(|meta| Snapshot { meta, snapshot: () }))
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
