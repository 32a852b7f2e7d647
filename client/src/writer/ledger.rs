//! What a writer and its task share: the room that accepted items take, and the account of what became of them.
//!
//! Invariants (those of `writer.rs`, kept here):
//! - *Bounds.* An accepted item holds one permit of `room` and some of `memory` until [`Ledger::give_back`].
//! - *Nothing is lost silently.* Each accepted item is entered once: as written, failed, or unknown.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::item::Item;
use crate::error::Error;

/// Errors that are kept with their keys, of failures and of unknown outcomes each.
const ERRORS_KEPT: usize = 32;

/// How far a [`BatchWriter`](crate::BatchWriter) is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Items that the writer took.
    pub accepted: u64,
    /// Items that are written.
    pub acknowledged: u64,
    /// Items that were not written and will not be.
    pub failed: u64,
    /// Items whose outcome is unknown: they may be written, or may be later.
    pub unknown: u64,
    /// Bytes of keys and values that are written.
    pub bytes: u64,
}

/// What came of everything that a [`BatchWriter`](crate::BatchWriter) accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "some items may have failed"]
pub struct Summary {
    /// Items that are written.
    pub written: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Items that were not written and will not be.
    pub failed: u64,
    /// The first of them, 32 at most.
    pub failures: Vec<ItemError>,
    /// Items that may be written, or may be still: read these keys before you write them again.
    pub unknown: u64,
    /// The first of them, 32 at most.
    pub unknown_outcomes: Vec<ItemError>,
}

impl Summary {
    /// Whether every item is written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unknown == 0
    }
}

/// An item that was not written, or whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemError {
    /// The key.
    pub key: Bytes,
    /// Why.
    pub error: Error,
}

/// What the writer and its task share.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) room: Semaphore,
    pub(super) memory: Semaphore,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    progress: Progress,
    failures: Vec<ItemError>,
    unknown_outcomes: Vec<ItemError>,
}

impl Ledger {
    /// With room for how many items, and for how many bytes of them.
    pub(super) fn new(items_max: usize, bytes_max: usize) -> Ledger {
        Ledger {
            room: Semaphore::new(items_max),
            memory: Semaphore::new(bytes_max),
            tally: Mutex::default(),
        }
    }

    /// The writer took one more item.
    pub(super) fn accepted(&self) {
        self.tally.lock().progress.accepted += 1;
    }

    /// Items of together `bytes` bytes are written.
    pub(super) fn written(&self, items: usize, bytes: usize) {
        let mut tally = self.tally.lock();
        tally.progress.acknowledged += items as u64;
        tally.progress.bytes += bytes as u64;
    }

    /// An item failed, or nobody knows: the error says which. The caller that waits for it is told.
    pub(super) fn failed(&self, mut item: Item, error: Error) {
        let mut tally = self.tally.lock();
        let errors = if error.maybe_committed() {
            tally.progress.unknown += 1;
            &mut tally.unknown_outcomes
        } else {
            tally.progress.failed += 1;
            &mut tally.failures
        };
        if errors.len() < ERRORS_KEPT {
            errors.push(ItemError { key: item.key.clone(), error: error.clone() });
        }
        drop(tally);
        item.tell(|| Err(error));
    }

    /// Items that together held `memory` permits of memory have their outcome.
    pub(super) fn give_back(&self, items: usize, memory: usize) {
        self.memory.add_permits(memory);
        self.room.add_permits(items);
    }

    /// Nobody gives anything back any more.
    pub(super) fn close(&self) {
        self.room.close();
        self.memory.close();
    }

    pub(super) fn progress(&self) -> Progress {
        self.tally.lock().progress
    }

    /// Closes the account. The errors that were kept are moved out.
    pub(super) fn summary(&self) -> Summary {
        let mut tally = self.tally.lock();
        let Progress { accepted, acknowledged, failed, unknown, bytes } = tally.progress;
        // above 0 only where the task ended early: nobody knows what became of these
        let lost = accepted.saturating_sub(acknowledged + failed + unknown);
        Summary {
            written: acknowledged,
            bytes,
            failed,
            failures: std::mem::take(&mut tally.failures),
            unknown: unknown + lost,
            unknown_outcomes: std::mem::take(&mut tally.unknown_outcomes),
        }
    }
}
