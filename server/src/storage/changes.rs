//! Versions of a span in the order in which they were written: where a feed stands, and what comes behind it.
//!
//! Versions are stored by key, so what was written after a moment has to be looked for among all keys of the span. One
//! pass keeps the first versions behind a position, as many as a bound allows, and so brings one page of the feed
//! whatever the span holds ([`Earliest`]). Who has a list of what was written lately needs no pass
//! (`range/recent.rs`).
//!
//! # Invariants
//!
//! * Several keys may have a version of one timestamp: a position names the key as well, where not all of them are
//!   behind it ([`Position`]).
//! * Both ends are exclusive below and inclusive above, everywhere: what comes is above the position, and at or below
//!   the moment that is closed.

use std::{collections::BTreeSet, ops::ControlFlow};

use bytes::Bytes;

use super::{
    engine::{Error, Family, Reader},
    keys,
};
use crate::{
    planted::{self, Bug},
    time::Timestamp,
};

/// Older versions of a key that are stepped over before the rest of them is jumped over.
const STEPPED_OVER_MAX: usize = 16;

/// A version of `enc(key)`, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// When it was written.
    pub at: Timestamp,
    /// The stored key.
    pub key: Bytes,
}

/// Where a feed stands: what is at or below it has come. Keys are stored ones, or all of them a user's: they have one
/// order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything below this timestamp has come.
    pub at: Timestamp,
    /// Of this timestamp what is at or below this key; none: all of it.
    pub key: Option<Bytes>,
}

impl Position {
    /// Behind everything at or below a timestamp.
    pub fn behind(at: Timestamp) -> Position {
        Position { at, key: None }
    }

    /// Whether a version is still to come.
    pub fn is_before(&self, at: Timestamp, key: &[u8]) -> bool {
        let of_this = || self.key.as_ref().is_some_and(|seen| key > &seen[..]);
        // The careless hand: "from there on".
        if planted::active(Bug::FeedResumesOneOff) && self.key.as_deref() == Some(key) {
            return at >= self.at;
        }
        at > self.at || (at == self.at && of_this())
    }

    /// Whether it is behind another one.
    pub fn is_above(&self, other: &Position) -> bool {
        match (&self.key, &other.key) {
            _ if self.at != other.at => self.at > other.at,
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(key), Some(other)) => key > other,
        }
    }

    /// All that is still to come is above this timestamp.
    pub fn floor(&self) -> Timestamp {
        match self.key {
            None => self.at,
            Some(_) => Timestamp(self.at.0.saturating_sub(1)),
        }
    }
}

/// The first versions behind a position, of those that are shown to it in whatever order.
#[derive(Debug)]
pub struct Earliest {
    after: Position,
    upto: Timestamp,
    most: usize,
    bytes_max: usize,
    found: BTreeSet<Written>,
    bytes: usize,
    is_cut: bool,
}

impl Earliest {
    /// Of versions behind a position and not above a timestamp, `most` of them and `bytes_max` of keys, but one.
    pub fn new(after: Position, upto: Timestamp, (most, bytes_max): (usize, usize)) -> Earliest {
        let (found, bytes, is_cut) = (BTreeSet::new(), 0, false);
        Earliest { after, upto, most, bytes_max, found, bytes, is_cut }
    }

    fn add(&mut self, at: Timestamp, key: &[u8]) {
        if at > self.upto || !self.after.is_before(at, key) {
            return;
        }
        if self.is_cut && self.found.last().is_some_and(|last| (last.at, &last.key[..]) < (at, key))
        {
            return;
        }
        self.bytes += key.len();
        self.found.insert(Written { at, key: Bytes::copy_from_slice(key) });
        while self.found.len() > 1 && (self.found.len() > self.most || self.bytes > self.bytes_max)
        {
            let last = self.found.pop_last();
            self.bytes -= last.map_or(0, |last| last.key.len());
            self.is_cut = true;
        }
    }

    /// Looks at a bounded number of the versions stored from a key on; where the next step begins, none: at the end.
    pub fn step(
        &mut self,
        reader: &dyn Reader,
        (start, end): (&[u8], &[u8]),
        versions_max: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let floor = self.after.floor();
        let (mut from, mut visited) = (start.to_vec(), 0);
        loop {
            let (mut key_seen, mut behind) = (Vec::new(), 0);
            // `Ok(None)`: the span is done.
            let mut stopped: Result<Option<Vec<u8>>, Error> = Ok(None);
            let mut jumps = false;
            reader.scan_once(Family::Data, &from, end, &mut |stored, _| {
                let Some((key, at)) = keys::split_version(stored) else {
                    stopped = Err(Error::Corrupt(format!("data key of {} bytes", stored.len())));
                    return ControlFlow::Break(());
                };
                if visited >= versions_max {
                    stopped = Ok(Some(stored.to_vec()));
                    return ControlFlow::Break(());
                }
                visited += 1;
                if at > floor {
                    self.add(at, key);
                    return ControlFlow::Continue(());
                }
                // Newest first: what follows of this key is older still.
                behind = if key_seen == key { behind + 1 } else { 0 };
                if behind == 0 {
                    key_seen.clear();
                    key_seen.extend_from_slice(key);
                }
                if behind < STEPPED_OVER_MAX {
                    return ControlFlow::Continue(());
                }
                jumps = true;
                stopped = Ok(Some(keys::version_end(key)));
                ControlFlow::Break(())
            })?;
            match stopped? {
                Some(next) if jumps => from = next,
                next => return Ok(next),
            }
        }
    }

