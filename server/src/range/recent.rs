//! What was written to a range lately, by name: how a feed finds what is new without looking at all keys.
//!
//! Every replica has a list of its own, made as entries are applied. It is there only while somebody follows the range:
//! without feeds apply pays for one look at an atomic. Values are not in it; they are read from the engine by their
//! exact version.
//!
//! ```text
//!   floor          entries, in order                             what is being applied
//!   ─┴─────────────┴─ v ── v ── v ── v ── v ── v ─┴──────────────────> added before it counts as applied
//!    everything above it is in the list
//! ```
//!
//! Beside it is what the last passes over the range have found (`recent/caught_up.rs`), so that the pages of those who
//! catch up share them.
//!
//! # Invariants
//!
//! * Every version of the range above the floor that is applied is in the list. Without a floor nothing is promised.
//!   The floor is the newest version before the first batch that was added: versions rise along the log, so that batch
//!   and all later ones are above it.
//! * What is dropped from a full list raises the floor (planted bug `feed-list-forgets-floor`).
//! * A raft snapshot takes the place of entries that are never applied here: the floor is lost (planted bug
//!   `feed-list-outlives-state`).
//! * Bounded in entries and bytes, and in the bytes of all lists of a node ([`Room`]): one that finds no room drops its
//!   oldest entries, as a full one does, and passes serve who is further back.
//! * Gone when nobody has asked for a while. Who hears that there is nothing new has asked, and so has a pass under
//!   way: else the first write after a while would cost a pass.
//!
//! On a crash: it is in memory only. A restarted replica has no floor, and feeds look at the range once.

mod caught_up;
mod room;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::room::Room;
use self::{
    caught_up::{ASKED_WITHIN, CaughtUp, cut},
    room::bytes_of,
};
use crate::{
    planted::{self, Bug},
    size::Size,
    storage::{
        Batch, Family,
        changes::{Found, Position, Written},
        engine::Change,
        keys,
    },
    time::{Timestamp, local::Instant},
};

/// Entries of the list.
const ENTRIES_MAX: Size = Size::new("recent-changes", 16_384, 2);
/// Bytes of their keys.
const BYTES_MAX: usize = 2 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    /// Copy of `list.asked.is_some()`, to read without the lock.
    followed: AtomicBool,
    /// Somebody has asked since that was looked at last.
    asked_since: AtomicBool,
    room: Arc<Room>,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// When somebody asked last; none: nobody follows the range.
    asked: Option<Instant>,
    floor: Option<Timestamp>,
    entries: VecDeque<Written>,
    /// Of the entries' keys, and what they take of the room.
    key_bytes: usize,
    bytes: usize,
    caught_up: CaughtUp,
}

impl List {
    fn push(&mut self, room: &Room, written: Vec<Written>) {
        for version in written {
            let bytes = bytes_of([&version]);
            self.key_bytes += version.key.len();
            self.bytes += bytes;
            room.take(bytes);
            self.entries.push_back(version);
        }
        self.fit(room);
    }

    /// Drops what is over the bounds.
    fn fit(&mut self, room: &Room) {
        let is_over = |list: &List| {
            let is_full = list.entries.len() > ENTRIES_MAX.get() || list.key_bytes > BYTES_MAX;
            is_full || (!room.fits(0) && list.bytes > room.share())
        };
        while is_over(self) {
            let Some(dropped) = self.entries.pop_front() else { break };
            let bytes = bytes_of([&dropped]);
            self.key_bytes -= dropped.key.len();
            self.bytes -= bytes;
            room.give_back(bytes);
            // The careless hand: "nobody is that far behind".
            if !planted::active(Bug::FeedListForgetsFloor) {
                self.floor = self.floor.max(Some(dropped.at));
            }
        }
    }

    /// Drops all of it, but that somebody asks.
    fn clear(&mut self, room: &Room) {
        room.give_back(self.bytes);
        self.caught_up.clear(room);
        *self = List { asked: self.asked, ..List::default() };
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        let list = self.list.get_mut();
        list.clear(&self.room);
        if list.asked.is_some() {
            self.room.end();
        }
    }
}

impl Recent {
    /// No list yet; it will be in this room.
    pub fn new(room: Arc<Room>) -> Recent {
        let (followed, asked_since) = (AtomicBool::new(false), AtomicBool::new(false));
        Recent { followed, asked_since, room, list: Mutex::default() }
    }

    /// The versions that a batch writes, in order; none where nobody follows the range.
    pub fn versions_of(&self, batch: &Batch) -> Option<Vec<Written>> {
        if !self.followed.load(Ordering::Acquire) {
            return None;
        }
        let put = |change: &Change| match change {
            Change::Put { family: Family::Data, key, .. } => {
                let (key, at) = keys::split_version(key)?;
                Some(Written { at, key: Bytes::copy_from_slice(key) })
            }
            _ => None,
        };
        let mut written: Vec<_> = batch.changes.iter().filter_map(put).collect();
        written.sort_unstable();
        Some(written)
    }

