//! Which versions nobody can see any more: the rule by which they are collected.
//!
//! Reads of a moment below a range's gc threshold are refused. At the threshold and later a key shows
//! its newest version at or below the moment, so that of the versions at or below the threshold only
//! the newest counts, its *base*; and where that is a removal or has expired by the threshold, not
//! even that one: the key is absent with it and without it.
//!
//! ```text
//!   versions of a key    9       7        threshold 6     5 (base)    3       2
//!                        kept    kept                     kept,       gone    gone
//!                                                         or gone last where it says "absent"
//! ```
//!
//! # Invariants
//!
//! * A base that says "absent" goes only after everything older, or with it: an older value would
//!   come back. (`upkeep/versions.rs`)
//! * Nodes remove at different times. What is compared between replicas leaves out what is
//!   collectable: [`Collectable::is_collectable`].

use super::{
    engine::Error,
    format::{codec, version::VersionRecord},
    keys,
    life::has_expired,
};
use crate::time::Timestamp;

/// What may become of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Somebody can see it.
    Kept,
    /// It may go at any time.
    Superseded,
    /// It says "absent" to whoever can see it: it may go when nothing older is left.
    Absent,
}

/// Follows versions in the order in which they are stored, newest first, key by key.
#[derive(Debug, Default)]
pub struct Collectable {
    key: Vec<u8>,
    /// The base of the key has been met.
    is_covered: bool,
}

impl Collectable {
    /// Begins anywhere: the first version of a key that is met must be its newest, or above the
    /// threshold, or its base.
    pub fn new() -> Collectable {
        Collectable::default()
    }

    /// The fate of the next version, by the gc threshold of its range.
    pub fn fate(
        &mut self,
        stored: &[u8],
        record: &[u8],
        threshold: Timestamp,
    ) -> Result<Fate, Error> {
        let (key, at) = keys::split_version(stored)
            .ok_or_else(|| Error::Corrupt(format!("data key of {} bytes", stored.len())))?;
        if self.key != key {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.is_covered = false;
        }
        if at > threshold {
            return Ok(Fate::Kept);
        }
        if std::mem::replace(&mut self.is_covered, true) {
            return Ok(Fate::Superseded);
        }
        let record: VersionRecord<'_> = codec::decode_borrowed(record)?;
        let is_absent = record.value.is_none() || has_expired(record.expires_at, threshold);
        Ok(if is_absent { Fate::Absent } else { Fate::Kept })
    }

    /// Whether the next version is one that a node may have removed already.
    pub fn is_collectable(
        &mut self,
        stored: &[u8],
        record: &[u8],
        threshold: Timestamp,
    ) -> Result<bool, Error> {
        Ok(self.fate(stored, record, threshold)? != Fate::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timestamp, value, expiry.
    type Stored<'a> = (u64, Option<&'a [u8]>, Option<u64>);

    /// Fates of the versions of a key at threshold 6.
    fn fates(key: &[u8], versions: &[Stored<'_>]) -> Vec<Fate> {
        let mut rule = Collectable::new();
        let fate = |(at, value, expires_at): &Stored<'_>| {
            let stored = keys::version(key, Timestamp(*at));
            let record =
                VersionRecord { value: *value, txn: None, expires_at: expires_at.map(Timestamp) };
            rule.fate(&stored, &codec::encode(&record), Timestamp(6)).expect("decodes")
        };
        versions.iter().map(fate).collect()
    }

    #[test]
    fn of_what_is_old_only_the_base_is_kept() {
        use Fate::{Absent, Kept, Superseded};
        let value = Some(&b"x"[..]);
        let old = [(9, value, None), (7, None, None), (5, value, None), (3, None, None)];
        assert_eq!(fates(b"k", &old), [Kept, Kept, Kept, Superseded]);
        // At the threshold is not above it.
        assert_eq!(fates(b"k", &[(6, value, None), (5, value, None)]), [Kept, Superseded]);
        // A base that says "absent".
        assert_eq!(fates(b"k", &[(6, None, None), (5, value, None)]), [Absent, Superseded]);
        assert_eq!(fates(b"k", &[(5, value, Some(6))]), [Absent]);
        // It has not expired at the threshold, or is not old.
        assert_eq!(fates(b"k", &[(5, value, Some(7)), (4, value, None)]), [Kept, Superseded]);
        assert_eq!(fates(b"k", &[(7, None, None)]), [Kept]);
    }

    #[test]
    fn keys_are_apart() {
        let mut rule = Collectable::new();
        let record = VersionRecord { value: Some(b"x"), txn: None, expires_at: None };
        let record = codec::encode(&record);
        for key in [&b"a"[..], b"b"] {
            let stored = keys::version(key, Timestamp(1));
            assert!(!rule.is_collectable(&stored, &record, Timestamp(6)).expect("decodes"));
        }
        assert!(rule.is_collectable(b"short", &record, Timestamp(6)).is_err());
    }
}
