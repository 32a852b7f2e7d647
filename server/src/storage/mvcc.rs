//! Versions of keys: reading the newest one, and the keys of a span.
//!
//! A version may expire, and is absent from then on (`life.rs`). Whether a key is absent *now* is decided by a
//! timestamp of the oracle (`range/expiry.rs`).

use std::ops::ControlFlow;

use super::{
    engine::{Direction, Error, Family, Reader},
    format::{codec, txn::TxnId, version::VersionRecord},
    keys,
    life::has_expired,
};
use crate::{
    planted::{self, Bug},
    time::Timestamp,
};

/// A version that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When it was written.
    pub at: Timestamp,
    /// Its value.
    pub value: Vec<u8>,
    /// From then on the key is absent.
    pub expires_at: Option<Timestamp>,
}

/// The newest version of `enc(key)` that is not above `at`; none if that is a removal or there is
/// none. Whether it has expired is for the caller to decide.
pub fn read(reader: &dyn Reader, key: &[u8], at: Timestamp) -> Result<Option<Version>, Error> {
    let start = keys::version(key, at);
    let end = keys::version_end(key);
    let mut found = Ok(None);
    reader.scan(Family::Data, &start, &end, Direction::Forward, &mut |stored, record| {
        found = decode(stored, record);
        ControlFlow::Break(())
    })?;
    found
}

/// The version of `enc(key)` that was written at exactly `at`.
pub fn read_exact(
    reader: &dyn Reader,
    key: &[u8],
    at: Timestamp,
) -> Result<Option<Version>, Error> {
    match reader.get(Family::Data, &keys::version(key, at))? {
        Some(record) => {
            let record: VersionRecord<'_> = codec::decode_borrowed(&record)?;
            Ok(version(at, &record))
        }
        None => Ok(None),
    }
}

/// A version of a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// When it was written.
    pub at: Timestamp,
    /// The value; none: the key was removed.
    pub value: Option<Vec<u8>>,
    /// From then on the key is absent.
    pub expires_at: Option<Timestamp>,
    /// The request that wrote it.
    pub txn: Option<TxnId>,
}

/// The version of `enc(key)` that was written at exactly `at`, a removal as well.
pub fn read_written(
    reader: &dyn Reader,
    key: &[u8],
    at: Timestamp,
) -> Result<Option<KeyVersion>, Error> {
    let Some(record) = reader.get(Family::Data, &keys::version(key, at))? else { return Ok(None) };
    let record: VersionRecord<'_> = codec::decode_borrowed(&record)?;
    let value = record.value.map(<[u8]>::to_vec);
    Ok(Some(KeyVersion { at, value, expires_at: record.expires_at, txn: record.txn }))
}

