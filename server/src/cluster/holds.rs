//! Holds: moments that are being read, and that no gc threshold rises above meanwhile.
//!
//! Somebody who reads a moment for long, such as a backup, holds it at the node that he is connected to, and a feed
//! that has fallen behind is held at its node by itself. The node holds it in every range of the keys that he reads, on
//! behalf of all of its callers at once: a replicated command with the earliest of their moments and an end some time
//! ahead, repeated as long as it is needed (`upkeep/holds.rs`). So what a range has to remember is one hold a node, and
//! what is left of a node that died ends by itself.
//!
//! ```text
//!   caller A  [a, f) at 100 --\                     range [a, d)  node 1: 100, until 160
//!   caller B  [c, z) at 120 ---+-- node 1, now 100   range [d, m)  node 1: 100, until 160
//!                                                    range [m, z)  node 1: 120, until 160
//! ```
//!
//! # Invariants
//!
//! * Whoever was told that his moment is held can read it for as long as his node reaches the ranges once in [`LEASE`]:
//!   a hold and the thresholds are ordered by the range's log, and the threshold was at or below the moment after the
//!   hold was applied (`hold_versions.rs`; planted bug `gc-below-hold`).
//! * A hold that was asked for earlier never takes the place of a later one (`sequence`, `storage/gc_thresholds.rs`).
//! * Callers are bounded ([`CALLERS_MAX`]).
//!
//! # On a crash
//!
//! What a node held stays held until its end. Its callers find another node before that, and hold there.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    range::state::RangeState,
    router::watches::Feed,
    storage::format::{descriptor::Descriptor, gc::GcHold},
    time::Timestamp,
};

/// For how long a range keeps a hold of which it hears nothing more, by cluster time.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// Moments that are held at a node at the same time.
const CALLERS_MAX: usize = 1_024;

/// What a node holds.
pub(crate) struct Holds {
    /// Names this process among those that hold.
    holder: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Of the last hold that a range was or is told.
    sequence: u64,
    last_caller: u64,
    callers: BTreeMap<u64, Caller>,
    /// Of feeds that have fallen behind.
    feeds: Vec<Reader>,
}

/// What somebody reads at a moment, or from it on.
struct Reader {
    start: Vec<u8>,
    end: Vec<u8>,
    at: Timestamp,
}

struct Caller {
    reader: Reader,
    is_lost: Arc<AtomicBool>,
}

/// A moment is held until this is dropped.
pub(crate) struct Hold {
    state: Arc<Mutex<State>>,
    caller: u64,
    is_lost: Arc<AtomicBool>,
}

impl Hold {
    /// Whether it came too late somewhere: versions of its moment may be gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.lock().callers.remove(&self.caller);
    }
}

impl Holds {
    /// Nothing is held yet; `holder` is drawn for this process.
    pub(crate) fn new(holder: u64) -> Holds {
        Holds { holder, state: Arc::default() }
    }

    /// Takes a moment in; none where there are too many.
    pub(super) fn take(&self, (start, end): (Vec<u8>, Vec<u8>), at: Timestamp) -> Option<Hold> {
        let mut state = self.state.lock();
        if state.callers.len() >= CALLERS_MAX {
            return None;
        }
        state.last_caller += 1;
        let (caller, is_lost) = (state.last_caller, Arc::<AtomicBool>::default());
        let reader = Reader { start, end, at };
        state.callers.insert(caller, Caller { reader, is_lost: is_lost.clone() });
        Some(Hold { state: self.state.clone(), caller, is_lost })
    }

    /// These feeds are behind, and no others: each needs what comes after where it stands.
    pub(crate) fn set_feeds(&self, behind: impl Iterator<Item = Feed>) {
        let feeds = behind.map(|Feed { start, end, resolved }| Reader { start, end, at: resolved });
        self.state.lock().feeds = feeds.collect();
    }

