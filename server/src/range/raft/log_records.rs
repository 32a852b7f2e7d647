//! The records of a group's log, in the node's log engine.
//!
//! In [`Family::Log`]: `1 | range id | kind | index`, where kind is the vote, the purged position, or an entry.
//! Only entries have an index. Whoever looks at a disk from outside (the simulation does) asks [`holds`], [`voted`]
//! and [`has_entry`].

use super::{
    progress::Vote,
    types::{self, Entry, Payload, Proposal},
};
use crate::{
    ids::RangeId,
    storage::{
        Family,
        engine::Error,
        format::{
            codec,
            raft::{EntryRecord, PayloadRecord, Position},
        },
    },
};

/// What a record is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Vote = 0,
    Purged = 1,
    Entry = 2,
}

pub(super) fn key(range: RangeId, kind: Kind, index: u64) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&range.0.to_be_bytes());
    out.push(kind as u8);
    if matches!(kind, Kind::Entry) {
        out.extend_from_slice(&index.to_be_bytes());
    }
    out
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    codec::encode_sized(&types::entry_record(entry), types::payload_bytes(entry))
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, Error> {
    let record: EntryRecord<'_> = codec::decode_borrowed(bytes)?;
    let payload = match record.payload {
        PayloadRecord::Blank => Payload::Blank,
        PayloadRecord::Command(command) => {
            Payload::Normal(Proposal(bytes::Bytes::copy_from_slice(command)))
        }
        PayloadRecord::Membership(membership) => {
            Payload::Membership(types::membership(&membership)?)
        }
    };
    Ok(Entry { log_id: types::log_id(record.position), payload })
}

/// Whether a log holds an entry, by the records of its engine: the entry is there, or the log is
/// truncated above it. For whoever looks at a disk from outside.
pub fn holds(range: RangeId, at: Position, get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>) -> bool {
    let purged = get(Family::Log, &key(range, Kind::Purged, 0));
    let purged: Option<Position> = purged.and_then(|bytes| codec::decode(&bytes).ok());
    if purged.is_some_and(|purged| purged.index >= at.index) {
        return true;
    }
    let entry = get(Family::Log, &key(range, Kind::Entry, at.index));
    let entry = entry.and_then(|bytes| decode_entry(&bytes).ok());
    entry.is_some_and(|entry| types::position(&entry.log_id) == at)
}

/// The term of the vote that a log holds and the replica that it is for, by the record of its engine. For
/// whoever looks at a disk from outside.
pub fn voted(range: RangeId, get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>) -> Option<(u64, u64)> {
    let record = get(Family::Log, &key(range, Kind::Vote, 0))?;
    let vote: Vote = codec::decode(&record).ok()?;
    Some((vote.term, vote.replica.0))
}

/// Whether a log holds any entry at an index, by the records of its engine.
pub fn has_entry(
    range: RangeId,
    index: u64,
    get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>,
) -> bool {
    get(Family::Log, &key(range, Kind::Entry, index)).is_some()
}