    /// What was found, in order, and up to where that is all.
    pub fn into_found(self) -> Found {
        let last = self.found.last().filter(|_| self.is_cut).cloned();
        let upto = match last {
            Some(Written { at, key }) => Position { at, key: Some(key) },
            None => Position::behind(self.upto),
        };
        Found { versions: self.found.into_iter().collect(), upto }
    }
}

/// Versions in order, and up to where these are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In order.
    pub versions: Vec<Written>,
    /// Between the position that was asked for and this one there are no others.
    pub upto: Position,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::storage::{
        Batch, Engine,
        format::{codec, version::VersionRecord},
        memory::{MemoryDisk, MemoryEngine},
    };

    fn engine(versions: &[(&[u8], u64)]) -> Arc<dyn Engine> {
        let engine = MemoryEngine::of_test(&MemoryDisk::new());
        let mut batch = Batch::new();
        for (key, at) in versions {
            let record = VersionRecord { value: Some(b"x"), txn: None, expires_at: None };
            batch.put(Family::Data, keys::version(key, Timestamp(*at)), codec::encode(&record));
        }
        engine.write(batch).expect("written");
        engine
    }

    fn position(at: u64, key: Option<&[u8]>) -> Position {
        Position { at: Timestamp(at), key: key.map(Bytes::copy_from_slice) }
    }

    /// A whole pass, in steps.
    fn pass(
        engine: &dyn Engine,
        after: &Position,
        upto: u64,
        limits: (usize, usize),
        step: usize,
    ) -> (Vec<(u64, Vec<u8>)>, Position) {
        let mut earliest = Earliest::new(after.clone(), Timestamp(upto), limits);
        let mut from = Vec::new();
        for _ in 0..10_000 {
            match earliest.step(engine, (&from, &[]), step).expect("read") {
                Some(next) => from = next,
                None => {
                    let found = earliest.into_found();
                    let named = found.versions.iter().map(|it| (it.at.0, it.key.to_vec()));
                    return (named.collect(), found.upto);
                }
            }
        }
        panic!("no end at {from:x?}");
    }

    #[test]
    fn both_ends_of_a_page_are_what_they_are() {
        let engine = engine(&[(b"a", 5), (b"b", 5), (b"c", 5), (b"a", 6), (b"b", 7)]);
        let found = |after: Position, upto| pass(&*engine, &after, upto, (9, 99), 2).0;
        let named = |places: &[(u64, &[u8])]| -> Vec<(u64, Vec<u8>)> {
            places.iter().map(|(at, key)| (*at, key.to_vec())).collect()
        };
        assert_eq!(found(position(5, None), 6), named(&[(6, b"a")]));
        assert_eq!(found(position(5, Some(b"b")), 5), named(&[(5, b"c")]));
        assert_eq!(found(position(5, Some(b"c")), 7), named(&[(6, b"a"), (7, b"b")]));
        assert_eq!(found(position(7, None), 9), []);
    }

    #[test]
    fn positions_have_the_order_of_what_has_come() {
        let rising = [
            position(4, None),
            position(5, Some(b"a")),
            position(5, Some(b"b")),
            position(5, None),
            position(6, Some(b"a")),
        ];
        for (place, one) in rising.iter().enumerate() {
            for (other_place, other) in rising.iter().enumerate() {
                assert_eq!(one.is_above(other), place > other_place, "{one:?} {other:?}");
            }
        }
        assert_eq!((rising[1].floor().0, rising[3].floor().0), (4, 5));
        assert!(
            rising[1].is_before(Timestamp(5), b"b") && !rising[1].is_before(Timestamp(5), b"a")
        );
        assert!(!rising[3].is_before(Timestamp(5), b"z") && rising[3].is_before(Timestamp(6), b""));
    }

    #[test]
    fn old_versions_of_a_key_are_jumped_over() {
        let many: Vec<(&[u8], u64)> = (1..=500).map(|at| (&b"hot"[..], at)).collect();
        let engine = engine(&[&many[..], &[(&b"last"[..], 400), (b"last", 501)]].concat());
        let mut earliest = Earliest::new(position(499, None), Timestamp(600), (9, 99));
        let looked = 2 + STEPPED_OVER_MAX + 3;
        let next = earliest.step(&*engine, (&[], &[]), looked).expect("read");
        assert_eq!(next, None, "the span is done in one step");
        let found: Vec<_> = earliest.into_found().versions.iter().map(|it| it.at.0).collect();
        assert_eq!(found, [500, 501]);
    }

    proptest! {
        /// Pages after pages bring what a sort would, whatever their bounds.
        #[test]
        fn pages_follow_on_each_other(
            written in proptest::collection::btree_set((1u64..12, 0u8..5), 0..40),
            (most, bytes, step) in (1usize..6, 1usize..8, 1usize..6),
            (from, upto) in (0u64..6, 6u64..13),
        ) {
            let stored: Vec<_> = written.iter().map(|(at, key)| (vec![b'k', *key], *at)).collect();
            let stored: Vec<_> = stored.iter().map(|(key, at)| (&key[..], *at)).collect();
            let engine = engine(&stored);
            let (mut after, mut all) = (position(from, None), Vec::new());
            while after != position(upto, None) {
                let (page, came_to) = pass(&*engine, &after, upto, (most, bytes), step);
                prop_assert!(came_to.is_above(&after) || upto <= from, "{:?}", came_to);
                all.extend(page);
                if upto <= from { break; }
                after = came_to;
            }
            let wanted = written.iter().filter(|(at, _)| *at > from && *at <= upto);
            let wanted: Vec<_> = wanted.map(|(at, key)| (*at, vec![b'k', *key])).collect();
            prop_assert_eq!(all, wanted);
        }
    }
}
