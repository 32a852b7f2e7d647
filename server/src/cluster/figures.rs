//! Copies what the node knows of its ranges, links and disks into the metrics, whenever they are asked for.

use std::sync::atomic::Ordering::Relaxed;

use super::{known_leader::known_leader, news::news, state::NodeState};
use crate::{
    ops::metrics::{Metrics, Queue},
    placement::disk::Condition,
    range::replica::Replica,
    storage::disk::Disk,
};

/// Copies what Raft knows into the metrics.
pub(crate) fn refresh(node_state: &NodeState) {
    let metrics = node_state.router().metrics();
    for replica in node_state.replicas() {
        let range = metrics.range(replica.range);
        let known = known_leader(node_state, &replica);
        let is_leader = known.leader == Some(node_state.peers().me());
        let lag = match is_leader {
            true => news(node_state, &replica).replicas,
            false => Vec::new(),
        };
        let lag = lag.iter().map(|replica| replica.lag_entries).max();
        range.lag_entries.set(lag.unwrap_or(0));
        let leader = known.leader.map_or(0, |node| node.0);
        let silent = known.ago.unwrap_or_else(|| node_state.peers().running_for());
        let progress = replica.raft.progress();
        let last = progress.last_index;
        range.term.set(progress.term);
        range.leader_node.set(leader);
        range.is_leader.set(u64::from(is_leader));
        range.leader_silent.set(silent.as_secs());
        if is_leader {
            range.leads_in(progress.term);
        }
        range.last_index.set(last);
        range.log_entries.set(last.saturating_sub(replica.log.purged_index()));
        range.applied_index.set(progress.applied_index());
        range.log_bytes.set(replica.log.bytes());
        let has_run = node_state.host().oracle.monotonic();
        let age = replica.closed_age().map_or(has_run, |(_, age)| age);
        range.closed_age.set(age.as_secs_f64());
    }
    let known = node_state.host().oracle.known();
    let behind = node_state.router().watches().furthest_behind();
    metrics.watch.lag.set(behind.map_or(0.0, |at| known.age(at).as_secs_f64()));
    let held = node_state.holds().earliest();
    metrics.versions_held.set(held.map_or(0.0, |at| known.age(at).as_secs_f64()));
    let nodes = node_state.peers().book().all();
    let live = nodes.iter().filter(|node| node_state.peers().is_live(node.node)).count();
    metrics.nodes_live.set(live as u64);
    metrics.peer_links_up.set(live.saturating_sub(1) as u64);
    queues(node_state, metrics);
    disk_figures(&node_state.host().disk, metrics);
    // Some of the engines' figures are asked of the disk, and that would be waited for.
    if !node_state.host().disk.hangs() {
        metrics.set_engine("log", &node_state.host().log.metrics());
        metrics.set_engine("data", &node_state.host().data.metrics());
    }
}

/// Looks how much waits where. The other queues are counted as they fill and empty.
fn queues(node_state: &NodeState, metrics: &Metrics) {
    let replicas = node_state.replicas();
    let sum = |of: fn(&Replica) -> usize| replicas.iter().map(of).sum::<usize>() as u64;
    metrics.queue(Queue::Propose).set(sum(Replica::writes_waiting));
    metrics.queue(Queue::Read).set(sum(Replica::reads_waiting));
    metrics.proposals_in_flight.set(sum(|replica| replica.shared.waiting.proposals.load(Relaxed)));
    metrics.queue(Queue::Log).set(node_state.host().writer.waiting() as u64);
    let (urgent, bulk) = node_state.peers().waiting();
    metrics.queue(Queue::Peer).set(urgent as u64);
    metrics.queue(Queue::PeerBulk).set(bulk as u64);
}

/// What the node's disk is good for.
fn disk_figures(disk: &Disk, metrics: &Metrics) {
    let condition = disk.condition();
    metrics.disk_nearly_full.set(u64::from(condition == Condition::NearlyFull));
    metrics.disk_hung.set(u64::from(condition == Condition::Hung));
}
