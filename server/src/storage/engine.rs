//! The engine trait: an ordered key-value store with atomic batches, read snapshots, iteration and
//! an explicit moment of durability.
//!
//! A node opens two engines: the *log* engine (all groups' Raft logs and votes) and the *data*
//! engine (what the logs produced). Both are the same trait; [`Durability`] says what `sync` has to
//! do. RocksDB implements it in production (`rocks.rs`), the memory engine in the simulation
//! (`memory.rs`); one conformance suite puts both through the same histories and crashes.
//!
//! # Invariants
//!
//! * A batch is atomic: after a crash all of it is there or nothing.
//! * Batches survive in order: if a batch survived, every batch written before it survived.
//! * After `sync` returned `Ok`, every batch whose `write` returned before `sync` was called
//!   survives every crash.
//! * After `write` or `sync` returned [`Error::Failed`] nothing more is accepted: the engine is
//!   *failed*, every later `write` and `sync` fails too (after a failed fsync nothing that was
//!   "written" may be trusted). Reads go on. [`Error::Full`] is harmless: nothing was written, and
//!   the same write may succeed later.
//! * A reader sees a batch whole or not at all, as soon as its `write` returned.

use std::{fmt, ops::ControlFlow, sync::Arc};

use futures::future::BoxFuture;

/// A name space of an engine; one RocksDB column family each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Raft logs, votes and what belongs to a log (log engine); node identity (data engine).
    Log,
    /// `enc(key) ++ !ts -> version`.
    Data,
    /// Locks of transactions.
    Lock,
    /// Transaction records.
    Txn,
    /// Marks that transactions leave behind.
    Mark,
    /// `request id ++ enc(anchor) -> outcome`.
    Dedup,
    /// Applied index, descriptor, closed timestamp, thresholds of each range.
    Meta,
    /// Chunks of raft snapshots that are being received.
    Staged,
}

impl Family {
    /// Every family, in the order of their declaration.
    pub const ALL: [Family; 8] = [
        Family::Log,
        Family::Data,
        Family::Lock,
        Family::Txn,
        Family::Mark,
        Family::Dedup,
        Family::Meta,
        Family::Staged,
    ];

    /// The stable name, as in RocksDB's column families and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Family::Log => "log",
            Family::Data => "data",
            Family::Lock => "lock",
            Family::Txn => "txn",
            Family::Mark => "mark",
            Family::Dedup => "dedup",
            Family::Meta => "meta",
            Family::Staged => "staged",
        }
    }
}

/// What makes a batch durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A write-ahead log: `sync` is one fsync of it. Damage in the middle of it is an error at the
    /// next open, a torn tail is cut.
    WriteAheadLog,
    /// No write-ahead log: `sync` flushes the memtables of all families atomically. For state that
    /// a Raft log can produce again.
    Flush,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put { family: Family, key: Vec<u8>, value: Vec<u8> },
    /// Removes a key; removing what is not there is no error.
    Delete { family: Family, key: Vec<u8> },
    /// Removes every key in `[start, end)`; nothing where `end` is not above `start`.
    DeleteRange { family: Family, start: Vec<u8>, end: Vec<u8> },
}

