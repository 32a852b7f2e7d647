//! What a leader sends: a read snapshot of its replica, cut into chunks, and for how long it is kept.
//!
//! Chunks are read when they are sent, from one read snapshot of the engine, so a raft snapshot needs no room on
//! the sender's disk. Where each chunk begins is remembered: a stream that was cut goes on at its chunk, with the
//! same bytes. A source that nobody has asked for anything for [`IDLE_MAX`] is dropped; the engine keeps old files
//! for it until then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    content::{self, Cursor, sum_with},
    limits::Transfers,
};
use crate::{
    ids::{RangeId, ReplicaId},
    storage::{
        Engine, Family,
        engine::{Error, Reader},
        format::{applied::AppliedRecord, codec, snapshot::SnapshotHead},
        keys::{self, MetaKind},
    },
    time::local::Instant,
};

/// A read snapshot of which nobody took a chunk for this long goes: it pins what was overwritten since.
/// A stream that was cut is tried again much sooner; a replica that can't be reached is no reason.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// For how long after the last chunk the log is kept from the raft snapshot on at most, whatever its
/// size: the replica has to catch up from there, or it would need the next raft snapshot.
const CATCH_UP: Duration = Duration::from_secs(30);

/// A chunk as it is sent.
pub struct Chunk {
    /// Encoded records.
    pub records: Bytes,
    /// Of `records`.
    pub checksum: u64,
}

/// Where a chunk begins.
struct Start {
    cursor: Cursor,
    /// Over the checksums of the chunks before it.
    checksum: u64,
    /// There is no chunk: all are before it.
    is_end: bool,
}

/// A range's state of one moment, to be sent.
pub struct Source {
    head: SnapshotHead,
    reader: Arc<dyn Reader>,
    chunk_bytes: usize,
    /// Of the chunks that were read so far and the one behind them. Never empty.
    starts: tokio::sync::Mutex<Vec<Start>>,
    /// By replica: chunks below it were sent to it before.
    sent: Mutex<BTreeMap<ReplicaId, u64>>,
    used: Mutex<Instant>,
}

impl Source {
    /// The state that an engine shows now; `None` where nothing is applied yet, or a raft snapshot is
    /// being installed.
    pub fn read(
        engine: &Arc<dyn Engine>,
        range: RangeId,
        id: u128,
        chunk_bytes: usize,
    ) -> Result<Option<Source>, Error> {
        let reader = engine.clone().snapshot();
        let get = |kind| reader.get(Family::Meta, &keys::range_meta(range, kind));
        let (Some(applied), Some(descriptor)) =
            (get(MetaKind::Applied)?, get(MetaKind::Descriptor)?)
        else {
            return Ok(None);
        };
        let applied: AppliedRecord = codec::decode(&applied)?;
        if applied.applied.is_none() || get(MetaKind::Installing)?.is_some() {
            return Ok(None);
        }
        let head = SnapshotHead { id, applied, descriptor: codec::decode(&descriptor)? };
        let first = Start { cursor: Cursor::default(), checksum: 0, is_end: false };
        Ok(Some(Source {
            head,
            reader,
            chunk_bytes,
            starts: tokio::sync::Mutex::new(vec![first]),
            sent: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }))
    }

    /// What it is of.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The state itself.
    pub fn reader(&self) -> &dyn Reader {
        &*self.reader
    }

    /// The index up to which it holds everything.
    pub fn index(&self) -> u64 {
        self.head.applied.applied.map_or(0, |at| at.index)
    }

    /// A chunk by its number; none behind the last one.
    pub async fn chunk(&self, number: u64) -> Result<Option<Chunk>, Error> {
        self.touch(Instant::now());
        let mut starts = self.starts.lock().await;
        loop {
            let known = starts.len() as u64 - 1;
            let at = number.min(known);
            let start = usize::try_from(at).ok().and_then(|at| starts.get(at));
            let Some(start) = start.filter(|start| !start.is_end) else { return Ok(None) };
            let (mut cursor, before) = (start.cursor.clone(), start.checksum);
            let of = &self.head.descriptor;
            let records = content::chunk(&*self.reader, of, &mut cursor, self.chunk_bytes).await?;
            let Some(records) = records else {
                if let Some(start) = starts.last_mut() {
                    start.is_end = true;
                }
                return Ok(None);
            };
            let checksum = xxh3_64(&records);
            if at == known {
                let checksum = sum_with(before, checksum);
                starts.push(Start { cursor, checksum, is_end: false });
            }
            if at == number {
                return Ok(Some(Chunk { records: Bytes::from(records), checksum }));
            }
        }
    }

