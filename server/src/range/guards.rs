//! Guards: keys of writes that have begun to ask for their timestamp and are not applied yet.
//!
//! A write gets its timestamp before it is applied. In between there are two ways to see the order of things: by
//! timestamps it has happened, to those who read its key it has not. So nobody may look at the key meanwhile who could
//! tell:
//!
//! ```text
//!   round begins        timestamp known             applied
//!        |  floor <= known      |  at                   |
//!        |---------------- guard up --------------------|
//!
//!   a get of the key that arrives meanwhile       waits
//!   a read at r <= floor                          need not: the write will be above r
//!   a read at r > floor, or r >= at once known    waits
//! ```
//!
//! There is one guard for each entry on its way: it holds hashes of its keys, or stands for all keys of the range. So a
//! read may wait for a write of another key now and then, which does no harm.
//!
//! # Invariants
//!
//! * A guard is raised before its round is asked for, with what is known then as its floor ([`Guards::raise`]; planted
//!   bugs `guard-after-round`, `get-ignores-guards`).
//! * It is taken down once its entry is applied, or will never be. Where nobody knows that (the leadership ended), it
//!   is *lost*, and so it is where the leader's disk does not answer, until it does: it stays over its keys, and reads
//!   that come upon it are refused. It says nothing any more once the leader has applied all that was in its log when
//!   it was lost, nor of an earlier term than that in which the leadership was confirmed: before a leader serves it has
//!   applied all that may be left of it.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

use crate::time::{Timestamp, oracle::Block};

/// Where an entry is at the latest that may end yet, and one of which that is not known.
const OPEN: u64 = u64::MAX;
const NOWHERE: u64 = u64::MAX - 1;
/// Lost guards that are kept apart; of more all keys are taken to be lost.
const LOST_MAX: usize = 64;

const UP: u8 = 0;
const SETTLED: u8 = 1;
const LOST: u8 = 2;

/// The guards of a range, at its leader. There are as many as entries on their way: two or three.
#[derive(Debug, Default)]
pub(in crate::range) struct Guards(Mutex<Vec<Arc<Guard>>>);

/// A guard that is up, or was. See the module.
#[derive(Debug)]
pub(in crate::range) struct Guard {
    /// Hashes of its keys, rising; none: all keys.
    keys: Option<Vec<u64>>,
    /// The term of the leader that raised it.
    term: u64,
    floor: Block,
    /// The block of its timestamps; 0 until that is known.
    at: AtomicU64,
    state: AtomicU8,
    /// Of a lost one: the last index of the log at that moment.
    lost_at: AtomicU64,
    ended: Notify,
}

/// Who looks at guards: a leader that was confirmed in a term, and has applied its log up to an index.
#[derive(Clone, Copy, Debug)]
pub(in crate::range) struct Looks {
    pub(in crate::range) term: u64,
    pub(in crate::range) applied: Option<u64>,
}

/// Takes its guard down, as settled or, where it is dropped, as lost.
#[derive(Debug)]
pub(in crate::range) struct Raised {
    guards: Arc<Guards>,
    guard: Arc<Guard>,
}

impl Guards {
    /// Raises a guard over keys, or over all of the range, for the leader of a term.
    pub(in crate::range) fn raise<'k>(
        self: &Arc<Guards>,
        term: u64,
        keys: Option<impl Iterator<Item = &'k [u8]>>,
        floor: Block,
    ) -> Raised {
        let hashes = keys.map(|keys| {
            let mut hashes: Vec<_> = keys.map(xxh3_64).collect();
            hashes.sort_unstable();
            hashes
        });
        let guard = Arc::new(Guard {
            keys: hashes,
            term,
            floor,
            at: AtomicU64::new(0),
            state: AtomicU8::new(UP),
            lost_at: AtomicU64::new(OPEN),
            ended: Notify::new(),
        });
        let mut up = self.0.lock();
        up.retain(|other| other.term >= term || other.state.load(Ordering::Acquire) == UP);
        up.push(guard.clone());
        drop(up);
        Raised { guards: self.clone(), guard }
    }

    /// The guards over a key.
    pub(in crate::range) fn over(&self, key: &[u8], looks: Looks) -> Vec<Arc<Guard>> {
        let up = self.0.lock();
        if up.is_empty() {
            return Vec::new();
        }
        let hash = xxh3_64(key);
        up.iter().filter(|guard| guard.counts(looks) && guard.covers(hash)).cloned().collect()
    }

    /// The guards over a key of writes whose timestamps may be in or below a block.
    pub(in crate::range) fn over_until(
        &self,
        key: &[u8],
        block: Block,
        looks: Looks,
    ) -> Vec<Arc<Guard>> {
        let mut over = self.over(key, looks);
        over.retain(|guard| guard.may_be_below(block));
        over
    }

    /// The guards of writes whose timestamps may be at or below a timestamp.
    pub(in crate::range) fn below(&self, at: Timestamp, looks: Looks) -> Vec<Arc<Guard>> {
        let (up, block) = (self.0.lock(), Block::of(at));
        let below = up.iter().filter(|guard| guard.counts(looks) && guard.may_be_below(block));
        below.cloned().collect()
    }

    /// The highest block that no write on its way may be at or below; none where none is on its way.
    pub(in crate::range) fn lowest(&self, looks: Looks) -> Option<Block> {
        let up = self.0.lock();
        up.iter().filter(|guard| guard.counts(looks)).map(|guard| guard.below()).min()
    }

    /// Nobody should wait for what is on its way: the disk does not answer. Those that are up are lost until their
    /// entries end, if ever they do.
    pub(in crate::range) fn lose_all(&self) {
        let up = self.0.lock().clone();
        for guard in &up {
            guard.moves(UP, LOST);
            guard.ended.notify_waiters();
        }
    }

    /// A guard is lost. Many lost ones are taken together: as one over all keys that lasts as long as any of them.
    fn lost(&self) {
        let mut up = self.0.lock();
        // One whose entry may end yet, since nobody could wait for it, stays by itself: that end takes it down.
        let is_lost = |guard: &Arc<Guard>| {
            guard.state.load(Ordering::Acquire) == LOST
                && guard.lost_at.load(Ordering::Acquire) != OPEN
        };
        let lost = || up.iter().filter(|guard| is_lost(guard));
        if lost().count() <= LOST_MAX {
            return;
        }
        let lost_at = |guard: &Arc<Guard>| guard.lost_at.load(Ordering::Acquire);
        let all = Guard {
            keys: None,
            term: lost().map(|guard| guard.term).max().unwrap_or(0),
            floor: lost().map(|guard| guard.floor).min().unwrap_or_default(),
            at: AtomicU64::new(0),
            state: AtomicU8::new(LOST),
            lost_at: AtomicU64::new(lost().map(lost_at).max().unwrap_or(0)),
            ended: Notify::new(),
        };
        up.retain(|guard| !is_lost(guard));
        up.push(Arc::new(all));
    }
}

