//! Tells ranges again and again what this node holds there, for as long as that is needed: `cluster/holds.rs`. Feeds
//! that have fallen behind are held from here; one that keeps up needs nothing that could be collected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use super::pause::pause;
use crate::{
    cluster::{holds::LEASE, state::NodeState},
    ids::RangeId,
    storage::format::descriptor::Descriptor,
    time::local::Instant,
};

/// Ranges that are told at the same time.
const RANGES_AT_ONCE: usize = 16;

/// How often is looked for what is held newly.
const LOOK: Duration = Duration::from_secs(2);
/// How far behind a feed is that needs a hold: less than the shortest retention, and than it takes to look and to tell
/// the ranges.
const FEED_BEHIND: Duration = Duration::from_secs(4);

/// Renews holds for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    // Those that may have a hold of this node's, and when they were told.
    let mut told = BTreeMap::<RangeId, (Arc<Descriptor>, Instant)>::new();
    loop {
        pause(&node_state, "renews holds", LOOK).await;
        let holds = node_state.holds();
        let known = node_state.host().oracle.known();
        let behind = node_state.router().watches().feeds().into_iter();
        holds.set_feeds(behind.filter(|feed| known.age(feed.resolved) >= FEED_BEHIND));
        if told.is_empty() && holds.is_empty() {
            continue;
        }
        let needed = node_state.router().routes().all();
        let needed: Vec<_> = needed.into_iter().filter(|range| holds.needs(range)).collect();
        let is_needed = |id: RangeId| needed.iter().any(|range| range.range == id);
        // What is not needed any more is taken back; where that fails it ends by itself.
        let past = told.values().filter(|(range, _)| !is_needed(range.range));
        let past: Vec<_> = past.map(|(range, _)| range.clone()).collect();
        let is_due = |range: &Arc<Descriptor>| {
            told.get(&range.range).is_none_or(|(_, at)| at.elapsed() >= LEASE / 4)
        };
        let due: Vec<_> = needed.into_iter().filter(is_due).chain(past.iter().cloned()).collect();
        let telling = stream::iter(due.clone()).map(|range| {
            let node_state = node_state.clone();
            async move { node_state.renew_hold(&range).await }
        });
        telling.buffer_unordered(RANGES_AT_ONCE).collect::<()>().await;
        told.extend(due.into_iter().map(|range| (range.range, (range, Instant::now()))));
        past.iter().for_each(|range| drop(told.remove(&range.range)));
    }
}
