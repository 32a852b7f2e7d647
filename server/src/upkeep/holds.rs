//! Tells ranges again and again what this node holds there, for as long as that is needed: `cluster/holds.rs`. Feeds
//! that have fallen behind are held from here; one that keeps up needs nothing that could be collected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use super::pause::pause;
use crate::{
    cluster::{hold_versions::RANGES_AT_ONCE, holds::LEASE, state::NodeState},
    ids::RangeId,
    storage::format::descriptor::Descriptor,
    time::local::Instant,
};

/// How often is looked for what is held newly.
const LOOK: Duration = Duration::from_secs(2);
/// How far behind a feed is that needs a hold: less than the shortest retention, and than it takes to look and to tell
/// the ranges.
const FEED_BEHIND: Duration = Duration::from_secs(4);

/// Renews holds for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    // Those that may have a hold of this node's, and when they heard of it last.
    let mut told = BTreeMap::<RangeId, (Arc<Descriptor>, Option<Instant>)>::new();
    loop {
        pause(&node_state, "renews holds", LOOK).await;
        let holds = node_state.holds();
        let known = node_state.host().oracle.known();
        let behind = node_state.router().watches().feeds().into_iter();
        holds.set_feeds(behind.filter(|feed| known.age(feed.resolved) >= FEED_BEHIND));
        if holds.is_empty() && told.is_empty() {
            continue;
        }
        for range in node_state.router().routes().all() {
            if holds.needs(&range) {
                told.entry(range.range).or_insert((range, None));
            }
        }
        let is_due = |(range, at): &&(Arc<Descriptor>, Option<Instant>)| {
            !holds.needs(range) || at.is_none_or(|at| at.elapsed() >= LEASE / 4)
        };
        let due: Vec<_> = told.values().filter(is_due).map(|(range, _)| range.clone()).collect();
        let telling = stream::iter(due).map(|range| {
            let node_state = node_state.clone();
            async move { (node_state.renew_hold(&range).await, range) }
        });
        let heard: Vec<_> = telling.buffer_unordered(RANGES_AT_ONCE).collect().await;
        for (has_heard, range) in heard {
            // What can't be taken back ends by itself.
            if !holds.needs(&range) {
                told.remove(&range.range);
            } else if has_heard {
                told.insert(range.range, (range, Some(Instant::now())));
            }
        }
    }
}