/// Changes that happen together. Later changes win over earlier ones of the same batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order in which they were added.
    pub changes: Vec<Change>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put { family, key, value });
    }

    /// Adds a removal of one key.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.changes.push(Change::Delete { family, key });
    }

    /// Adds a removal of every key in `[start, end)`. Cheap to write, dear for every later seek
    /// across it: not for many small ranges.
    pub fn delete_range(&mut self, family: Family, start: Vec<u8>, end: Vec<u8>) {
        self.changes.push(Change::DeleteRange { family, start, end });
    }

    /// Whether it adds something, so that it needs room on the disk. Deletes are always let
    /// through: they are how a full disk gets room again.
    pub fn has_puts(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Put { .. }))
    }

    /// Puts the changes in the order of their keys, where all of them are puts: the same in effect, and the
    /// engine finds the place of each near that of the one before.
    pub fn sort(&mut self) {
        fn place(change: &Change) -> Option<(Family, &[u8])> {
            match change {
                Change::Put { family, key, .. } => Some((*family, key)),
                Change::Delete { .. } | Change::DeleteRange { .. } => None,
            }
        }
        if self.changes.iter().all(|change| place(change).is_some()) {
            self.changes.sort_by(|one, other| place(one).cmp(&place(other)));
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What a storage operation can fail with, by what the caller does about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full: refuse writes, go on reading.
    #[error("disk full: {0}")]
    Full(String),
    /// A write or a sync failed; the engine takes no more writes and the node must stop.
    #[error("storage failed, the node must stop: {0}")]
    Failed(String),
    /// Stored bytes are damaged. Names the file where the engine knows it.
    #[error("damaged data: {0}")]
    Corrupt(String),
    /// The directory can't be opened: in use, of a newer format, missing rights.
    #[error("{0}")]
    Open(String),
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Rising keys.
    #[default]
    Forward,
    /// Falling keys.
    Reverse,
}

/// Called for each record of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// What can be read, of the newest state or of a read snapshot.
pub trait Reader: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Visits the records with `start <= key < end` in order; an empty `end` is no end. The scan
    /// sees one moment of the engine. `visit` must not write to the engine.
    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error>;

    /// As [`Reader::scan`], forward, for bulk that is read once: what others read often stays in
    /// the caches.
    fn scan_once(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.scan(family, start, end, Direction::Forward, visit)
    }
}

/// How much room there is on an engine's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Free bytes.
    pub bytes: u64,
    /// Bytes that are kept free: with less nothing new is taken on.
    pub kept_bytes: u64,
}

/// What must be free beyond what is kept until a disk that was nearly full counts as one with space: a quarter of that,
/// at most this many bytes.
const AMPLE_BYTES_MAX: u64 = 32 << 20;

impl FreeSpace {
    /// More than anybody asks for.
    pub const PLENTY: FreeSpace = FreeSpace { bytes: u64::MAX, kept_bytes: 0 };

    /// Of two engines that of the one which runs out first.
    pub fn tighter(self, other: FreeSpace) -> FreeSpace {
        let left = |space: FreeSpace| space.bytes.saturating_sub(space.kept_bytes);
        if (left(other), other.bytes) < (left(self), self.bytes) { other } else { self }
    }

    /// Whether the disk is nearly full.
    pub fn is_short(self) -> bool {
        self.bytes < self.kept_bytes
    }

    /// Whether it is not any more, having been so.
    pub fn is_ample(self) -> bool {
        let more = (self.kept_bytes / 4).min(AMPLE_BYTES_MAX);
        self.bytes >= self.kept_bytes.saturating_add(more)
    }
}

/// An ordered key-value store. See the module's header for the invariants.
pub trait Engine: Reader + 'static {
    /// Applies a batch: visible when this returns, durable after the next [`Engine::sync`].
    fn write(&self, batch: Batch) -> Result<(), Error>;

    /// Makes every batch durable whose `write` has returned. Blocks the calling thread in
    /// production where [`Durability::WriteAheadLog`] holds; takes simulated time in the
    /// simulation.
    fn sync(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Whether there is room for more: [`Error::Full`] while the disk is nearly full. Asked before
    /// a write is taken on, at the door; `write` itself goes on a little longer, so that what was
    /// taken on can be finished.
    fn check_space(&self) -> Result<(), Error>;

    /// How much room there is, as the disk says now.
    fn free_space(&self) -> FreeSpace {
        FreeSpace::PLENTY
    }

    /// The value of a key as a crash at this moment would leave it, at worst.
    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The state of this moment, held until it is dropped.
    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader>;

    /// Bytes that the engine occupies on disk, roughly.
    fn disk_bytes(&self) -> u64;

    /// Gives the space back that removed records in `[start, end)` still take on the disk. Takes long; nothing
    /// waits for it.
    fn reclaim(
        &self,
        _family: Family,
        _start: &[u8],
        _end: &[u8],
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Figures of the engine for metrics: stable name, value.
    fn metrics(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

impl fmt::Debug for dyn Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}
