//! What a run must have exercised to count as one, and what it may not have cost.

use serde::Deserialize;

/// What a run must have done, as one that exercised nothing has shown nothing; and how many calls may be left
/// without an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// How many acknowledged writes at least.
    pub commits_min: u64,
    /// How many leaders are elected at least.
    pub elections_min: u64,
    /// How many raft snapshots are installed at least. One whose node is killed as it ends is not counted.
    pub snapshots_min: u64,
    /// How many nodes that had lost their disks are replaced at least.
    pub replacements_min: u64,
    /// How often another set of time servers takes over at least.
    pub time_changes_min: u64,
    /// How many requests are refused as overloaded at least.
    pub refusals_min: u64,
    /// How many operations of unknown outcome at most: a call that nobody answers is one, whatever its range
    /// does meanwhile. Nothing, unless said.
    pub unknown_max: Option<u64>,
    /// From this many seconds after all faults have ended on every call is answered, within as many
    /// seconds. The clients go on working until that is seen. Nothing, unless said.
    pub answered_s: Option<u64>,
}
