//! The cluster as a node sees it, for `quintet status` and the metrics: what it knows now, and since when it
//! does or does not.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use quintet_proto::v1;

use super::{bootstrap::Bootstrap, clock, clock::in_ms, disk, readiness::Here};
use crate::{
    api::decode,
    error::OpError,
    ids::NodeId,
    ops::metrics::{Metrics, Queue},
    range::{known::Known, replica::Replica},
    router::routes::Place,
    storage::codec::AddressRecord,
};

/// The answer to `Admin.Status`.
pub fn of(bootstrap: &Bootstrap) -> v1::StatusResponse {
    let cluster = bootstrap.cluster();
    let why_outside = match cluster {
        Some(_) => String::new(),
        None => bootstrap.peers().no_cluster().message,
    };
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
        why_outside,
    }
}

/// Who leads a range now, also where this node's replica can't know. A group that a hung disk froze goes on
/// calling itself leader, and takes no notice of another one, which tells of itself in its pings; and a leader
/// that this node does not reach, nor it this node, is one all the same where others do.
pub(super) fn known_leader(bootstrap: &Bootstrap, replica: &Replica) -> Known {
    let (known, me) = (replica.known_leader(), bootstrap.peers().me());
    let router = bootstrap.router();
    let leads = |node: &NodeId| *node != me || router.leads(replica.range);
    let leader = known.leader.filter(leads).or_else(|| {
        let named = router.leader_of(replica.range).filter(|node| *node != me)?;
        let is_newer = replica.leader_node() != Some(named) && bootstrap.peers().is_live(named);
        (is_newer || is_served_around(bootstrap, replica, named)).then_some(named)
    });
    Known { leader, ..known }
}

/// Whether this node does not reach a range's leader, and one that has a replica of the range does.
pub(super) fn is_served_around(bootstrap: &Bootstrap, replica: &Replica, leader: NodeId) -> bool {
    let holders = replica.shared.state.descriptor();
    let holders = holders.replicas.iter().map(|(_, node)| *node);
    bootstrap.way_around(leader, holders.filter(|node| *node != leader)).is_some()
}

/// The members of the cluster, or the known nodes where there is none.
pub fn nodes(bootstrap: &Bootstrap) -> Vec<v1::NodeStatus> {
    let replicas = bootstrap.replicas();
    let leaders = replicas.iter().map(|replica| known_leader(bootstrap, replica).leader);
    let leaders: Vec<NodeId> = leaders.flatten().collect();
    let peers = bootstrap.peers();
    let clocks = bootstrap.clocks.lock().clone();
    let mut known = peers.book().all();
    for member in peers.identity().members {
        if known.iter().all(|address| address.node != member) {
            // Never heard of since it was named by the plan.
            known.push(AddressRecord { node: member, ..AddressRecord::default() });
        }
    }
    let mut nodes: Vec<_> = known
        .into_iter()
        .map(|address| {
            let reach = peers.reach(address.node);
            let disk = bootstrap.disk_of(address.node);
            v1::NodeStatus {
                id: address.node.0,
                live: reach.as_ref().is_some_and(|reach| reach.up),
                leaders: leaders.iter().filter(|node| **node == address.node).count() as u32,
                city: address.city,
                room: address.room,
                client_address: address.client,
                internal_address: address.internal,
                http_address: address.http,
                version: address.version,
                draining: bootstrap.is_draining(address.node),
                lasted_ms: reach.as_ref().map_or(0, |reach| ms(reach.lasted)),
                clock_wrong_by_ms: clocks.get(&address.node).map_or(0, |us| in_ms(*us)),
                disk: disk.map_or(0, |disk| disk.condition_to_wire().into()),
                disk_free_bytes: disk.map_or(0, |disk| disk.free_bytes),
                why: reach.map_or_else(|| "its address is not known".to_owned(), |reach| reach.why),
            }
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
        let progress = replica.raft.progress();
        let known = known_leader(bootstrap, replica);
        let leader = known.leader;
        let news = if leader == Some(bootstrap.peers().me()) {
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
                ..v1::ReplicaStatus::default()
            });
            status.collect()
        };
        let reason = match leader {
            Some(leader) => {
                let mut reason = news.as_ref().map_or_else(
                    || "the leader has not told yet".to_owned(),
                    |news| news.leader_reason.clone(),
                );
                if is_served_around(bootstrap, replica, leader) {
                    reason.push_str("; this node reaches it by way of another");
                }
                reason
            }
            None => format!("no leader: {}", Here::of(bootstrap).why_none(known)),
        };
        v1::RangeStatus {
            id: replica.range.0,
            generation: descriptor.generation.0,
            start: descriptor.start.clone().into(),
            end: descriptor.end.clone().into(),
            leader_node: leader.map_or(0, |node| node.0),
            term: progress.term,
            leader_reason: reason,
            replicas: news.map_or_else(unknown, |news| news.replicas),
            last_index: progress.last_index,
            applied_index: progress.applied_index(),
            last_leader_node: known.last.map_or(0, |node| node.0),
            last_leader_ms_ago: known.ago.map_or(0, ms),
            last_leader_known: known.ago.is_some(),
            time_ahead_ms: clock::time_ahead(bootstrap, replica).as_millis() as u64,
        }
    }
}

/// Copies what Raft knows into the metrics.
pub(super) fn refresh(bootstrap: &Bootstrap) {
    let metrics = bootstrap.router().metrics();
    for replica in bootstrap.replicas() {
        let range = metrics.range(replica.range);
        let known = known_leader(bootstrap, &replica);
        let is_leader = known.leader == Some(bootstrap.peers().me());
        let lag = match is_leader {
            true => super::upkeep::news(bootstrap, &replica).replicas,
            false => Vec::new(),
        };
        let lag = lag.iter().map(|replica| replica.lag_entries).max();
        range.lag_entries.set(lag.unwrap_or(0));
        let leader = known.leader.map_or(0, |node| node.0);
        let silent = known.ago.unwrap_or_else(|| bootstrap.peers().running_for());
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
        range.time_ahead.set(clock::time_ahead(bootstrap, &replica).as_secs_f64());
    }
    let nodes = bootstrap.peers().book().all();
    let live = nodes.iter().filter(|node| bootstrap.peers().is_live(node.node)).count();
    metrics.nodes_live.set(live as u64);
    metrics.peer_links_up.set(live.saturating_sub(1) as u64);
    queues(bootstrap, metrics);
    disk::figures(&bootstrap.host().disk, metrics);
    // Some of the engines' figures are asked of the disk, and that would be waited for.
    if !bootstrap.host().disk.hangs() {
        metrics.set_engine("log", &bootstrap.host().log.metrics());
        metrics.set_engine("data", &bootstrap.host().data.metrics());
    }
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

/// Whole milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is wrong with a node that can serve clients all the same.
pub fn warning(bootstrap: &Bootstrap) -> Option<String> {
    disk::trouble(&bootstrap.host().disk)
}
