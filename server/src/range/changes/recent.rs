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
//! * Every version of the range above the floor that is applied is in the list. Without a floor nothing is promised. The
//!   floor is the newest version before the first batch that was added: versions rise along the log, so that batch and
//!   all later ones are above it.
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
            let wanted = behind.filter(|version| {
                holds(&version.key) && after.is_before(version.at, &version.key)
            });
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
