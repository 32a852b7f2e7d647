//! What a group's Raft log is made of: entries, votes, positions, memberships.
//!
//! In [`Family::Log`](crate::storage::Family::Log) of the log engine, which `range/raft/` alone writes. The
//! records know nothing of the Raft library: `range/raft/types.rs` translates.

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, ReplicaId};

/// A Raft log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord<'a> {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    #[serde(borrow)]
    pub payload: PayloadRecord<'a>,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadRecord<'a> {
    /// Nothing: a leader's first entry.
    Blank,
    /// A replicated command, encoded by itself.
    Command(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// A change of membership.
    Membership(Membership),
}

/// A Raft log position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Index of the entry.
    pub index: u64,
}

/// The voters and learners of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One set of voters, or two while a joint change is under way.
    pub configs: Vec<Vec<ReplicaId>>,
    /// Every replica and the node that holds it.
    pub replicas: Vec<(ReplicaId, NodeId)>,
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    /// In which term.
    pub term: u64,
    /// For whom.
    pub replica: ReplicaId,
    /// Whether that replica is known to have won.
    pub committed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::{holds, holds_borrowed};

    fn membership() -> Membership {
        Membership {
            configs: vec![vec![ReplicaId(1), ReplicaId(2)]],
            replicas: vec![(ReplicaId(1), NodeId(11)), (ReplicaId(2), NodeId(12))],
        }
    }

    #[test]
    fn format_1() {
        holds(&VoteRecord { term: 7, replica: ReplicaId(2), committed: true }, "01070201");
    }

    #[test]
    fn positions() {
        holds(&Position { term: 2, index: 300 }, "0102fb2c01");
    }

    #[test]
    fn memberships() {
        holds(&membership(), "010102010202010b020c");
        // Joint: two sets of voters.
        let mut joint = membership();
        joint.configs.push(vec![ReplicaId(2)]);
        holds(&joint, "0102020102010202010b020c");
    }

    #[test]
    fn entries() {
        let at = |payload| EntryRecord { position: Position { term: 2, index: 300 }, payload };
        holds_borrowed(&at(PayloadRecord::Blank), "0102fb2c0100");
        // The command is a record of its own, with a version byte of its own.
        holds_borrowed(&at(PayloadRecord::Command(&[1, 4, 4])), "0102fb2c010103010404");
        holds_borrowed(
            &at(PayloadRecord::Membership(membership())),
            "0102fb2c01020102010202010b020c",
        );
    }
}
