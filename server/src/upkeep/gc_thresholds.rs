//! Moves the gc thresholds of the ranges that this node leads: as far behind cluster time as versions of their keys are
//! kept (`cluster/retention.rs`), and not above what is held (`storage/gc_thresholds.rs`).
//!
//! # Invariants
//!
//! * A leader that does not know what is set moves nothing: a prefix may have a longer retention.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::pause::pause;
use crate::{
    cluster::state::NodeState,
    ids::RangeId,
    storage::format::{command::Command, gc::GcPrefix},
    time::{Timestamp, local::Instant},
};

/// How often is looked whether a range is due.
const LOOK: Duration = Duration::from_secs(1);
/// A threshold moves ten times while a version is kept, and this often at least.
const STEPS: u32 = 10;
const EVERY_MAX: Duration = Duration::from_secs(60);

/// Moves them for as long as the node runs. `usual` is the retention of keys that no setting names.
pub(super) async fn run(node_state: Arc<NodeState>, usual: Duration) {
    let mut moved = BTreeMap::<RangeId, Instant>::new();
    loop {
        pause(&node_state, "moves gc thresholds", LOOK).await;
        let Some(settings) = node_state.retention_settings() else { continue };
        let mut leading = node_state.leading();
        moved.retain(|range, _| leading.iter().any(|replica| replica.range == *range));
        leading.retain(|replica| {
            let range = replica.shared.state.descriptor();
            let set = settings.within(&range.start, &range.end).map(|(_, retention)| retention);
            let every = (set.fold(usual, Duration::min) / STEPS).clamp(LOOK, EVERY_MAX);
            moved.get(&replica.range).is_none_or(|at| at.elapsed() >= every)
        });
        if leading.is_empty() {
            continue;
        }
        // A round, and not what others say: a threshold does not go back.
        let Ok(block) = node_state.host().oracle.round().await else { continue };
        let now = block.last();
        for replica in leading {
            moved.insert(replica.range, Instant::now());
            let range = replica.shared.state.descriptor();
            let threshold = now.saturating_sub(usual);
            let prefixes = settings.within(&range.start, &range.end).map(|(prefix, retention)| {
                GcPrefix { prefix: prefix.to_vec(), threshold: now.saturating_sub(retention) }
            });
            let prefixes: Vec<_> = prefixes.collect();
            if threshold == Timestamp::ZERO && prefixes.is_empty() {
                continue;
            }
            // A lost proposal is made up for by the next one.
            replica
                .propose(|evaluated_under| Command::MoveGcThresholds {
                    evaluated_under,
                    now,
                    threshold,
                    prefixes,
                })
                .await;
        }
    }
}
