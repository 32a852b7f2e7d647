//! Tells ranges again and again what this node holds there, for as long as that is needed: `cluster/holds.rs`. Feeds
//! that have fallen behind are held from here; one that keeps up needs nothing that could be collected.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use super::pause::pause;
use crate::{
    cluster::{hold_versions::RANGES_AT_ONCE, holds::LEASE, state::NodeState},
    ids::RangeId,
    planted::{self, Bug},
    storage::format::descriptor::Descriptor,
    time::{Timestamp, local::Instant},
};

/// How often is looked for what is held newly.
const LOOK: Duration = Duration::from_secs(2);
/// How far behind a feed is that needs a hold: less than the shortest retention, and than it takes to look and to tell
/// the ranges.
const FEED_BEHIND: Duration = Duration::from_secs(4);

/// Renews holds for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    // Those that may have a hold of this node's: of which moment they heard last, and when.
    let mut told = BTreeMap::<RangeId, (Arc<Descriptor>, Option<(Timestamp, Instant)>)>::new();
    loop {
        pause(&node_state, "renews holds", LOOK).await;
        let holds = node_state.holds();
        let known = node_state.host().oracle.known();
        let open = node_state.router().watches().feeds();
        // The careless hand: "who reads that slowly has given up".
        let is_heeded = !planted::active(Bug::FeedNotHeld);
        holds.look(open, |feed| is_heeded && known.age(feed.resolved) >= FEED_BEHIND);
        if told.is_empty() && holds.earliest().is_none() {
            continue;
        }
        for range in node_state.router().routes().all() {
            if holds.needed(&range).is_some() {
                told.entry(range.range).or_insert((range, None));
            }
        }
        let is_due = |(range, heard): &&(Arc<Descriptor>, Option<(Timestamp, Instant)>)| match (
            holds.needed(range),
            heard,
        ) {
            (Some(needed), Some((of, at))) => needed < *of || at.elapsed() >= LEASE / 4,
            _ => true,
        };
        let due: Vec<_> = told.values().filter(is_due).map(|(range, _)| range.clone()).collect();
        let telling = stream::iter(due).map(|range| {
            let (node_state, needed) = (node_state.clone(), holds.needed(&range));
            async move { (node_state.renew_hold(&range).await, needed, range) }
        });
        let heard: Vec<_> = telling.buffer_unordered(RANGES_AT_ONCE).collect().await;
        for (has_heard, needed, range) in heard {
            match needed {
                // What can't be taken back ends by itself.
                None => drop(told.remove(&range.range)),
                Some(of) if has_heard => {
                    told.insert(range.range, (range, Some((of, Instant::now()))));
                }
                Some(_) => {}
            }
        }
    }
}