    /// A batch is stored; `before` is the newest version of the range before it. Not to be called later than what says
    /// that the batch is applied.
    pub fn add(&self, before: Timestamp, written: Option<Vec<Written>>) {
        let Some(written) = written else { return };
        let mut list = self.list.lock();
        if list.asked.is_none() {
            return;
        }
        list.floor.get_or_insert(before);
        list.push(&self.room, written);
    }

    /// Other state takes the place of what the list is of.
    pub fn forget(&self) {
        // The careless hand: "what was written stays written".
        if !planted::active(Bug::FeedListOutlivesState) {
            self.list.lock().clear(&self.room);
        }
    }

    /// Somebody follows the range, whether he looks at the list or not.
    pub fn note_asked(&self) {
        self.asked_since.store(true, Ordering::Release);
        if !self.followed.load(Ordering::Acquire) {
            let mut list = self.list.lock();
            if list.asked.replace(Instant::now()).is_none() {
                self.room.begin();
            }
            self.followed.store(true, Ordering::Release);
        }
    }

    /// Drops the list where nobody has asked for a while, and what there is no room for.
    pub fn drop_unasked(&self) {
        if !self.followed.load(Ordering::Acquire) {
            return;
        }
        let mut list = self.list.lock();
        if self.asked_since.swap(false, Ordering::AcqRel) {
            list.asked = Some(Instant::now());
        }
        if list.asked.is_some_and(|asked| asked.elapsed() >= ASKED_WITHIN) {
            self.followed.store(false, Ordering::Release);
            list.clear(&self.room);
            list.asked = None;
            self.room.end();
            return;
        }
        list.caught_up.drop_unasked(&self.room);
        list.fit(&self.room);
    }

    /// What of a span is behind a position and not above a closed moment, `most` versions at most; none where the list
    /// can't tell. From now on the range is followed.
    pub fn find(
        &self,
        (start, end): (&[u8], &[u8]),
        after: &Position,
        closed: Timestamp,
        most: usize,
    ) -> Option<Found> {
        self.note_asked();
        let mut list = self.list.lock();
        let holds = |key: &[u8]| key >= start && (end.is_empty() || key < end);
        if list.floor.is_some_and(|floor| floor <= after.floor()) {
            let first = list.entries.partition_point(|version| version.at <= after.floor());
            let behind = list.entries.range(first..).take_while(|version| version.at <= closed);
            let wanted = behind
                .filter(|version| holds(&version.key) && after.is_before(version.at, &version.key));
            return Some(cut(wanted, most, Position::behind(closed)));
        }
        list.caught_up.find((start, end), after, most)
    }

