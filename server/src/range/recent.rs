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
//! Beside it is what the last pass over the range has found ([`Found`]), so that the pages of one who catches up share
//! a pass.
//!
//! # Invariants
//!
//! * Every version of the range above the floor that is applied is in the list. Without a floor nothing is promised.
//!   The floor is the newest version before the first batch that was added: versions rise along the log, so that batch
//!   and all later ones are above it.
//! * What is dropped from a full list raises the floor (planted bug `feed-list-forgets-floor`).
//! * A raft snapshot takes the place of entries that are never applied here: the floor is lost (planted bug
//!   `feed-list-outlives-state`).
//! * Bounded in entries and bytes; gone when nobody has asked for a while.
//!
//! On a crash: it is in memory only. A restarted replica has no floor, and feeds look at the range once.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;

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
/// After this time without a question nobody follows the range any more.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    /// Copy of `list.asked.is_some()`, to read without the lock.
    followed: AtomicBool,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// When somebody asked last; none: nobody follows the range.
    asked: Option<Instant>,
    floor: Option<Timestamp>,
    entries: VecDeque<Written>,
    bytes: usize,
    caught_up: Option<CaughtUp>,
}

/// What a pass over a span has found behind a position.
#[derive(Debug)]
struct CaughtUp {
    span: (Vec<u8>, Vec<u8>),
    after: Position,
    found: Found,
}

impl Recent {
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
        list.bytes += written.iter().map(|version| version.key.len()).sum::<usize>();
        list.entries.extend(written);
        while list.entries.len() > ENTRIES_MAX.get() || list.bytes > BYTES_MAX {
            let Some(dropped) = list.entries.pop_front() else { break };
            list.bytes -= dropped.key.len();
            // The careless hand: "nobody is that far behind".
            if !planted::active(Bug::FeedListForgetsFloor) {
                list.floor = list.floor.max(Some(dropped.at));
            }
        }
    }

    /// Other state takes the place of what the list is of.
    pub fn forget(&self) {
        // The careless hand: "what was written stays written".
        if !planted::active(Bug::FeedListOutlivesState) {
            let mut list = self.list.lock();
            *list = List { asked: list.asked, ..List::default() };
        }
    }

    /// Drops the list where nobody has asked for a while.
    pub fn drop_unasked(&self) {
        if !self.followed.load(Ordering::Acquire) {
            return;
        }
        let mut list = self.list.lock();
        if list.asked.is_some_and(|asked| asked.elapsed() >= ASKED_WITHIN) {
            self.followed.store(false, Ordering::Release);
            *list = List::default();
        }
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
        let mut list = self.list.lock();
        list.asked = Some(Instant::now());
        self.followed.store(true, Ordering::Release);
        let holds = |key: &[u8]| key >= start && (end.is_empty() || key < end);
        if list.floor.is_some_and(|floor| floor <= after.floor()) {
            let first = list.entries.partition_point(|version| version.at <= after.floor());
            let behind = list.entries.range(first..).take_while(|version| version.at <= closed);
            let wanted = behind
                .filter(|version| holds(&version.key) && after.is_before(version.at, &version.key));
            return Some(cut(wanted, most, Position::behind(closed)));
        }
        let known = list.caught_up.as_ref()?;
        let is_of_it = known.span.0 == start && known.span.1 == end;
        if !is_of_it || known.after.is_above(after) || !known.found.upto.is_above(after) {
            return None;
        }
        let versions = &known.found.versions;
        let first = versions.partition_point(|version| version.at <= after.floor());
        let behind = versions.iter().skip(first);
        let wanted = behind.filter(|version| after.is_before(version.at, &version.key));
        Some(cut(wanted, most, known.found.upto.clone()))
    }

    /// Keeps what a pass over a span has found behind a position.
    pub fn keep(&self, (start, end): (&[u8], &[u8]), after: Position, found: Found) {
        let mut list = self.list.lock();
        if list.asked.is_some() {
            let span = (start.to_vec(), end.to_vec());
            list.caught_up = Some(CaughtUp { span, after, found });
        }
    }
}

/// The first of some versions, and up to where these are all; `upto` where none is left out.
fn cut<'a>(wanted: impl Iterator<Item = &'a Written>, most: usize, upto: Position) -> Found {
    let mut versions: Vec<Written> = wanted.take(most.saturating_add(1)).cloned().collect();
    let is_cut = versions.len() > most;
    versions.truncate(most);
    let last = versions.last().filter(|_| is_cut);
    let upto = last.map_or(upto, |last| Position { at: last.at, key: Some(last.key.clone()) });
    Found { versions, upto }
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
    fn what_a_pass_has_found_serves_the_pages_behind_it() {
        let recent = Recent::default();
        assert_eq!(find(&recent, &position(0, None), 9, 9), None);
        let written =
            |at, key: &str| Written { at: Timestamp(at), key: Bytes::from(key.to_owned()) };
        let versions = vec![written(2, "a"), written(2, "b"), written(3, "a")];
        let found = Found { versions, upto: position(3, Some("a")) };
        recent.keep((b"a", b"m"), position(1, None), found);
        assert_eq!(find(&recent, &position(0, None), 9, 9), None, "it began behind that");
        let first = told(&[(2, "a"), (2, "b")], position(2, Some("b")));
        assert_eq!(find(&recent, &position(1, None), 9, 2), first);
        let rest = told(&[(3, "a")], position(3, Some("a")));
        assert_eq!(find(&recent, &position(2, Some("b")), 9, 2), rest);
        assert_eq!(find(&recent, &position(3, Some("a")), 9, 2), None, "it ended there");
        let other = recent.find((b"a", b"n"), &position(1, None), Timestamp(9), 9);
        assert_eq!(other, None, "it is of another span");
    }
}
