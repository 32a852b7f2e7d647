//! Tells ranges again and again what this node holds there, for as long as that is needed: `cluster/holds.rs`.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream};

use super::pause::pause;
use crate::{
    cluster::{holds::LEASE, state::NodeState},
    ids::RangeId,
    storage::format::descriptor::Descriptor,
};

/// Ranges that are told at the same time.
const RANGES_AT_ONCE: usize = 16;

/// Renews holds for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    // Those that may have a hold of this node's.
    let mut told = BTreeMap::<RangeId, Arc<Descriptor>>::new();
    loop {
        pause(&node_state, "renews holds", LEASE / 4).await;
        if told.is_empty() && node_state.holds().count() == 0 {
            continue;
        }
        for range in node_state.router().routes().all() {
            if node_state.holds().needs(&range) {
                told.insert(range.range, range);
            }
        }
        let ranges: Vec<_> = told.values().cloned().collect();
        let telling = stream::iter(ranges).map(|range| {
            let node_state = node_state.clone();
            async move { node_state.renew_hold(&range).await }
        });
        telling.buffer_unordered(RANGES_AT_ONCE).collect::<()>().await;
        // What could not be taken back ends by itself.
        told.retain(|_, range| node_state.holds().needs(range));
    }
}
