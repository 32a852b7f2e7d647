//! A replica's applied state: what all committed entries up to a position did.
//!
//! The data itself is in the data engine; here is what is needed of it all the time (position, descriptor, newest
//! version, thresholds), and the two ways in which it changes: entries are applied, a raft snapshot is put in
//! its place. Leaders evaluate and serve reads on it, at the same time as entries are applied.
//!
//! # Invariants
//!
//! * The applied position and what the entries did are one batch: after a crash the engine is at
//!   some applied position, exactly.
//! * Apply is deterministic: no clock, no randomness, no hash order. The same entries on the same
//!   state give the same state and the same answers on every replica (`command/`).
//! * Entries are applied in the order of the log, each once and without a gap: anything else is an
//!   error that stops the replica ([`RangeState::apply`]).
//! * Versions rise along the log: a group of writes at or below the newest version of the range leaves no trace and is
//!   evaluated again (`command/write.rs`).
//!
//! # On a crash
//!
//! The data engine is not synced at each apply. It comes back at an earlier applied position, and
//! the log, which is truncated only below what the data engine has made durable (`truncation.rs`), is applied
//! again. A raft snapshot whose installation was interrupted is installed before the state is opened
//! ([`install::recover`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use super::{
    command::{apply, outcome::Applied, target::Target},
    dedup::Overlay,
    recent::Recent,
    snapshot::{install, stage::Ticket},
};
use crate::{
    failpoint,
    ids::{Generation, RangeId},
    observe::{self, Seen},
    planted::{self, Bug},
    storage::{
        Batch, Engine, Family,
        engine::Error,
        format::{
            self,
            applied::AppliedRecord,
            codec,
            command::Command,
            descriptor::Descriptor,
            gc::GcThresholds,
            raft::{EntryRecord, PayloadRecord},
        },
        keys::{self, MetaKind},
    },
    time::{
        Timestamp,
        local::sleep,
        oracle::{handle::Oracle, membership::Epochs},
    },
};

/// How long an installation waits for room on a full disk before it looks again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A replica's applied state, shared by the state machine and the leader's evaluation.
pub struct RangeState {
    range: RangeId,
    engine: Arc<dyn Engine>,
    oracle: Arc<Oracle>,
    applied: Mutex<AppliedRecord>,
    descriptor: RwLock<Arc<Descriptor>>,
    /// Copy of `applied.newest`, to read without the lock.
    newest: AtomicU64,
    /// Copy of `applied.applied`'s index and one more, to read without the lock; 0: nothing is applied.
    applied_next: AtomicU64,
    /// Raft snapshots, counted where the installation of one begins and where it ends. While it is odd, what is stored
    /// is neither the old state nor the new one.
    installs: AtomicU64,
    /// Told when more is applied.
    rose: Notify,
    /// Held while something is removed from what is stored beside apply.
    removal: Mutex<()>,
    /// What was written lately, while somebody follows it.
    recent: Recent,
}

impl RangeState {
    /// Loads a replica's applied state. `birth` describes the range where nothing is stored yet. An
    /// interrupted installation must have been completed ([`install::recover`]).
    pub fn open(
        birth: &Descriptor,
        engine: Arc<dyn Engine>,
        oracle: Arc<Oracle>,
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
        oracle.known().holds(applied.newest);
        observe::tell(range, || Seen::Opened { applied: applied.applied });
        Ok(Arc::new(RangeState {
            range,
            engine,
            oracle,
            newest: AtomicU64::new(applied.newest.0),
            applied_next: AtomicU64::new(next_index(&applied)),
            installs: AtomicU64::new(0),
            rose: Notify::new(),
            removal: Mutex::default(),
            recent: Recent::default(),
            applied: Mutex::new(applied),
            descriptor: RwLock::new(Arc::new(descriptor)),
        }))
    }

    /// Whose state it is.
    pub fn range(&self) -> RangeId {
        self.range
    }

    /// What is applied.
    pub(super) fn applied(&self) -> AppliedRecord {
        self.applied.lock().clone()
    }