    /// How many chunks there are and the checksum over theirs, once [`Source::chunk`] has said `None`.
    pub async fn total(&self) -> Option<(u64, u64)> {
        let starts = self.starts.lock().await;
        let last = starts.last().filter(|start| start.is_end)?;
        Some((starts.len() as u64 - 1, last.checksum))
    }

    /// Notes that a chunk goes to a replica; whether it did before.
    pub fn note_sent(&self, to: ReplicaId, number: u64) -> bool {
        let mut sent = self.sent.lock();
        let next = sent.entry(to).or_default();
        let again = number < *next;
        *next = (*next).max(number + 1);
        again
    }

    fn touch(&self, now: Instant) {
        *self.used.lock() = now;
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(*self.used.lock()) >= IDLE_MAX
    }
}

/// A replica's raft snapshot to send: made when one is needed, kept while it is used.
pub struct Outbox {
    range: RangeId,
    engine: Arc<dyn Engine>,
    transfers: Arc<Transfers>,
    current: Mutex<Option<Arc<Source>>>,
    /// By replica: the log behind this index is kept until then.
    held: Mutex<BTreeMap<ReplicaId, (u64, Instant)>>,
}

impl Outbox {
    /// Of a range's replica whose data is in `engine`.
    pub fn new(range: RangeId, engine: Arc<dyn Engine>, transfers: Arc<Transfers>) -> Outbox {
        let (current, held) = Default::default();
        Outbox { range, engine, transfers, current, held }
    }

    /// One to send, that of the last time where the log (truncated up to `purged`) still follows it.
    /// `None` where nothing is applied yet.
    pub fn source(&self, purged: u64, now: Instant) -> Result<Option<Arc<Source>>, Error> {
        let mut current = self.current.lock();
        if let Some(source) = &*current
            && source.index() >= purged
            && !source.is_idle(now)
        {
            return Ok(Some(source.clone()));
        }
        let (id, chunk_bytes) = (self.transfers.id(), self.transfers.chunk_bytes);
        *current = Source::read(&self.engine, self.range, id, chunk_bytes)?.map(Arc::new);
        Ok(current.clone())
    }

    /// Keeps the log behind a raft snapshot for a replica that is taking it, or did just now. Not for
    /// one that can't be reached: that may last.
    pub fn hold(&self, to: ReplicaId, source: &Source, now: Instant) {
        source.touch(now);
        self.held.lock().insert(to, (source.index(), now + CATCH_UP));
    }

    /// Replicas whose log is kept need nothing below `surplus` any more: by what each holds.
    pub fn release(&self, surplus: u64, matched: impl Fn(ReplicaId) -> Option<u64>) {
        let has_caught_up = |replica: &ReplicaId| matched(*replica) >= Some(surplus);
        self.held.lock().retain(|replica, _| !has_caught_up(replica));
    }

    /// The log behind this index must be kept.
    pub fn held_from(&self, now: Instant) -> Option<u64> {
        let mut held = self.held.lock();
        held.retain(|_, (_, until)| *until > now);
        held.values().map(|(index, _)| *index).min()
    }

    /// Lets go of a read snapshot that nobody used for a while.
    pub fn drop_idle(&self, now: Instant) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|source| source.is_idle(now)) {
            *current = None;
        }
    }

    /// Lets go of a read snapshot that can't be sent now: it would pin much for nothing.
    pub fn give_up(&self, source: &Arc<Source>) {
        let mut current = self.current.lock();
        let unused =
            |held: &&Arc<Source>| Arc::ptr_eq(held, source) && Arc::strong_count(held) <= 2;
        if current.as_ref().filter(unused).is_some() {
            *current = None;
        }
    }
}
