//! Memory for the newest entries of all logs of a node, and how large each log is.
//!
//! Entries are read again soon after they were written: to be sent to followers, and to be applied. One budget serves
//! all groups, because a node may have hundreds of ranges of which few are busy. The groups that keep the most give
//! back first, and each may keep [`GROUP_BYTES_MIN`] whatever the others do. Entries that are not written yet are
//! never let go: the log writer still needs them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::size::Size;

/// Bytes of entries that all groups of a node keep in memory together.
const BUDGET_BYTES: usize = 64 << 20;
/// What the largest group gives back at a time where it is too much, so that it is not asked at each
/// append.
const GIVEN_BACK_BYTES: usize = 4 << 20;
/// What a group may keep whatever the others do.
pub(super) const GROUP_BYTES_MIN: usize = 256 << 10;
/// What a group keeps at most.
pub(super) const GROUP_BYTES_MAX: Size = Size::new("log-cache-bytes", 16 << 20, 4 << 10);
/// A log's size is noted each time it has grown by this many bytes.
const SAMPLE_BYTES: u64 = 16 << 10;

/// A log that keeps entries in memory.
pub(super) trait Cache: Send + Sync {
    /// Bytes of entries in memory.
    fn cached_bytes(&self) -> usize;

    /// Keeps no more than `bytes_max` bytes of written entries in memory.
    fn shrink(&self, bytes_max: usize);
}

/// The cache budget of a node: its logs, and what they keep together.
#[derive(Default)]
pub(super) struct Budget {
    used: AtomicUsize,
    groups: Mutex<Vec<Weak<dyn Cache>>>,
}

impl Budget {
    pub(super) fn join(&self, log: &Arc<dyn Cache>) {
        let mut groups = self.groups.lock();
        groups.retain(|group| group.strong_count() > 0);
        groups.push(Arc::downgrade(log));
    }

    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Lets the groups that keep the most give back until all is within the budget, or nobody has
    /// anything that is written and above the minimum. No lock of a group may be held.
    pub(super) fn balance(&self) {
        self.balance_to(BUDGET_BYTES);
    }

    fn balance_to(&self, budget: usize) {
        if self.used.load(Ordering::Acquire) <= budget {
            return;
        }
        let groups: Vec<_> = self.groups.lock().iter().filter_map(Weak::upgrade).collect();
        let mut by_size: Vec<_> =
            groups.iter().map(|group| (group.cached_bytes(), group)).collect();
        by_size.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, group) in by_size {
            if self.used.load(Ordering::Acquire) <= budget || bytes <= GROUP_BYTES_MIN {
                return;
            }
            group.shrink(bytes.saturating_sub(GIVEN_BACK_BYTES).max(GROUP_BYTES_MIN));
        }
    }
}

/// How many bytes of entries a log has, and where it had how many: samples, so that it costs little.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Bytes of all entries that were ever counted.
    total: u64,
    /// Bytes of those that are gone at the head.
    gone: u64,
    /// Rising: an index, and how many bytes there were up to and with it.
    samples: VecDeque<(u64, u64)>,
}

impl Sizes {
    /// An entry at the end.
    pub(super) fn push(&mut self, index: u64, bytes: usize) {
        self.total += bytes as u64;
        let last = self.samples.back().map_or(self.gone, |(_, upto)| *upto);
        if self.total - last >= SAMPLE_BYTES {
            self.samples.push_back((index, self.total));
        }
    }

    /// The entries behind this index are gone. Those since the last sample are not counted any more
    /// either: less than [`SAMPLE_BYTES`] and an entry.
    pub(super) fn cut_tail(&mut self, last: Option<u64>) {
        let before = self.samples.len();
        while self.samples.back().is_some_and(|(index, _)| Some(*index) > last) {
            self.samples.pop_back();
        }
        if self.samples.len() < before || last.is_none() {
            self.total = self.samples.back().map_or(self.gone, |(_, upto)| *upto);
        }
    }

    /// The entries up to this index are gone.
    pub(super) fn cut_head(&mut self, upto: u64, is_all: bool) {
        while let Some((index, bytes)) = self.samples.front().copied() {
            if index > upto {
                break;
            }
            self.gone = bytes;
            self.samples.pop_front();
        }
        if is_all {
            self.samples.clear();
            self.gone = self.total;
        }
    }

    /// Bytes of the log, up to a sample's more.
    pub(super) fn bytes(&self) -> u64 {
        self.total.saturating_sub(self.gone)
    }

    /// The last index that can go so that about `kept` bytes stay.
    pub(super) fn index_before(&self, kept: u64) -> Option<u64> {
        let gone = self.total.checked_sub(kept)?;
        let behind = self.samples.partition_point(|(_, upto)| *upto <= gone);
        self.samples.get(behind.checked_sub(1)?).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_log() {
        let mut sizes = Sizes::default();
        for index in 0..1_000 {
            sizes.push(index, 1_000);
        }
        assert_eq!(sizes.bytes(), 1_000_000);
        let index = sizes.index_before(200_000).expect("there is more");
        assert!((780..800).contains(&index), "{index}");
        assert_eq!(sizes.index_before(1_000_001), None);
        sizes.cut_head(index, false);
        assert!((200_000..=220_000).contains(&sizes.bytes()), "{}", sizes.bytes());
        sizes.cut_tail(Some(899));
        assert!((80_000..=120_000).contains(&sizes.bytes()), "{}", sizes.bytes());
        for index in 900..1_000 {
            sizes.push(index, 1_000);
        }
        assert!((180_000..=220_000).contains(&sizes.bytes()), "{}", sizes.bytes());
        sizes.cut_head(5_000, true);
        assert_eq!((sizes.bytes(), sizes.index_before(0)), (0, None));
        sizes.push(5_001, 20_000);
        assert_eq!((sizes.bytes(), sizes.index_before(0)), (20_000, Some(5_001)));
        sizes.cut_tail(None);
        assert_eq!(sizes.bytes(), 0);
    }
}
