//! Closes moments of the ranges that this node leads, and tells the other nodes: `range/closed.rs`.
//!
//! All ranges of a node share one confirmation of leadership and one message a peer. So that is what reads of the past
//! cost, however many there are of them.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use quintet_proto::internal::v1 as wire;

use super::pause::pause;
use crate::{
    cluster::state::NodeState,
    ids::TimeDomain,
    peer::{Kind, Lane},
    time::local::timeout,
};

/// How often moments are closed.
const INTERVAL: Duration = Duration::from_millis(100);
/// The others do not wait longer for a range that nobody confirms.
const PATIENCE: Duration = Duration::from_millis(500);

/// Closes moments for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    loop {
        pause(&node_state, "closes timestamps", INTERVAL).await;
        let leading = node_state.leading();
        if leading.is_empty() {
            continue;
        }
        // A round, and not what others say: what is closed stays so.
        let Ok(block) = node_state.host().oracle.round().await else { continue };
        let closing = leading.iter().map(|replica| async move {
            (replica, timeout(PATIENCE, replica.close(block)).await.ok().flatten())
        });
        let mut ranges = Vec::new();
        for (replica, moment) in join_all(closing).await {
            let Some(moment) = moment else { continue };
            replica.hear_closed(moment);
            ranges.push(wire::ClosedRange {
                range_id: replica.range.0,
                block: moment.block.0,
                applied_index: moment.applied,
            });
        }
        if ranges.is_empty() {
            continue;
        }
        let closed = wire::Closed { time_domain: TimeDomain::default().0, ranges };
        let peers = node_state.peers();
        for node in peers.book().nodes().into_iter().filter(|node| peers.is_live(*node)) {
            let kind = Some(Kind::Closed(closed.clone()));
            let message = wire::PeerMessage { kind, ..wire::PeerMessage::default() };
            // What is lost is made up for by the next one.
            peers.send(node, Lane::Urgent, message, Box::new(|_| {}));
        }
    }
}
