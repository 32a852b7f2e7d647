//! Versions of a span in the order in which they were written: where a feed stands, and what comes behind it.
//!
//! Versions are stored by key, so what was written after a moment has to be looked for among all keys of the span. One
//! pass keeps the first versions behind a position, as many as a bound allows, and so brings one page of the feed
//! whatever the span holds ([`Earliest`]). Who has a list of what was written lately needs no pass
//! (`range/changes/recent.rs`).
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
    /// Of versions behind a position and not above a timestamp, so many at most, and so many bytes of keys, but one.
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
