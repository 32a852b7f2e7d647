//! Raft snapshots: what one is of, its chunks, how far one has been received and that one is being installed.
//!
//! Heads and chunks travel (`range/snapshot/`). Chunks that came, and how far they are, stay in
//! [`Family::Staged`](crate::storage::Family::Staged); the marker of an installation is in
//! [`Family::Meta`](crate::storage::Family::Meta).

use serde::{Deserialize, Serialize};

use super::{applied::AppliedRecord, descriptor::Descriptor};

/// What a raft snapshot is of: the state of a range at one applied position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// Names it for ever: a transfer resumes only where this is equal.
    pub id: u128,
    /// Applied position, membership, thresholds.
    pub applied: AppliedRecord,
    /// The descriptor at that position.
    pub descriptor: Descriptor,
}

/// A chunk of a raft snapshot: on the wire, and in [`crate::storage::Family::Staged`] while it is received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord<'a> {
    /// In the order of families and keys.
    #[serde(borrow)]
    pub records: Vec<ContentRecord<'a>>,
}

/// A record of a range in a raft snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRecord<'a> {
    /// The family, as [`crate::storage::Family::ALL`] numbers them from 0.
    pub family: u8,
    /// Its key.
    #[serde(borrow, with = "serde_bytes")]
    pub key: &'a [u8],
    /// Its value.
    #[serde(borrow, with = "serde_bytes")]
    pub value: &'a [u8],
}

/// How far a raft snapshot has been received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRecord {
    /// Of what.
    pub head: SnapshotHead,
    /// Chunks below it are there.
    pub chunks: u64,
    /// Over their checksums.
    pub checksum: u64,
}

/// The commit point of an installation: while it is there the replica's state is this raft snapshot,
/// whatever else is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRecord {
    /// What is installed.
    pub head: SnapshotHead,
    /// How many chunks were staged.
    pub chunks: u64,
    /// Spans that are cleared before: the replica's old one and the new one.
    pub clear: Vec<(Vec<u8>, Vec<u8>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Generation, NodeId, RangeId, ReplicaId},
        storage::format::{
            golden::{holds, holds_borrowed},
            raft::Position,
        },
        time::Timestamp,
    };

    /// Came with `quintet 3` directories; older ones have none of it.
    #[test]
    fn raft_snapshots() {
        let head = SnapshotHead {
            id: 0x0708,
            applied: AppliedRecord {
                applied: Some(Position { term: 2, index: 7 }),
                newest: Timestamp(9),
                ..AppliedRecord::default()
            },
            descriptor: Descriptor {
                range: RangeId(2),
                start: b"a".to_vec(),
                end: Vec::new(),
                generation: Generation(4),
                replicas: vec![(ReplicaId(1), NodeId(11))],
                next_replica: ReplicaId(2),
            },
        };
        // Id; applied position, membership and where it stood, newest version, thresholds, domain, time servers;
        // range,
        // span, generation, replicas, next one.
        let shown = "fb080701020700000009000000000000000000020161000401010b02";
        holds(&head, &format!("01{shown}"));
        let staged = StagedRecord { head: head.clone(), chunks: 3, checksum: 5 };
        holds(&staged, &format!("01{shown}0305"));
        let clear = vec![(b"a".to_vec(), Vec::new())];
        holds(&InstallRecord { head, chunks: 3, clear }, &format!("01{shown}0301016100"));
        let chunk =
            ChunkRecord { records: vec![ContentRecord { family: 1, key: b"k", value: b"v" }] };
        holds_borrowed(&chunk, "010101016b0176");
    }
}
