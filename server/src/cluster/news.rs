//! News of ranges: what the leaders of this node know, told to every other node in pings.
//!
//! Pings are sent by `upkeep/pings.rs` every second, and at once where something changed that others decide by:
//! the node is drained, or its disk is another one.

use std::time::Duration;

use quintet_proto::internal::v1 as wire;

use super::{candidates::candidates, state::NodeState};
use crate::{
    peer::{Kind, Lane},
    placement::policy,
    range::replica::Replica,
    time::ms,
};

/// Tells every other node what this one's leaders know and what it is good for; waits for their answers.
pub(crate) async fn tell_all(node_state: &NodeState) {
    let me = node_state.peers().me();
    let draining = node_state.says_draining(me);
    let clock_wrong_by_us = node_state.clock_wrong_by_us(me);
    let leading = node_state.leading().into_iter();
    let ranges: Vec<_> = leading.map(|replica| news(node_state, &replica)).collect();
    ranges.iter().for_each(|range| node_state.heard_news(range.clone()));
    let disk = node_state.disk_of(me);
    let ping = wire::Ping {
        ranges,
        draining,
        disk: disk.map_or(0, |disk| disk.condition_to_wire().into()),
        disk_free_bytes: disk.map_or(0, |disk| disk.free_bytes),
        clock_wrong_by_us,
        reaches: node_state.reaches(),
    };
    let answers = node_state.peers().book().nodes().into_iter().map(|node| {
        let message = wire::PeerMessage {
            kind: Some(Kind::Ping(ping.clone())),
            ..wire::PeerMessage::default()
        };
        node_state.peers().request(node, Lane::Urgent, message)
    });
    futures::future::join_all(answers).await;
}

/// What a leader knows of its range.
pub(super) fn news(node_state: &NodeState, replica: &Replica) -> wire::RangeNews {
    let progress = replica.raft.progress();
    let voters = candidates(node_state, replica, &progress);
    let leader_reason = policy::reason(&voters, replica.range, node_state.peers().me());
    let (last, members) = (progress.last_index, &progress.members);
    let matched = |replica| progress.matched(replica);
    let patience = node_state.host().times.patience();
    let replicas: Vec<_> = members
        .holders
        .iter()
        .map(|(id, node)| {
            let heard = match *id == replica.id {
                true => Some(Duration::ZERO),
                false => progress.answered_ago(*id),
            };
            let answers = heard.is_some_and(|ago| ago <= patience);
            quintet_proto::v1::ReplicaStatus {
                replica_id: id.0,
                node_id: node.0,
                role: if members.is_voter(*id) { "voter" } else { "learner" }.to_owned(),
                lag_entries: last.saturating_sub(matched(*id).unwrap_or(0)),
                lag_known: answers && matched(*id).is_some(),
                heard_ms_ago: heard.map_or(0, ms),
                heard_known: heard.is_some(),
            }
        })
        .collect();
    let held_by_all = members.holders.keys().map(|id| matched(*id).unwrap_or(0)).min();
    wire::RangeNews {
        range_id: replica.range.0,
        term: progress.term,
        leader_replica: replica.id.0,
        leader_node: node_state.peers().me().0,
        held_by_all: held_by_all.unwrap_or(0),
        last_index: last,
        applied_index: progress.applied_index(),
        replicas,
        leader_reason,
    }
}
