//! Memory for the lists of recent versions of a node, and for what passes have found.
//!
//! It is counted and never waited for: a list that finds no room keeps its share, all lists the same, and does without
//! the rest.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::storage::changes::Written;

/// Bytes of all of it.
const NODE_BYTES_MAX: usize = 64 << 20;
/// What a name takes beside its key, about.
const ENTRY_BYTES: usize = 64;

/// Memory for the lists of a node.
#[derive(Debug)]
pub struct Room {
    most: usize,
    used: AtomicUsize,
    lists: AtomicUsize,
}

impl Default for Room {
    fn default() -> Room {
        Room::new(NODE_BYTES_MAX)
    }
}

impl Room {
    pub(super) fn new(most: usize) -> Room {
        Room { most, used: AtomicUsize::new(0), lists: AtomicUsize::new(0) }
    }

    /// A list begins.
    pub(super) fn begin(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }

    /// A list is gone.
    pub(super) fn end(&self) {
        self.lists.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts bytes that are there.
    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They are there no more.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether as many more fit in.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.most
    }

    /// What is not used.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.most - self.used.load(Ordering::Relaxed)
    }

    /// What each list may have where there is no room.
    pub(super) fn share(&self) -> usize {
        self.most / self.lists.load(Ordering::Relaxed).max(1)
    }
}

/// What names take in memory, about.
pub(super) fn bytes_of<'a>(names: impl IntoIterator<Item = &'a Written>) -> usize {
    names.into_iter().map(|name| name.key.len() + ENTRY_BYTES).sum()
}