impl Guard {
    /// Whether it says anything to who looks.
    fn counts(&self, looks: Looks) -> bool {
        let is_lost = self.state.load(Ordering::Acquire) == LOST;
        let lost_at = self.lost_at.load(Ordering::Acquire);
        let is_settled = is_lost && looks.applied.is_some_and(|applied| applied >= lost_at);
        self.term >= looks.term && !is_settled
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn covers(&self, hash: u64) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.binary_search(&hash).is_ok())
    }

    /// The highest block that its write is above.
    fn below(&self) -> Block {
        match self.at.load(Ordering::Acquire) {
            0 => self.floor,
            at => Block(at - 1),
        }
    }

    fn may_be_below(&self, block: Block) -> bool {
        match self.at.load(Ordering::Acquire) {
            0 => self.floor < block,
            at => at <= block.0,
        }
    }

    /// Waits until it is down. Whether the write is applied, or never will be; otherwise nobody knows.
    pub(in crate::range) async fn down(&self) -> bool {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the state is looked at: an end from then on is not missed.
            ended.as_mut().enable();
            match self.state.load(Ordering::Acquire) {
                UP => ended.await,
                state => return state == SETTLED,
            }
        }
    }
}

impl Raised {
    /// The block of its timestamps is known. Whether it is above what was known when it was asked for: otherwise it is
    /// of no use.
    pub(in crate::range) fn stamp(&self, at: Block) -> bool {
        let is_fresh = at > self.guard.floor;
        if is_fresh {
            self.guard.at.store(at.0, Ordering::Release);
        }
        is_fresh
    }

    /// Its entry is applied, or there is none.
    pub(in crate::range) fn settle(self) {
        self.end(SETTLED);
    }

    /// Nobody knows whether its entry will be applied: where it ever is, it is in the log up to `last` by now.
    pub(in crate::range) fn lose(self, last: Option<u64>) {
        self.guard.lost_at.store(last.unwrap_or(0), Ordering::Release);
        self.end(LOST);
    }

    /// Nobody will say any more what became of it.
    fn is_lost_for_good(&self) {
        let lost_at = &self.guard.lost_at;
        lost_at.compare_exchange(OPEN, NOWHERE, Ordering::AcqRel, Ordering::Acquire).ok();
        self.guards.lost();
    }

