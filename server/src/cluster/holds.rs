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
//! * What was held for a caller or a feed that went away stays held for [`LINGERS`]: he comes back, to this node or to
//!   another one, and finds it there.
//!
//! # On a crash
//!
//! What a node held stays held until its end. Its callers find another node before that, and hold there.

use std::{
    collections::{BTreeMap, VecDeque},
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
    time::{Timestamp, local::Instant},
};

/// For how long a range keeps a hold of which it hears nothing more, by cluster time.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// How long a node goes on to hold for who went away.
const LINGERS: Duration = Duration::from_secs(30);
/// Moments that are held at a node at the same time, and as many of callers that went away.
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
    /// Feeds that have fallen behind, and when they were there last.
    feeds: BTreeMap<u64, (Reader, Instant)>,
    /// Of callers that went away, and when.
    gone: VecDeque<(Reader, Instant)>,
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
    /// Somebody was told that it is held.
    is_told: bool,
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

    /// It is held everywhere, and whoever asked is told: when he goes away he may come again, here or elsewhere.
    pub(super) fn tell(self) -> Hold {
        if let Some(caller) = self.state.lock().callers.get_mut(&self.caller) {
            caller.is_told = true;
        }
        self
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let Some(caller) = state.callers.remove(&self.caller) else { return };
        // What was refused nobody relies on.
        if !caller.is_told {
            return;
        }
        if state.gone.len() >= CALLERS_MAX {
            state.gone.pop_front();
        }
        state.gone.push_back((caller.reader, Instant::now()));
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
        state.callers.insert(caller, Caller { reader, is_lost: is_lost.clone(), is_told: false });
        Some(Hold { state: self.state.clone(), caller, is_lost })
    }

    /// Looks at the feeds that are open, and which of them are behind: each of these needs what comes after where it
    /// stands. Forgets who went away too long ago.
    pub(crate) fn look(&self, open: Vec<(u64, Feed)>, is_behind: impl Fn(&Feed) -> bool) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        for (id, feed) in open {
            if is_behind(&feed) {
                let Feed { start, end, resolved } = feed;
                state.feeds.insert(id, (Reader { start, end, at: resolved }, now));
            } else {
                state.feeds.remove(&id);
            }
        }
        let lasts = |at: &Instant| now.saturating_duration_since(*at) < LINGERS;
        state.feeds.retain(|_, (_, at)| lasts(at));
        state.gone.retain(|(_, at)| lasts(at));
    }

    /// The earliest moment that is held.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.state.lock().readers().map(|reader| reader.at).min()
    }

    /// What a range is to be told now; none of an end: it is needed no more.
    pub(super) fn due(&self, range: &Descriptor, until: Timestamp) -> GcHold {
        let mut state = self.state.lock();
        state.sequence += 1;
        let at = state.earliest_in(range);
        let until = at.map_or(Timestamp::ZERO, |_| until);
        let at = at.unwrap_or_default();
        GcHold { holder: self.holder, sequence: state.sequence, at, until }
    }

    /// The earliest moment of a range that somebody needs.
    pub(crate) fn needed(&self, range: &Descriptor) -> Option<Timestamp> {
        self.state.lock().earliest_in(range)
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
    fn readers(&self) -> impl Iterator<Item = &Reader> {
        let callers = self.callers.values().map(|caller| &caller.reader);
        let (feeds, gone) = (self.feeds.values(), self.gone.iter());
        callers.chain(feeds.chain(gone).map(|(reader, _)| reader))
    }

    fn earliest_in(&self, range: &Descriptor) -> Option<Timestamp> {
        self.readers().filter(|reader| reader.touches(range)).map(|reader| reader.at).min()
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

    /// Lets time pass for those who went away.
    fn later(holds: &Holds, by: Duration) {
        let mut state = holds.state.lock();
        let earlier = |at: &mut Instant| *at = at.checked_sub(by).expect("an earlier moment");
        state.gone.iter_mut().for_each(|(_, at)| earlier(at));
        state.feeds.values_mut().for_each(|(_, at)| earlier(at));
        drop(state);
        let open = Vec::new();
        holds.look(open, |_| false);
    }

    fn take(holds: &Holds, start: &str, end: &str, at: u64) -> Hold {
        let span = (start.as_bytes().to_vec(), end.as_bytes().to_vec());
        holds.take(span, Timestamp(at)).expect("taken").tell()
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
        // Who went away may come back.
        drop(part);
        assert_eq!(due(&low), (4, 100, 1_000));
        later(&holds, LINGERS);
        assert_eq!(due(&low), (5, 120, 1_000));
        assert_eq!(holds.needed(&high), Some(Timestamp(120)));
        drop(whole);
        later(&holds, LINGERS);
        // What was refused does not linger.
        let span = (b"a".to_vec(), Vec::new());
        drop(holds.take(span, Timestamp(90)).expect("taken"));
        assert_eq!((due(&low), due(&high)), ((6, 0, 0), (7, 0, 0)));
        assert_eq!((holds.needed(&high), holds.earliest()), (None, None));
    }

    #[test]
    fn a_feed_that_is_behind_needs_what_comes_after_where_it_stands() {
        let holds = Holds::new(7);
        let (low, high) = (Descriptor::of_test(2, b"", b"m"), Descriptor::of_test(3, b"m", b""));
        let open = |resolved| {
            let feed =
                Feed { start: b"x".to_vec(), end: Vec::new(), resolved: Timestamp(resolved) };
            vec![(1, feed)]
        };
        let is_behind = |feed: &Feed| feed.resolved < Timestamp(95);
        holds.look(open(90), is_behind);
        assert_eq!((holds.needed(&low), holds.needed(&high)), (None, Some(Timestamp(90))));
        holds.look(open(93), is_behind);
        assert_eq!(holds.needed(&high), Some(Timestamp(93)));
        // It went away, and does not come back.
        holds.look(Vec::new(), is_behind);
        assert_eq!(holds.needed(&high), Some(Timestamp(93)));
        later(&holds, LINGERS);
        assert_eq!(holds.needed(&high), None);
        // It has caught up.
        holds.look(open(94), is_behind);
        holds.look(open(96), is_behind);
        assert_eq!(holds.needed(&high), None);
    }

    #[test]
    fn callers_are_bounded() {
        let holds = Holds::new(7);
        let taken: Vec<_> = (0..CALLERS_MAX).map(|_| take(&holds, "", "", 1)).collect();
        assert!(holds.take(Default::default(), Timestamp(1)).is_none());
        drop(taken);
        drop((0..CALLERS_MAX).map(|_| take(&holds, "", "", 1)).collect::<Vec<_>>());
        assert_eq!(holds.state.lock().gone.len(), CALLERS_MAX);
    }
}
