//! What a run must have exercised to count as one, and what it may not have cost.

use serde::Deserialize;

/// What a run must have done, as one that exercised nothing has shown nothing; and how many calls may be left
/// without an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// At least so many acknowledged writes.
    pub commits_min: u64,
    /// At least so many leaders elected.
    pub elections_min: u64,
    /// At least so many raft snapshots installed. One whose node is killed as it ends is not counted.
    pub snapshots_min: u64,
    /// At least so many nodes replaced that had lost their disks.
    pub replacements_min: u64,
    /// At least so many requests refused as overloaded.
    pub refusals_min: u64,
    /// At most so many operations of unknown outcome: a call that nobody answers is one, whatever its range
    /// does meanwhile. Nothing, unless said.
    pub unknown_max: Option<u64>,
    /// From so many seconds after all faults have ended on every call is answered, and within so many
    /// seconds. The clients go on working until that is seen. Nothing, unless said.
    pub answered_s: Option<u64>,
}
