//! Closes moments of the ranges that this node leads, and tells the other nodes: `range/closed.rs`.
//!
//! All ranges of a node share one confirmation of leadership and one message a peer. So that is what reads of the past
//! cost, however many there are of them.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use quintet_proto::internal::v1 as wire;

use super::pause::pause;
use crate::{
    cluster::{closed_age::Rounds, state::NodeState},
    ids::TimeDomain,
    peer::{Kind, Lane},
    time::local::{Instant, timeout},
};

/// How often moments are closed.
const INTERVAL: Duration = Duration::from_millis(100);
/// The others do not wait longer for a range that nobody confirms.
const PATIENCE: Duration = Duration::from_millis(500);

/// Closes moments for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    let mut rounds = Rounds::default();
    loop {
        pause(&node_state, "closes timestamps", INTERVAL).await;
        let leading = node_state.leading();
        if leading.is_empty() {
            continue;
        }
        // A round, and not what others say: what is closed stays so.
        let began = Instant::now();
        let Ok(block) = node_state.host().oracle.round().await else { continue };
        rounds.add(began, block);
        let closing = leading.iter().map(|replica| async move {
            (replica, timeout(PATIENCE, replica.close(block)).await.ok().flatten())
        });
        let closed = join_all(closing).await;
        // All lengths of time of a message are as of now.
        let (mut ranges, now) = (Vec::new(), Instant::now());
        for (replica, moment) in closed {
            let Some(moment) = moment else { continue };
            let covers = rounds.covers(&moment);
            replica.hear_closed(moment, covers);
            let ago = covers.map(|covers| now.saturating_duration_since(covers).as_micros());
            ranges.push(wire::ClosedRange {
                range_id: replica.range.0,
                block: moment.block.0,
                applied_index: moment.applied,
                covers_us_ago: ago.and_then(|us| u64::try_from(us).ok()),
            });
        }
        if ranges.is_empty() {
            continue;
        }
        let (peers, time_domain) = (node_state.peers(), TimeDomain::default().0);
        let closed = wire::Closed { time_domain, ranges, ..wire::Closed::default() };
        for node in peers.book().nodes().into_iter().filter(|node| peers.is_live(*node)) {
            let (heard, heard_us_ago) = node_state.closed_ages().heard_of(node, now).unzip();
            let heard_us_ago = heard_us_ago.unwrap_or_default();
            let closed = wire::Closed { heard, heard_us_ago, ..closed.clone() };
            let kind = Some(Kind::Closed(closed));
            let message = wire::PeerMessage { kind, ..wire::PeerMessage::default() };
            let ages = node_state.closed_ages().clone();
            let take_answer = move |answer| {
                // What is lost is made up for by the next one.
                if let Ok(Kind::ClosedAnswer(answer)) = answer {
                    ages.heard(node, answer);
                }
            };
            peers.send(node, Lane::Urgent, message, Box::new(take_answer));
        }
    }
}
