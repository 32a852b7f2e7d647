//! What the judge is told: something that a replica did, at the moment at which it did it.
//!
//! Observations are lines of JSON in the corpus (`sim/corpus/raft/`), so their fields are a format.

use serde::{Deserialize, Serialize};

/// Where an entry stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Term of the leader that made it.
    pub term: u64,
    /// Index.
    pub index: u64,
}

/// Where the vote for a leader is on disk when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// The nodes on whose disks the vote for it is, or one for a later term.
    pub durable_on: Vec<u64>,
    /// The membership that is in force: its configurations, each a list of nodes; two while it is joint.
    pub membership: Vec<Vec<u64>>,
}

/// Something that a replica did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When, in simulated time.
    pub at_ns: u64,
    /// Which range's replica.
    pub range: u64,
    /// On which node.
    pub node: u64,
    /// What it did.
    #[serde(flatten)]
    pub what: What,
}

/// What a replica did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum What {
    /// It became leader.
    Led {
        /// Of this term.
        term: u64,
        /// Where its log ended then.
        last: Option<Position>,
        /// Whose vote it had then, as far as that was looked at.
        #[serde(default)]
        votes: Option<Votes>,
    },
    /// It has told Raft that its log is truncated.
    Truncated {
        /// The first index that was cut off.
        first_removed: u64,
        /// Whether its disk has an entry there all the same.
        is_left: bool,
    },
    /// Its state was opened: a life begins.
    Opened {
        /// What was applied according to its disk.
        applied: Option<Position>,
    },
    /// It installed a raft snapshot.
    Installed {
        /// What is applied with that.
        applied: Position,
    },
    /// It applied an entry.
    Applied {
        /// Which.
        at: Position,
        /// Hash of the entry's content.
        hash: u64,
    },
    /// It leads the entry's term and found it committed.
    Committed {
        /// Which.
        at: Position,
        /// The nodes on which it is durable.
        durable_on: Vec<u64>,
        /// The membership that was in force: its configurations, each a list of nodes; two while it is
        /// joint. Where it changed just then, there is one before and one after: either will do.
        memberships: Vec<Vec<Vec<u64>>>,
    },
}
