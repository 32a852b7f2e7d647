//! The cluster as a node sees it, for `quintet status` and the metrics.

use std::sync::atomic::Ordering::Relaxed;

use openraft::async_runtime::watch::WatchReceiver;
use quintet_proto::v1;

use super::{bootstrap::Bootstrap, clock, clock::in_ms};
use crate::{
    api::decode,
    error::OpError,
    ids::NodeId,
    ops::metrics::{Metrics, Queue},
    range::replica::Replica,
    router::routes::Place,
};

/// The answer to `Admin.Status`.
pub fn of(bootstrap: &Bootstrap) -> v1::StatusResponse {
    let cluster = bootstrap.cluster();
    let around = bootstrap.peers().cluster_around().filter(|_| cluster.is_none());
    let cluster_around = around.unwrap_or_default();
    v1::StatusResponse {
        initialized: cluster.is_some(),
        incarnation: cluster.as_ref().map_or(0, |cluster| cluster.incarnation),
        cluster_id: cluster.map(|cluster| cluster.cluster).unwrap_or_default(),
        node_id: bootstrap.peers().me().0,
        nodes: nodes(bootstrap),
        ranges: ranges(bootstrap),
        cluster_around,
        replacing: bootstrap.is_being_replaced(),
    }
}

/// The known nodes.
pub fn nodes(bootstrap: &Bootstrap) -> Vec<v1::NodeStatus> {
    let leaders: Vec<NodeId> =
        bootstrap.replicas().iter().filter_map(|replica| replica.leader_node()).collect();
    let draining = bootstrap.draining.lock().clone();
    let clocks = bootstrap.clocks.lock().clone();
    let mut nodes: Vec<_> = bootstrap
        .peers()
        .book()
        .all()
        .into_iter()
        .map(|address| v1::NodeStatus {
            id: address.node.0,
            live: bootstrap.peers().is_live(address.node),
            leaders: leaders.iter().filter(|node| **node == address.node).count() as u32,
            city: address.city,
            room: address.room,
            client_address: address.client,
            internal_address: address.internal,
            http_address: address.http,
            version: address.version,
            draining: draining.get(&address.node).copied().unwrap_or(false),
            clock_wrong_by_ms: clocks.get(&address.node).map_or(0, |us| in_ms(*us)),
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn ranges(bootstrap: &Bootstrap) -> Vec<v1::RangeStatus> {
    bootstrap.replicas().iter().map(|replica| range(bootstrap, replica)).collect()
}

/// The range that holds a key.
pub fn locate(
    bootstrap: &Bootstrap,
    request: &v1::LocateRequest,
) -> Result<v1::LocateResponse, OpError> {
    let key = decode::stored_key(&request.keyspace, &request.key)?;
    let Some(found) = bootstrap.router().routes().find(Place::Key(&key)) else {
        return Err(bootstrap.peers().no_cluster());
    };
    let replica = bootstrap.router().replica(found.range).ok_or_else(|| {
        OpError::unavailable(format!(
            "this node has no replica of range {}; ask another",
            found.range
        ))
    })?;
    Ok(v1::LocateResponse { range: Some(range(bootstrap, &replica)) })
}

fn range(bootstrap: &Bootstrap, replica: &Replica) -> v1::RangeStatus {
    {
        let descriptor = replica.shared.state.descriptor();
        let metrics = replica.raft.metrics();
        let (term, last, applied) = {
            let metrics = metrics.borrow_watched();
            let applied = metrics.last_applied.map_or(0, |at| at.index());
            (metrics.current_term, metrics.last_log_index.unwrap_or(0), applied)
        };
        let leader = replica.leader_node();
        let news = if replica.is_leader() {
            Some(super::upkeep::news(bootstrap, replica))
        } else {
            bootstrap.news.lock().get(&replica.range).cloned()
        };
        let news = news.filter(|news| leader == Some(NodeId(news.leader_node)));
        let unknown = || {
            let replicas = descriptor.replicas.iter();
            let status = replicas.map(|(replica, node)| v1::ReplicaStatus {
                replica_id: replica.0,
                node_id: node.0,
                role: "voter".to_owned(),
                lag_entries: 0,
                lag_known: false,
            });
            status.collect()
        };
        let reason = match leader {
            Some(_) => news.as_ref().map_or_else(
                || "the leader has not told yet".to_owned(),
                |news| news.leader_reason.clone(),
            ),
            None => "no leader: an election is under way, or too few voters are up".to_owned(),
        };
        v1::RangeStatus {
            id: replica.range.0,
            generation: descriptor.generation.0,
            start: descriptor.start.clone().into(),
            end: descriptor.end.clone().into(),
            leader_node: leader.map_or(0, |node| node.0),
            term,
            leader_reason: reason,
            replicas: news.map_or_else(unknown, |news| news.replicas),
            last_index: last,
            applied_index: applied,
            time_ahead_ms: clock::time_ahead(bootstrap, replica).as_millis() as u64,
        }
    }
}

/// Copies what Raft knows into the metrics.
pub(super) fn refresh(bootstrap: &Bootstrap) {
    let metrics = bootstrap.router().metrics();
    for replica in bootstrap.replicas() {
        let range = metrics.range(replica.range);
        let is_leader = replica.is_leader();
        let lag = match is_leader {
            true => super::upkeep::news(bootstrap, &replica).replicas,
            false => Vec::new(),
        };
        let lag = lag.iter().map(|replica| replica.lag_entries).max();
        range.lag_entries.set(lag.unwrap_or(0));
        let leader = replica.leader_node().map_or(0, |node| node.0);
        let raft = replica.raft.metrics();
        let raft = raft.borrow_watched();
        let last = raft.last_log_index.unwrap_or(0);
        let purged = replica.log.purged().map_or(0, |purged| purged.index());
        range.term.set(raft.current_term);
        range.leader_node.set(leader);
        range.is_leader.set(u64::from(is_leader));
        if is_leader {
            range.leads_in(raft.current_term);
        }
        range.last_index.set(last);
        range.log_entries.set(last.saturating_sub(purged));
        range.applied_index.set(raft.last_applied.map_or(0, |at| at.index()));
        range.log_bytes.set(replica.log.bytes());
        range.time_ahead.set(clock::time_ahead(bootstrap, &replica).as_secs_f64());
    }
    let nodes = bootstrap.peers().book().all();
    let live = nodes.iter().filter(|node| bootstrap.peers().is_live(node.node)).count();
    metrics.nodes_live.set(live as u64);
    metrics.peer_links_up.set(live.saturating_sub(1) as u64);
    queues(bootstrap, metrics);
    metrics.set_engine("log", &bootstrap.host().log.metrics());
    metrics.set_engine("data", &bootstrap.host().data.metrics());
}

/// Looks how much waits where. The other queues are counted as they fill and empty.
fn queues(bootstrap: &Bootstrap, metrics: &Metrics) {
    let replicas = bootstrap.replicas();
    let sum = |of: fn(&Replica) -> usize| replicas.iter().map(of).sum::<usize>() as u64;
    metrics.queue(Queue::Propose).set(sum(Replica::writes_waiting));
    metrics.queue(Queue::Read).set(sum(Replica::reads_waiting));
    metrics.proposals_in_flight.set(sum(|replica| replica.shared.waiting.proposals.load(Relaxed)));
    metrics.queue(Queue::Log).set(bootstrap.host().writer.waiting() as u64);
    let (urgent, bulk) = bootstrap.peers().waiting();
    metrics.queue(Queue::Peer).set(urgent as u64);
    metrics.queue(Queue::PeerBulk).set(bulk as u64);
}

/// Whether the node can serve clients; `Err` says why not.
pub fn ready(bootstrap: &Bootstrap) -> Result<(), String> {
    if bootstrap.cluster().is_none() {
        return Err(bootstrap.peers().no_cluster().message);
    }
    if bootstrap.is_being_replaced() {
        let me = bootstrap.peers().me().0;
        return Err(format!(
            "the replacement of node {me} is not done: 'quintet replace {me}' goes on with it"
        ));
    }
    for replica in bootstrap.replicas() {
        if replica.leader_node().is_none() {
            return Err(format!("range {} has no leader", replica.range));
        }
    }
    Ok(())
}