    /// Keeps what a pass over a span has found behind a position, where that is still what is stored: an installation
    /// that begins after the look finds it here, and drops it.
    pub fn keep(
        &self,
        span: (&[u8], &[u8]),
        after: Position,
        found: Found,
        is_current: impl FnOnce() -> bool,
    ) {
        let mut list = self.list.lock();
        if list.asked.is_some() && is_current() {
            list.caught_up.keep(&self.room, span, after, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(versions: &[(&str, u64)]) -> Batch {
        let mut batch = Batch::new();
        for (key, at) in versions {
            batch.put(Family::Data, keys::version(key.as_bytes(), Timestamp(*at)), Vec::new());
        }
        batch.put(Family::Meta, b"applied".to_vec(), Vec::new());
        batch
    }

    fn apply(recent: &Recent, before: u64, versions: &[(&str, u64)]) {
        let written = recent.versions_of(&batch(versions));
        recent.add(Timestamp(before), written);
    }

    fn position(at: u64, key: Option<&str>) -> Position {
        Position { at: Timestamp(at), key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())) }
    }

    type Told = Option<(Vec<(u64, String)>, Position)>;

    fn find(recent: &Recent, after: &Position, closed: u64, most: usize) -> Told {
        let found = recent.find((b"a", b"m"), after, Timestamp(closed), most)?;
        let name = |it: Written| (it.at.0, String::from_utf8_lossy(&it.key).into_owned());
        Some((found.versions.into_iter().map(name).collect(), found.upto))
    }

    fn told(versions: &[(u64, &str)], upto: Position) -> Told {
        let versions = versions.iter().map(|(at, key)| (*at, (*key).to_owned()));
        Some((versions.collect(), upto))
    }

    #[test]
    fn nothing_is_promised_of_what_was_applied_before_somebody_asked() {
        let recent = Recent::default();
        apply(&recent, 0, &[("a", 1)]);
        assert_eq!(find(&recent, &position(0, None), 9, 9), None, "it was not noted");
        // Asked while a batch is being applied that nobody had asked for when it began.
        recent.add(Timestamp(1), None);
        apply(&recent, 4, &[("b", 6), ("a", 5), ("z", 6)]);
        assert_eq!(find(&recent, &position(3, None), 9, 9), None);
        assert_eq!(find(&recent, &position(4, Some("a")), 9, 9), None, "of 4 others may come");
        let all = told(&[(5, "a"), (6, "b")], position(9, None));
        assert_eq!(find(&recent, &position(4, None), 9, 9), all, "z is outside of the span");
        let closed = told(&[(5, "a")], position(5, None));
        assert_eq!(find(&recent, &position(4, None), 5, 9), closed);
        let cut = told(&[(5, "a")], position(5, Some("a")));
        assert_eq!(find(&recent, &position(4, None), 9, 1), cut);
        let rest = told(&[(6, "b")], position(9, None));
        assert_eq!(find(&recent, &position(5, Some("a")), 9, 1), rest);
    }

    #[test]
    fn what_is_dropped_and_what_is_replaced_is_not_promised() {
        let recent = Recent::default();
        assert_eq!(find(&recent, &position(0, None), 9, 9), None);
        let most = ENTRIES_MAX.get() as u64;
        let keys: Vec<String> = (0..=most).map(|n| format!("b{n:06}")).collect();
        let versions: Vec<_> = keys.iter().zip(1..).map(|(key, at)| (&key[..], at)).collect();
        apply(&recent, 0, &versions);
        let last = most + 1;
        assert_eq!(find(&recent, &position(0, None), last, 1), None, "the first is gone");
        let first = told(&[(2, &keys[1])], position(2, Some(&keys[1])));
        assert_eq!(find(&recent, &position(1, None), last, 1), first);
        recent.forget();
        assert_eq!(find(&recent, &position(last, None), last + 1, 9), None);
        apply(&recent, last + 5, &[("c", last + 6)]);
        assert_eq!(find(&recent, &position(last, None), last + 9, 9), None);
        let new = told(&[(last + 6, "c")], position(last + 9, None));
        assert_eq!(find(&recent, &position(last + 5, None), last + 9, 9), new);
    }

    #[test]
    fn lists_without_room_keep_their_share_and_raise_their_floors() {
        let name = bytes_of([&Written { at: Timestamp(1), key: Bytes::from_static(b"b00") }]);
        let room = Arc::new(Room::new(8 * name));
        let lists = [(); 2].map(|()| Recent::new(room.clone()));
        let keys: Vec<String> = (0..8).map(|number| format!("b{number:02}")).collect();
        let versions: Vec<_> = keys.iter().zip(1..).map(|(key, at)| (&key[..], at)).collect();
        for list in &lists {
            assert_eq!(find(list, &position(0, None), 9, 9), None);
        }
        apply(&lists[0], 0, &versions);
        let all = |list, after| find(list, &position(after, None), 9, 9).map(|it| it.0.len());
        assert_eq!(all(&lists[0], 0), Some(8), "the other one has nothing");
        apply(&lists[1], 0, &versions);
        assert_eq!((all(&lists[1], 3), all(&lists[1], 4)), (None, Some(4)), "half of the room");
        lists[0].drop_unasked();
        assert_eq!((all(&lists[0], 3), all(&lists[0], 4)), (None, Some(4)));
        drop(lists);
        assert_eq!(room.left(), 8 * name);
    }

    #[test]
    fn a_range_that_is_followed_has_a_list_before_anything_is_written() {
        let recent = Recent::default();
        recent.note_asked();
        apply(&recent, 4, &[("b", 6)]);
        let all = told(&[(6, "b")], position(9, None));
        assert_eq!(find(&recent, &position(4, None), 9, 9), all);
    }

    #[test]
    fn what_a_pass_has_found_is_kept_of_the_state_that_is_there() {
        let recent = Recent::default();
        assert_eq!(find(&recent, &position(0, None), 9, 9), None);
        let written = Written { at: Timestamp(2), key: Bytes::from_static(b"a") };
        let found = Found { versions: vec![written], upto: position(3, None) };
        recent.keep((b"a", b"m"), position(1, None), found.clone(), || false);
        assert_eq!(find(&recent, &position(1, None), 9, 9), None, "it is of a state that is gone");
        recent.keep((b"a", b"m"), position(1, None), found, || true);
        let all = told(&[(2, "a")], position(3, None));
        assert_eq!(find(&recent, &position(1, None), 9, 9), all);
        recent.forget();
        assert_eq!(find(&recent, &position(1, None), 9, 9), None);
    }
}