    /// The range's descriptor as of the last applied entry.
    pub fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.read().clone()
    }

    /// The newest version that the range holds.
    pub fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(Ordering::Acquire))
    }

    /// Of the system range: the sets of time servers.
    pub fn time_servers(&self) -> Epochs {
        self.applied.lock().time_servers.clone()
    }

    /// Requests with an earlier first attempt are refused.
    pub fn dedup_threshold(&self) -> Timestamp {
        self.applied.lock().dedup_threshold
    }

    /// Reads of earlier moments are refused: what only they would see may be gone.
    pub fn gc_thresholds(&self) -> GcThresholds {
        self.applied.lock().gc.clone()
    }

    /// The threshold of a key.
    pub fn gc_threshold(&self, key: &[u8]) -> Timestamp {
        self.applied.lock().gc.of(key)
    }

    /// The highest threshold of a span, whose end may be open.
    pub fn gc_threshold_over(&self, start: &[u8], end: &[u8]) -> Timestamp {
        self.applied.lock().gc.over(start, end)
    }

    /// Where the replica keeps its data.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What was written lately.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The index up to which everything is applied.
    pub fn applied_index(&self) -> Option<u64> {
        self.applied_next.load(Ordering::Acquire).checked_sub(1)
    }

    /// Waits until everything up to an index is applied and can be read.
    pub(super) async fn has_applied(&self, index: u64) {
        loop {
            let rose = self.rose.notified();
            tokio::pin!(rose);
            // Before the index is looked at: what is applied from then on is not missed.
            rose.as_mut().enable();
            let is_reached = self.applied_index().is_some_and(|applied| applied >= index);
            if is_reached && !self.is_installing() {
                return;
            }
            rose.await;
        }
    }

    /// Whether a raft snapshot is being installed. Nothing may read the state meanwhile.
    pub fn is_installing(&self) -> bool {
        !self.installs.load(Ordering::Acquire).is_multiple_of(2)
    }

    /// What identifies the state that is stored; none while a raft snapshot is being installed. What was read between
    /// two equal ones was read of that state.
    pub fn installed(&self) -> Option<u64> {
        let installs = self.installs.load(Ordering::Acquire);
        installs.is_multiple_of(2).then_some(installs)
    }

    /// For removing what nobody can see any more; none while a raft snapshot is being installed. What
    /// looks like a key's last version then may only be the last one that is there already.
    pub fn removal(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = self.removal.lock();
        (!self.is_installing()).then_some(guard)
    }

    /// Puts a raft snapshot that is staged in the place of the state. Durable when this returns.
    pub async fn install(&self, ticket: &Ticket) -> Result<(), Error> {
        // An installation that failed has stopped the node.
        let installs = self.installs.load(Ordering::Acquire) | 1;
        self.installs.store(installs, Ordering::Release);
        // A removal that is under way ends first; later ones leave this range out.
        drop(self.removal.lock());
        self.recent.forget();
        let old = self.descriptor();
        let record = install::commit(&*self.engine, ticket, &old).await?;
        loop {
            match install::complete(&*self.engine, &record).await {
                Ok(()) => break,
                // There is no way back from the commit point; the old content went first, so there
                // may be room soon.
                Err(Error::Full(why)) => {
                    tracing::warn!(range = %self.range, why, "raft snapshot: waiting for room");
                    sleep(FULL_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let applied = record.head.applied;
        self.oracle.known().holds(applied.newest);
        self.newest.store(applied.newest.0, Ordering::Release);
        self.applied_next.store(next_index(&applied), Ordering::Release);
        if let Some(at) = applied.applied {
            observe::tell(self.range, || Seen::Installed { applied: at });
        }
        *self.applied.lock() = applied;
        *self.descriptor.write() = Arc::new(record.head.descriptor);
        self.installs.store(installs + 1, Ordering::Release);
        self.rose.notify_waiters();
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
    pub(super) fn apply<'e>(
        &self,
        entries: impl ExactSizeIterator<Item = EntryRecord<'e>>,
    ) -> Result<Vec<Applied>, Error> {
        let mut next = self.applied.lock().clone();
        let newest_before = next.newest;
        let mut descriptor = None;
        let mut batch = Batch::new();
        let mut overlay = Overlay::default();
        let mut results = Vec::with_capacity(entries.len());
        for EntryRecord { position: at, payload } in entries {
            let expected = next.applied.map_or(0, |applied| applied.index + 1);
            if at.index != expected {
                return Err(Error::Corrupt(format!(
                    "log of {}: entry {} is to be applied where {expected} belongs",
                    self.range, at.index
                )));
            }
            let result = match payload {
                PayloadRecord::Blank => Applied::Done,
                PayloadRecord::Command(command) => {
                    let command: Command<'_> = codec::decode_borrowed(command)?;
                    let before = descriptor.clone().unwrap_or_else(|| self.descriptor());
                    let mut span = before.clone();
                    let mut target = Target {
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
                PayloadRecord::Membership(membership) => {
                    next.membership = membership;
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
            next.newest = next.newest.max(self.oracle.physical().last());
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
        let written = self.recent.versions_of(&batch);
        failpoint::hit("apply.before-batch");
        self.engine.write(batch)?;
        failpoint::hit("apply.after-batch");
        // Before the index says that it is applied: who sees that finds it in the list.
        self.recent.add(newest_before, written);
        self.oracle.known().holds(next.newest);
        self.newest.store(next.newest.0, Ordering::Release);
        self.applied_next.store(next_index(&next), Ordering::Release);
        *self.applied.lock() = next;
        if let Some(descriptor) = descriptor {
            *self.descriptor.write() = descriptor;
        }
        self.rose.notify_waiters();
        Ok(results)
    }
}

/// The index of the entry that is applied next.
fn next_index(applied: &AppliedRecord) -> u64 {
    applied.applied.map_or(0, |at| at.index + 1)
}

/// The descriptor that follows from a membership.
fn with_membership(current: &Descriptor, membership: &format::raft::Membership) -> Descriptor {
    let mut next = current.clone();
    next.generation = Generation(current.generation.0 + 1);
    next.replicas.clone_from(&membership.replicas);
    for (replica, _) in &membership.replicas {
        next.next_replica.0 = next.next_replica.0.max(replica.0 + 1);
    }
    next
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::{
        seams::SystemClock,
        storage::{
            format::raft::Position,
            memory::{MemoryDisk, MemoryEngine},
        },
    };

    fn blank(index: u64) -> EntryRecord<'static> {
        EntryRecord { position: Position { term: 1, index }, payload: PayloadRecord::Blank }
    }

    #[test]
    fn a_gap_in_the_log_is_not_applied() {
        let engine = MemoryEngine::of_test(&MemoryDisk::new());
        let birth = Descriptor::of_test(2, b"", b"");
        let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
        let state = RangeState::open(&birth, engine, oracle).expect("opened");
        state.apply([blank(0), blank(1)].into_iter()).expect("applied");
        for wrong in [[blank(1), blank(2)], [blank(3), blank(4)], [blank(2), blank(4)]] {
            let refused = state.apply(wrong.into_iter()).expect_err("not the next ones");
            assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
        }
        // Nothing of them was done.
        state.apply([blank(2)].into_iter()).expect("applied");
    }
}