/// The versions of `enc(key)` below `before`, newest first, `limit` of them at most and no more than `bytes` of values
/// but for the first; and whether there are more.
pub fn history(
    reader: &dyn Reader,
    key: &[u8],
    before: Timestamp,
    (limit, bytes): (usize, usize),
) -> Result<(Vec<KeyVersion>, bool), Error> {
    let Some(newest) = before.0.checked_sub(1).map(Timestamp) else {
        return Ok((Vec::new(), false));
    };
    let (start, end) = (keys::version(key, newest), keys::version_end(key));
    let (mut versions, mut more, mut taken, mut failed) = (Vec::new(), false, 0, None);
    reader.scan(Family::Data, &start, &end, Direction::Forward, &mut |stored, record| {
        let decoded = keys::split_version(stored)
            .ok_or_else(|| Error::Corrupt(format!("data key of {} bytes", stored.len())))
            .and_then(|(_, at)| Ok((at, codec::decode_borrowed::<VersionRecord<'_>>(record)?)));
        let (at, record) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        taken += record.value.map_or(0, <[u8]>::len);
        if versions.len() >= limit || (taken > bytes && !versions.is_empty()) {
            more = true;
            return ControlFlow::Break(());
        }
        let value = record.value.map(<[u8]>::to_vec);
        versions.push(KeyVersion { at, value, expires_at: record.expires_at, txn: record.txn });
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok((versions, more)), Err)
}

fn decode(stored: &[u8], record: &[u8]) -> Result<Option<Version>, Error> {
    let (_, at) = keys::split_version(stored)
        .ok_or_else(|| Error::Corrupt(format!("data key of {} bytes", stored.len())))?;
    let record: VersionRecord<'_> = codec::decode_borrowed(record)?;
    Ok(version(at, &record))
}

fn version(at: Timestamp, record: &VersionRecord<'_>) -> Option<Version> {
    let value = record.value?.to_vec();
    Some(Version { at, value, expires_at: record.expires_at })
}

/// Where a page of a scan ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// `enc(key)` and newest version, in the order of the scan.
    pub records: Vec<(Vec<u8>, Version)>,
    /// If the span may hold more: `enc(key)` where the next page starts (forward, inclusive) or
    /// ends (reverse, exclusive).
    pub next: Option<Vec<u8>>,
}

/// Bounds of one page.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageLimit {
    /// Records at most.
    pub records: usize,
    /// Bytes of keys and values at most, but at least one record.
    pub bytes: usize,
    /// Stored versions that may be stepped over before the page ends early, with what it has.
    pub versions: usize,
}

/// The keys in `[start, end)` that exist at `at`, up to a page. Stored keys; empty `end` is no end.
pub fn scan(
    reader: &dyn Reader,
    span: (&[u8], &[u8]),
    at: Timestamp,
    direction: Direction,
    limit: PageLimit,
) -> Result<Page, Error> {
    let mut scan = Scan { at, direction, limit, ..Scan::default() };
    let mut failed = None;
    reader.scan(Family::Data, span.0, span.1, direction, &mut |stored, record| {
        scan.step(stored, record).unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    scan.settle();
    Ok(scan.page)
}

/// What [`held_since`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// `enc(key)`, rising.
    pub keys: Vec<Vec<u8>>,
    /// If the span may hold more: the stored key at which the next page starts.
    pub next: Option<Vec<u8>>,
}

/// Versions of a key behind its newest that are stepped over before the rest is jumped over.
const STEPPED_OVER_MAX: usize = 16;

/// The keys in `[start, end)` whose newest version was written at `moment` or before and is a value that has
/// not expired by `now`; up to a page. Stored keys; an empty `end` is no end.
pub fn held_since(
    reader: &dyn Reader,
    (start, end): (&[u8], &[u8]),
    moment: Timestamp,
    now: Timestamp,
    limit: PageLimit,
) -> Result<Held, Error> {
    let (mut held, mut bytes, mut versions) = (Held::default(), 0, 0);
    let mut from = start.to_vec();
    loop {
        let mut seen: Option<Vec<u8>> = None;
        let (mut behind, mut outcome) = (0, Ok(true));
        reader.scan(Family::Data, &from, end, Direction::Forward, &mut |stored, record| {
            let Some((key, at)) = keys::split_version(stored) else {
                outcome = Err(Error::Corrupt(format!("data key of {} bytes", stored.len())));
                return ControlFlow::Break(());
            };
            versions += 1;
            if seen.as_deref() == Some(key) {
                behind += 1;
                if behind < STEPPED_OVER_MAX {
                    return ControlFlow::Continue(());
                }
                outcome = Ok(false);
                return ControlFlow::Break(());
            }
            let is_full = held.keys.len() >= limit.records || bytes >= limit.bytes;
            if is_full || versions > limit.versions {
                held.next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            behind = 0;
            seen = Some(key.to_vec());
            let record: VersionRecord<'_> = match codec::decode_borrowed(record) {
                Ok(record) => record,
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            };
            if record.value.is_none() || at > moment {
                return ControlFlow::Continue(());
            }
            if !has_expired(record.expires_at, now) {
                bytes += key.len();
                held.keys.push(key.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        if outcome? {
            return Ok(held);
        }
        // Behind all versions of that key.
        from = keys::version_end(&seen.unwrap_or_default());
    }
}

#[derive(Default)]
struct Scan {
    at: Timestamp,
    direction: Direction,
    limit: PageLimit,
    page: Page,
    /// The key being looked at, and its newest visible version so far.
    candidate: Option<(Vec<u8>, Option<Version>)>,
    bytes: usize,
    versions: usize,
}

impl Scan {
    /// Forward, the first version not above `at` decides a key; in reverse, the last one does.
    fn step(&mut self, stored: &[u8], record: &[u8]) -> Result<ControlFlow<()>, Error> {
        let (key, at) = keys::split_version(stored)
            .ok_or_else(|| Error::Corrupt(format!("data key of {} bytes", stored.len())))?;
        let forward = self.direction == Direction::Forward;
        let same = self.candidate.as_ref().is_some_and(|(candidate, _)| candidate == key);
        if !same {
            let previous = self.settle();
            if let Some(previous) = previous.filter(|_| self.is_full()) {
                // The careless hand: "the next page begins with the next key".
                let next = forward || planted::active(Bug::ReverseScanSkipsKey);
                self.page.next = Some(if next { key.to_vec() } else { previous });
                return Ok(ControlFlow::Break(()));
            }
            self.candidate = Some((key.to_vec(), None));
        }
        self.versions += 1;
        let decided = forward && self.candidate.as_ref().is_some_and(|(_, found)| found.is_some());
        if at > self.at || decided {
            return Ok(ControlFlow::Continue(()));
        }
        let record: VersionRecord<'_> = codec::decode_borrowed(record)?;
        // What is absent is kept as a version at zero, which no write has.
        let exists = record.value.is_some() && !has_expired(record.expires_at, self.at);
        let version = match version(at, &record) {
            Some(version) if exists => version,
            _ => Version { at: Timestamp::ZERO, value: Vec::new(), expires_at: None },
        };
        self.candidate = Some((key.to_vec(), Some(version)));
        Ok(ControlFlow::Continue(()))
    }

    fn is_full(&self) -> bool {
        self.page.records.len() >= self.limit.records
            || self.bytes >= self.limit.bytes
            || self.versions >= self.limit.versions
    }

    /// Ends the current key; returns it.
    fn settle(&mut self) -> Option<Vec<u8>> {
        let (key, found) = self.candidate.take()?;
        if let Some(version) = found.filter(|version| version.at > Timestamp::ZERO) {
            self.bytes += key.len() + version.value.len();
            self.page.records.push((key.clone(), version));
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests;
