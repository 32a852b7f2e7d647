//! What openraft is told of times and bounds.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::{
    ids::RangeId,
    planted::{self, Bug},
    range::elections::{self, RaftTimes},
};

/// The configuration of a range's group, of whose replicas this one stands for election by `standing`.
pub(super) fn config(range: RangeId, times: RaftTimes, standing: RaftTimes) -> Config {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: range.to_string(),
        heartbeat_interval: ms(elections::interval(times)),
        election_timeout_min: ms(standing.election_min),
        election_timeout_max: ms(standing.election_max),
        // A restarted node never resumes a term. openraft's default does.
        enable_leader_restore: Some(planted::active(Bug::TermResumedAfterRestart)),
        enable_pre_vote: Some(true),
        // The node sends heartbeats for all its groups at once (`upkeep/heartbeats.rs`). What is left of the
        // interval above is how long messages of the group may take, and a fifth of it how often
        // each group looks at its clock: at every 20 ms a hundred idle groups are a busy node.
        enable_heartbeat: false,
        // The node says when the log is truncated (`range/truncation.rs`), and raft snapshots to send are
        // read when they are needed.
        snapshot_policy: SnapshotPolicy::Never,
        replication_lag_threshold: u64::MAX,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Followers get entries while the leader's own sync runs.
        broadcast_submitted_on_append: Some(true),
        max_payload_entries: 1_024,
        ..Config::default()
    }
}
