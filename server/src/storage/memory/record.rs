//! The memory engine's write-ahead log: batches as bytes with a checksum, so that a crash can tear
//! one and opening really has to notice.
//!
//! `length of the rest (4) | xxh3 of the rest (8) | changes`, integers little endian.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::super::engine::{Batch, Change, Error, Family};
use crate::planted::{self, Bug};

/// A batch as the engine keeps it: readers and the disk share its bytes.
pub(super) type Written = Arc<[WrittenChange]>;

/// As [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WrittenChange {
    Put { family: Family, key: Bytes, value: Bytes },
    Delete { family: Family, key: Bytes },
    DeleteRange { family: Family, start: Bytes, end: Bytes },
}

pub(super) fn written(batch: Batch) -> Written {
    let changes = batch.changes.into_iter().map(|change| match change {
        Change::Put { family, key, value } => {
            WrittenChange::Put { family, key: key.into(), value: value.into() }
        }
        Change::Delete { family, key } => WrittenChange::Delete { family, key: key.into() },
        Change::DeleteRange { family, start, end } => {
            WrittenChange::DeleteRange { family, start: start.into(), end: end.into() }
        }
    });
    changes.collect()
}

const HEADER_BYTES: usize = 12;
/// Of a change, beside its two parts: kind, family, two lengths.
const CHANGE_BYTES: usize = 10;
const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_RANGE: u8 = 2;

/// The kind of a change, its family and its two parts.
fn parts(change: &WrittenChange) -> (u8, Family, &[u8], &[u8]) {
    match change {
        WrittenChange::Put { family, key, value } => (PUT, *family, key, value),
        WrittenChange::Delete { family, key } => (DELETE, *family, key, &[]),
        WrittenChange::DeleteRange { family, start, end } => (DELETE_RANGE, *family, start, end),
    }
}

/// How long the record of a batch is.
pub(super) fn length(batch: &[WrittenChange]) -> usize {
    let changes = batch.iter().map(|change| {
        let (_, _, first, second) = parts(change);
        CHANGE_BYTES + first.len() + second.len()
    });
    HEADER_BYTES + changes.sum::<usize>()
}

/// A batch as it stands in the log. Made where the log is read, at a crash or an opening: most batches
/// never are.
pub(super) fn encode(batch: &[WrittenChange]) -> Bytes {
    let mut record = Vec::with_capacity(length(batch));
    record.resize(HEADER_BYTES, 0);
    for change in batch {
        let (kind, family, first, second) = parts(change);
        record.extend([kind, family_number(family)]);
        for part in [first, second] {
            record.extend((part.len() as u32).to_le_bytes());
            record.extend(part);
        }
    }
    let (header, body) = record.split_at_mut(HEADER_BYTES);
    let (length, sum) = header.split_at_mut(4);
    length.copy_from_slice(&(body.len() as u32).to_le_bytes());
    sum.copy_from_slice(&xxh3_64(body).to_le_bytes());
    record.into()
}

/// The batches of a log, in order. Missing bytes at the end are a torn tail: the last record is
/// left out. Anything else that does not add up is damage.
pub(super) fn replay(name: &str, log: &[u8]) -> Result<Vec<Written>, Error> {
    let mut batches = Vec::new();
    let mut rest = log;
    while !rest.is_empty() {
        let Some((body, sum, after)) = split(rest) else { return Ok(batches) };
        let is_right = xxh3_64(body) == sum || planted::active(Bug::TornTailAccepted);
        let batch = is_right.then(|| decode(body)).flatten();
        batches.push(batch.ok_or_else(|| {
            let at = log.len() - rest.len();
            Error::Corrupt(format!("{name}: write-ahead log damaged at byte {at}"))
        })?);
        rest = after;
    }
    Ok(batches)
}

/// The first record's body, its checksum, and what follows it; `None` if it is not all there.
fn split(log: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (&length, rest) = log.split_first_chunk::<4>()?;
    let (&sum, rest) = rest.split_first_chunk::<8>()?;
    let (body, after) = take(rest, u32::from_le_bytes(length))?;
    Some((body, u64::from_le_bytes(sum), after))
}

fn decode(mut body: &[u8]) -> Option<Written> {
    let mut batch = Batch::new();
    while let Some((&[kind, family], rest)) = body.split_first_chunk::<2>() {
        let family = *Family::ALL.get(usize::from(family))?;
        let (first, rest) = part(rest)?;
        let (second, rest) = part(rest)?;
        match kind {
            PUT => batch.put(family, first.to_vec(), second.to_vec()),
            DELETE => batch.delete(family, first.to_vec()),
            DELETE_RANGE => batch.delete_range(family, first.to_vec(), second.to_vec()),
            _ => return None,
        }
        body = rest;
    }
    body.is_empty().then(|| written(batch))
}

/// A part of a change that has its length before it, and what follows.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first_chunk::<4>()?;
    take(rest, u32::from_le_bytes(length))
}

/// The first `length` bytes, and what follows; `None` if they are not all there.
fn take(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = length as usize;
    if planted::active(Bug::TornTailAccepted) {
        // The careless hand: "something is better than nothing".
        return Some(bytes.split_at(length.min(bytes.len())));
    }
    bytes.split_at_checked(length)
}

/// A family's place in [`Family::ALL`].
pub(super) fn family_number(family: Family) -> u8 {
    family as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (Vec<Written>, Vec<Bytes>) {
        let batches: Vec<_> = (0..5_u8)
            .map(|n| {
                let mut batch = Batch::new();
                batch.put(Family::Data, vec![n], vec![n; 40]);
                batch.delete(Family::Dedup, vec![n, n]);
                batch.delete_range(Family::Meta, vec![n], vec![n + 1]);
                written(batch)
            })
            .collect();
        let records = batches.iter().map(|batch| encode(batch)).collect();
        (batches, records)
    }

    #[test]
    fn a_log_cut_anywhere_yields_the_whole_records() {
        let (batches, records) = log();
        let bytes = records.concat();
        for cut in 0..=bytes.len() {
            let whole = cut / records[0].len();
            let replayed = replay("log", &bytes[..cut]).unwrap();
            assert_eq!(replayed.len(), whole);
            for (batch, expected) in replayed.iter().zip(&batches) {
                assert_eq!(batch, expected);
            }
        }
    }

    #[test]
    fn the_length_is_that_of_the_record() {
        let (batches, records) = log();
        for (batch, record) in batches.iter().zip(&records) {
            assert_eq!(length(batch), record.len());
        }
    }

    #[test]
    fn a_flipped_byte_of_a_body_is_damage() {
        let (_, records) = log();
        let mut bytes = records.concat();
        bytes[records[0].len() + HEADER_BYTES + 3] ^= 1;
        let error = replay("log", &bytes).unwrap_err();
        assert!(matches!(error, Error::Corrupt(message) if message.contains("log")));
    }

    #[test]
    fn families_are_numbered_by_their_order() {
        for (place, &family) in Family::ALL.iter().enumerate() {
            assert_eq!(usize::from(family_number(family)), place);
        }
    }
}
