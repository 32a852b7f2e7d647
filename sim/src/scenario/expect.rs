//! What a run must have exercised to count as one.

use serde::Deserialize;

/// What a run must have done: one that exercised nothing has shown nothing.
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
}