    fn end(&self, state: u8) {
        // A lost one may turn out to be applied, and nothing else comes after.
        if !(self.guard.moves(UP, state) || state == SETTLED && self.guard.moves(LOST, SETTLED)) {
            if state == LOST && self.guard.state.load(Ordering::Acquire) == LOST {
                self.is_lost_for_good();
            }
            return;
        }
        match state {
            LOST => self.is_lost_for_good(),
            _ => self.guards.0.lock().retain(|guard| !Arc::ptr_eq(guard, &self.guard)),
        }
        self.guard.ended.notify_waiters();
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.end(LOST);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LOOKS: Looks = Looks { term: 2, applied: Some(7) };

    fn raise(guards: &Arc<Guards>, keys: &[&'static str], floor: u64) -> Raised {
        guards.raise(2, Some(keys.iter().map(|key| key.as_bytes())), Block(floor))
    }

    #[test]
    fn a_guard_is_over_its_keys_until_it_is_settled() {
        let guards = Arc::<Guards>::default();
        let one = raise(&guards, &["a", "b"], 5);
        let all = guards.raise(2, None::<std::iter::Empty<&[u8]>>, Block(5));
        let over = |key: &[u8]| guards.over(key, LOOKS).len();
        assert_eq!([over(b"a"), over(b"b"), over(b"c")], [2, 2, 1]);
        all.settle();
        assert_eq!([over(b"a"), over(b"c")], [1, 0]);
        one.settle();
        assert_eq!(over(b"a"), 0);
    }

    #[test]
    fn a_read_waits_for_writes_that_may_be_at_or_below_it() {
        let guards = Arc::<Guards>::default();
        let below = |block: u64, number| guards.below(Block(block).nth(number), LOOKS).len();
        let raised = raise(&guards, &["a"], 5);
        // Until its timestamp is known: above the floor.
        assert_eq!([below(5, 4_095), below(6, 0), below(20, 0)], [0, 1, 1]);
        assert!(raised.stamp(Block(9)));
        assert_eq!([below(8, 4_095), below(9, 0), below(20, 0)], [0, 1, 1]);
        let until = |key: &[u8], block| guards.over_until(key, Block(block), LOOKS).len();
        assert_eq!([until(b"a", 8), until(b"a", 9), until(b"b", 9)], [0, 1, 0]);
        raised.settle();
        assert_eq!(below(20, 0), 0);
    }

    #[test]
    fn what_is_closed_is_below_what_is_on_its_way() {
        let guards = Arc::<Guards>::default();
        assert_eq!(guards.lowest(LOOKS), None);
        let (one, _other) = (raise(&guards, &["a"], 5), raise(&guards, &["b"], 7));
        assert_eq!(guards.lowest(LOOKS), Some(Block(5)));
        assert!(one.stamp(Block(9)));
        assert_eq!(guards.lowest(LOOKS), Some(Block(7)));
        one.settle();
        drop(_other);
        assert_eq!(guards.lowest(LOOKS), Some(Block(7)), "lost: it may be applied yet");
    }

    #[test]
    fn a_lost_guard_stays_for_its_term() {
        let guards = Arc::<Guards>::default();
        drop(raise(&guards, &["a"], 5));
        assert_eq!([guards.over(b"a", LOOKS).len(), guards.over(b"b", LOOKS).len()], [1, 0]);
        let later = Looks { term: 3, ..LOOKS };
        assert!(guards.over(b"a", later).is_empty(), "it has applied what is left of it");
        raise(&guards, &["c"], 5).lose(Some(8));
        assert_eq!(guards.over(b"c", LOOKS).len(), 1);
        let applied = Looks { applied: Some(8), ..LOOKS };
        assert!(guards.over(b"c", applied).is_empty(), "it is applied, or never will be");
        for _ in 0..10 * LOST_MAX {
            drop(raise(&guards, &["a"], 5));
        }
        assert!(guards.0.lock().len() <= LOST_MAX + 1);
        assert!(!guards.over(b"b", LOOKS).is_empty());
        assert_eq!(guards.lowest(LOOKS), Some(Block(5)), "that of those which it stands for");
        guards.raise(3, Some([&b"c"[..]].into_iter()), Block(9)).settle();
        assert!(guards.0.lock().is_empty());
    }

    #[test]
    fn who_waits_is_told_whether_it_is_known_how_it_ended() {
        let guards = Arc::<Guards>::default();
        for settles in [true, false] {
            let raised = raise(&guards, &["a"], 5);
            let up = guards.over(b"a", LOOKS);
            let mut down = std::pin::pin!(up[0].down());
            assert_eq!((&mut down).now_or_never(), None);
            if settles {
                raised.settle()
            } else {
                drop(raised)
            };
            assert_eq!((&mut down).now_or_never(), Some(settles));
            assert_eq!(up[0].down().now_or_never(), Some(settles), "also who comes late");
            assert_eq!(guards.over(b"a", LOOKS).is_empty(), settles);
        }
    }

    #[test]
    fn nobody_waits_for_a_disk_that_does_not_answer() {
        let guards = Arc::<Guards>::default();
        let (one, other) = (raise(&guards, &["a"], 5), raise(&guards, &["b"], 5));
        let up = guards.over(b"a", LOOKS);
        let mut down = std::pin::pin!(up[0].down());
        assert_eq!((&mut down).now_or_never(), None);
        guards.lose_all();
        assert_eq!((&mut down).now_or_never(), Some(false));
        let applied = Looks { applied: Some(1_000), ..LOOKS };
        assert_eq!(guards.over(b"a", applied).len(), 1, "it is on its way still");
        // The disk answers again.
        one.settle();
        other.lose(Some(8));
        assert!(guards.over(b"a", LOOKS).is_empty());
        assert_eq!([guards.over(b"b", LOOKS).len(), guards.over(b"b", applied).len()], [1, 0]);
    }

    #[test]
    fn a_timestamp_at_or_below_the_floor_is_of_no_use() {
        let raised = raise(&Arc::default(), &["a"], 5);
        assert!(!raised.stamp(Block(5)) && raised.stamp(Block(6)));
    }
}
