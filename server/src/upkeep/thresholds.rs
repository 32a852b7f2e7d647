//! Thresholds of a node's ranges: what lies below one is refused or out of reach, and may go.
//!
//! The leader of a range moves them along behind cluster time, by replicated commands (gc thresholds:
//! `gc_thresholds.rs`). Every node then removes by itself what lies below it (`request_records.rs`, `versions.rs`), in
//! its own time.
//!
//! # Invariant
//!
//! * Nothing is removed of a range into which a raft snapshot is being installed: what looks like the
//!   last of a key's versions may be the last that is there already ([`settled`]).

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use super::pause::pause;
use crate::{
    cluster::state::NodeState,
    range::{replica::Replica, state::RangeState},
    storage::format::{command::Command, descriptor::Descriptor},
    time::Timestamp,
};

/// Moves the dedup thresholds of the ranges that this node leads along, `behind` cluster time.
pub(super) async fn move_dedup(node_state: Arc<NodeState>, behind: Duration) {
    let every = (behind / 10).max(Duration::from_secs(1));
    loop {
        pause(&node_state, "moves dedup thresholds", every).await;
        let leading = node_state.leading();
        if leading.is_empty() {
            continue;
        }
        // A round, and not what others say: a threshold does not go back.
        let Ok(block) = node_state.host().oracle.round().await else { continue };
        let threshold = block.last().saturating_sub(behind);
        if threshold == Timestamp::ZERO {
            continue;
        }
        for replica in leading {
            // A lost proposal is made up for by the next one.
            let command =
                |evaluated_under| Command::MoveDedupThreshold { evaluated_under, threshold };
            replica.propose(command).await;
        }
    }
}

/// Does some work by the thresholds of the ranges of this node that are not being replaced, which
/// they are kept from meanwhile. Nothing is done where the node has no replica. The replica is any
/// one: all of a node keep their data in one engine.
pub(super) fn settled<Of, T>(
    node_state: &NodeState,
    threshold: fn(&RangeState) -> Of,
    work: impl FnOnce(&Replica, &Thresholds<Of>) -> T,
) -> Option<T> {
    let replicas = node_state.replicas();
    let states = replicas.iter().map(|replica| &replica.shared.state);
    let held: Vec<_> = states.filter_map(|state| Some((state, state.removal()?))).collect();
    let ranges = held.iter().map(|(state, _)| (state.descriptor(), threshold(state)));
    let thresholds = Thresholds::new(ranges);
    replicas.first().map(|replica| work(replica, &thresholds))
}

/// The thresholds of a node's ranges, by key: one of a range, or those of its keys.
pub(super) struct Thresholds<Of>(BTreeMap<Vec<u8>, (Arc<Descriptor>, Of)>);

impl<Of> Thresholds<Of> {
    pub(super) fn new(ranges: impl Iterator<Item = (Arc<Descriptor>, Of)>) -> Thresholds<Of> {
        let by_start = ranges.map(|(descriptor, at)| (descriptor.start.clone(), (descriptor, at)));
        Thresholds(by_start.collect())
    }

    /// That of the range of an anchor or another `enc(key)`, if this node holds it.
    pub(super) fn get(&self, anchor: &[u8]) -> Option<&Of> {
        let upto = (Bound::Unbounded, Bound::Included(anchor));
        let (_, (descriptor, threshold)) = self.0.range::<[u8], _>(upto).next_back()?;
        descriptor.contains(anchor).then_some(threshold)
    }
}
