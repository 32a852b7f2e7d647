//! The cluster as a node sees it, for `quintet status` and the metrics: what it knows now, and since when it
//! does or does not.

use quintet_proto::v1;

use super::{
    disks,
    known_leader::{is_served_around, known_leader},
    news,
    readiness::Here,
    registry,
    state::NodeState,
};
use crate::{
    error::OpError,
    ids::{NodeId, SYSTEM_RANGE},
    range::replica::Replica,
    request::{limits, place::Place},
    storage::format::node::AddressRecord,
    time::ms,
};

/// The answer to `Admin.Status`.
pub fn of(node_state: &NodeState) -> v1::StatusResponse {
    let cluster = node_state.cluster();
    let why_outside = match cluster {
        Some(_) => String::new(),
        None => node_state.peers().no_cluster().message,
    };
    let around = node_state.peers().cluster_around().filter(|_| cluster.is_none());
    let cluster_around = around.unwrap_or_default();
    v1::StatusResponse {
        initialized: cluster.is_some(),
        incarnation: cluster.as_ref().map_or(0, |cluster| cluster.incarnation),
        cluster_id: cluster.map(|cluster| cluster.cluster).unwrap_or_default(),
        node_id: node_state.peers().me().0,
        nodes: nodes(node_state),
        ranges: ranges(node_state),
        cluster_around,
        replacing: node_state.is_being_replaced(),
        why_outside,
        time: Some(time(node_state)),
    }
}

/// The timestamp oracle, as far as this node's replica of the system range has it.
fn time(node_state: &NodeState) -> v1::TimeStatus {
    let replica = node_state.router().replica(SYSTEM_RANGE);
    let placed = replica.as_ref().and_then(|replica| registry::time_servers(replica).ok());
    let epochs = replica.map(|replica| replica.shared.state.time_servers()).unwrap_or_default();
    let (peers, book) = (node_state.peers(), node_state.peers().book().all());
    let servers = epochs.active.members.iter().map(|server| {
        let node = book.iter().find(|at| at.directory == server.0).map(|at| at.node);
        v1::TimeServerStatus {
            server_id: server.0,
            node_id: node.map_or(0, |node| node.0),
            live: node.is_some_and(|node| peers.is_live(node)),
        }
    });
    v1::TimeStatus {
        now: node_state.host().oracle.now().0,
        epoch: epochs.active.epoch.0,
        servers: servers.collect(),
        changes_begun: u32::try_from(epochs.begun.len()).unwrap_or(u32::MAX),
        placed_on: placed.into_iter().flatten().map(|node| node.0).collect(),
    }
}

/// The members of the cluster, or the known nodes where there is none.
pub fn nodes(node_state: &NodeState) -> Vec<v1::NodeStatus> {
    let replicas = node_state.replicas();
    let leaders = replicas.iter().map(|replica| known_leader(node_state, replica).leader);
    let leaders: Vec<NodeId> = leaders.flatten().collect();
    let peers = node_state.peers();
    let mut known = peers.book().all();
    for member in &peers.identity().members {
        if known.iter().all(|address| address.node != *member) {
            // Never heard of since it was named by the plan.
            known.push(AddressRecord { node: *member, ..AddressRecord::default() });
        }
    }
    let mut nodes: Vec<_> = known
        .into_iter()
        .map(|address| {
            let reach = peers.reach(address.node);
            let disk = node_state.disk_of(address.node);
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
                draining: node_state.is_draining(address.node),
                lasted_ms: reach.as_ref().map_or(0, |reach| ms(reach.lasted)),
                clock_wrong_by_ms: in_ms(node_state.clock_wrong_by_us(address.node)),
                disk: disk.map_or(0, |disk| disk.condition_to_wire().into()),
                disk_free_bytes: disk.map_or(0, |disk| disk.free_bytes),
                why: reach.map_or_else(|| "its address is not known".to_owned(), |reach| reach.why),
            }
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn ranges(node_state: &NodeState) -> Vec<v1::RangeStatus> {
    node_state.replicas().iter().map(|replica| range(node_state, replica)).collect()
}

/// The range that holds a key.
pub fn locate(
    node_state: &NodeState,
    request: &v1::LocateRequest,
) -> Result<v1::LocateResponse, OpError> {
    let key = limits::stored_key(&request.keyspace, &request.key)?;
    let Some(found) = node_state.router().routes().find(Place::Key(&key)) else {
        return Err(node_state.peers().no_cluster());
    };
    let replica = node_state.router().replica(found.range).ok_or_else(|| {
        OpError::unavailable(format!(
            "this node has no replica of range {}; ask another",
            found.range
        ))
    })?;
    Ok(v1::LocateResponse { range: Some(range(node_state, &replica)) })
}

fn range(node_state: &NodeState, replica: &Replica) -> v1::RangeStatus {
    let descriptor = replica.shared.state.descriptor();
    let progress = replica.raft.progress();
    let known = known_leader(node_state, replica);
    let leader = known.leader;
    let news = if leader == Some(node_state.peers().me()) {
        Some(news::news(node_state, replica))
    } else {
        node_state.news_of(replica.range)
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
            if is_served_around(node_state, replica, leader) {
                reason.push_str("; this node reaches it by way of another");
            }
            reason
        }
        None => format!("no leader: {}", Here::of(node_state).why_none(known)),
    };
    let closed = replica.closed_age();
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
        closed: closed.map_or(0, |(at, _)| at.0),
        closed_age_ms: closed.map_or(0, |(_, age)| ms(age).max(1)),
    }
}

/// Milliseconds, rounded away from 0, which stands for a clock that is right.
pub(super) fn in_ms(us: i64) -> i64 {
    us / 1_000 + us.signum() * i64::from(us % 1_000 != 0)
}

/// What is wrong with a node that can serve clients all the same.
pub fn warning(node_state: &NodeState) -> Option<String> {
    disks::trouble(&node_state.host().disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_by_less_than_a_millisecond_is_not_called_right() {
        assert_eq!([in_ms(0), in_ms(1), in_ms(-1), in_ms(-2_000)], [0, 1, -1, -2]);
    }
}