    /// The earliest moment that is held.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        let callers = state.callers.values().map(|caller| &caller.reader);
        callers.chain(&state.feeds).map(|reader| reader.at).min()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.callers.is_empty() && state.feeds.is_empty()
    }

    /// What a range is to be told now; none of an end: it is needed no more.
    pub(super) fn due(&self, range: &Descriptor, until: Timestamp) -> GcHold {
        let mut state = self.state.lock();
        state.sequence += 1;
        let at = state.readers(range).map(|reader| reader.at).min();
        let until = at.map_or(Timestamp::ZERO, |_| until);
        let at = at.unwrap_or_default();
        GcHold { holder: self.holder, sequence: state.sequence, at, until }
    }

    /// Whether somebody needs a moment of a range.
    pub(crate) fn needs(&self, range: &Descriptor) -> bool {
        self.state.lock().readers(range).next().is_some()
    }

    /// Notes whose moment a range refuses, by what this node's replica of it has applied.
    pub(super) fn note_lost(&self, range: &Descriptor, state: &RangeState) {
        for caller in self.state.lock().callers.values() {
            let Reader { start, end, at } = &caller.reader;
            let start = start.as_slice().max(&range.start);
            let is_lost = caller.reader.touches(range)
                && *at < state.gc_threshold_over(start, range.clip_end(end));
            caller.is_lost.fetch_or(is_lost, Relaxed);
        }
    }
}

impl State {
    fn readers(&self, range: &Descriptor) -> impl Iterator<Item = &Reader> {
        let callers = self.callers.values().map(|caller| &caller.reader);
        callers.chain(&self.feeds).filter(|reader| reader.touches(range))
    }
}

impl Reader {
    fn touches(&self, range: &Descriptor) -> bool {
        let begins_before = range.end.is_empty() || self.start.as_slice() < range.end.as_slice();
        begins_before && (self.end.is_empty() || range.start.as_slice() < self.end.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(holds: &Holds, start: &str, end: &str, at: u64) -> Hold {
        let span = (start.as_bytes().to_vec(), end.as_bytes().to_vec());
        holds.take(span, Timestamp(at)).expect("taken")
    }

    #[test]
    fn a_range_is_told_the_earliest_moment_that_is_read_in_it() {
        let holds = Holds::new(7);
        let (low, high) = (Descriptor::of_test(2, b"", b"m"), Descriptor::of_test(3, b"m", b""));
        let until = Timestamp(1_000);
        let due = |range| {
            let hold = holds.due(range, until);
            assert_eq!(hold.holder, 7);
            (hold.sequence, hold.at.0, hold.until.0)
        };
        assert_eq!(due(&low), (1, 0, 0));
        let whole = take(&holds, "a", "", 120);
        let part = take(&holds, "c", "m", 100);
        assert_eq!((due(&low), due(&high)), ((2, 100, 1_000), (3, 120, 1_000)));
        drop(part);
        assert_eq!(due(&low), (4, 120, 1_000));
        assert!(holds.needs(&high));
        drop(whole);
        assert_eq!((due(&low), due(&high)), ((5, 0, 0), (6, 0, 0)));
        assert!(!holds.needs(&high) && holds.is_empty());
        // A feed that is behind needs what comes after where it stands.
        let feed = Feed { start: b"x".to_vec(), end: Vec::new(), resolved: Timestamp(90) };
        holds.set_feeds([feed].into_iter());
        assert_eq!((due(&low), due(&high)), ((7, 0, 0), (8, 90, 1_000)));
        assert!(holds.needs(&high) && !holds.needs(&low) && !holds.is_empty());
        holds.set_feeds(std::iter::empty());
        assert_eq!(due(&high), (9, 0, 0));
    }

    #[test]
    fn callers_are_bounded() {
        let holds = Holds::new(7);
        let taken: Vec<_> = (0..CALLERS_MAX).map(|_| take(&holds, "", "", 1)).collect();
        assert!(holds.take(Default::default(), Timestamp(1)).is_none());
        drop(taken);
        assert!(holds.is_empty());
    }
}
