//! Log truncation: every node truncates its replicas' logs by itself, by what `range/truncation.rs` allows.

use std::{sync::Arc, time::Duration};

use super::pause::pause;
use crate::{cluster::state::NodeState, range::faults::Doing};

const INTERVAL: Duration = Duration::from_secs(2);

/// Truncates logs, see [`Replica::truncate_log`](crate::range::replica::Replica::truncate_log), and lets go of raft
/// snapshots that nobody wants.
pub(super) async fn run(node_state: Arc<NodeState>) {
    loop {
        pause(&node_state, "truncates logs", INTERVAL).await;
        for replica in node_state.replicas() {
            let held = node_state.held_by_all(replica.range);
            let retention_bytes = node_state.host().transfers.log_retention_bytes;
            if let Err(error) = replica.truncate_log(held, retention_bytes).await {
                replica.shared.faults.note(Doing::Truncate, None, &error.to_string());
                tracing::warn!(range = %replica.range, %error, "log not truncated");
            }
            if let Err(error) = replica.collect_snapshots() {
                tracing::warn!(range = %replica.range, %error, "raft snapshots not collected");
            }
        }
    }
}
