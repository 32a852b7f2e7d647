//! What a node knows of one of its replicas, for `quintet debug range`, and what the system range holds,
//! for `quintet debug registry`. It only looks: nothing is asked of other nodes, so a replica that is stuck
//! tells as much as one that works.

use std::sync::atomic::Ordering::Relaxed;

use quintet_proto::v1;

use super::{registry::Registry, state::NodeState};
use crate::{
    error::OpError,
    ids::{RangeId, SYSTEM_RANGE},
    range::{
        faults::Fault,
        raft::progress::{Progress, Role},
        replica::Replica,
    },
    storage::format::{descriptor::Descriptor, gc::GcSpan, raft::Position},
    time::ms,
};

/// The answer to `Admin.DebugRange`.
pub fn range(node_state: &NodeState, id: u64) -> Result<v1::DebugRangeResponse, OpError> {
    let replica = node_state.router().replica(RangeId(id));
    is_member(node_state)?;
    if replica.is_none() && !node_state.router().routes().knows(RangeId(id)) {
        let message = format!("there is no range {id}; 'quintet status' lists them");
        return Err(OpError::invalid(message));
    }
    let replica = replica.as_ref().map(of).transpose()?;
    Ok(v1::DebugRangeResponse { node_id: node_state.peers().me().0, replica })
}

/// The answer to `Admin.Registry`.
pub fn registry(node_state: &NodeState) -> Result<v1::RegistryResponse, OpError> {
    is_member(node_state)?;
    let Some(replica) = node_state.router().replica(SYSTEM_RANGE) else {
        return Err(OpError::unavailable(
            "the node has no replica of the system range; ask another",
        ));
    };
    let registry = Registry::read(&replica);
    let registry = registry.map_err(|error| OpError::new(v1::Code::Storage, error.to_string()))?;
    let nodes = registry.nodes.into_values().map(|(at, node)| v1::RegisteredNode {
        node_id: node.node.0,
        city: node.city,
        room: node.room,
        client_address: node.client,
        internal_address: node.internal,
        http_address: node.http,
        starts: node.epoch,
        version: node.version,
        at: at.0,
    });
    let ranges = registry
        .ranges
        .into_values()
        .map(|(at, range)| v1::RegisteredRange { descriptor: Some(descriptor(&range)), at: at.0 });
    Ok(v1::RegistryResponse {
        node_id: node_state.peers().me().0,
        nodes: nodes.collect(),
        ranges: ranges.collect(),
        settings: registry.settings.into_iter().map(|(name, (_, value))| (name, value)).collect(),
    })
}

fn is_member(node_state: &NodeState) -> Result<(), OpError> {
    if node_state.cluster().is_some() {
        return Ok(());
    }
    Err(node_state.peers().no_cluster())
}

fn of(replica: &Replica) -> Result<v1::ReplicaDebug, OpError> {
    let state = &replica.shared.state;
    let (durable, gc) = (state.durable(), state.gc_thresholds());
    let durable =
        durable.map_err(|error| OpError::new(v1::Code::Storage, error.to_string()))?.applied;
    let mut raft = raft(&replica.raft.progress());
    raft.durable_index = durable.map_or(0, |at| at.index);
    raft.purged_index = replica.log.purged_index();
    Ok(v1::ReplicaDebug {
        replica_id: replica.id.0,
        descriptor: Some(descriptor(&state.descriptor())),
        raft: Some(raft),
        newest: state.newest().0,
        dedup_threshold: state.dedup_threshold().0,
        gc_threshold: gc.threshold.0,
        writes_waiting: replica.writes_waiting() as u64,
        proposals_in_flight: replica.shared.waiting.proposals.load(Relaxed) as u64,
        reads_waiting: replica.reads_waiting() as u64,
        log_bytes: replica.log.bytes(),
        installing: state.is_installing(),
        held_at: gc.holds.iter().map(|hold| hold.at.0).min().unwrap_or(0),
        gc_spans: gc.spans.into_iter().map(gc_span).collect(),
        faults: replica.shared.faults.seen().into_iter().map(fault).collect(),
    })
}

fn gc_span(span: GcSpan) -> v1::GcSpan {
    let GcSpan { start, end, threshold } = span;
    v1::GcSpan { start: start.into(), end: end.into(), threshold: threshold.0 }
}

fn descriptor(descriptor: &Descriptor) -> v1::RangeDescriptor {
    let places = descriptor
        .replicas
        .iter()
        .map(|(replica, node)| v1::ReplicaPlace { replica_id: replica.0, node_id: node.0 });
    v1::RangeDescriptor {
        range_id: descriptor.range.0,
        start: descriptor.start.clone().into(),
        end: descriptor.end.clone().into(),
        generation: descriptor.generation.0,
        replicas: places.collect(),
        next_replica: descriptor.next_replica.0,
    }
}

fn raft(progress: &Progress) -> v1::RaftDebug {
    let index = |at: Option<Position>| at.map_or(0, |at| at.index);
    let members = &progress.members;
    let others = members.holders.iter().filter(|(id, _)| **id != progress.me);
    let followers = others.map(|(id, node)| {
        let (matched, heard) = (progress.matched(*id), progress.answered_ago(*id).map(ms));
        v1::FollowerDebug {
            replica_id: id.0,
            node_id: node.0,
            matched_index: matched.unwrap_or(0),
            matched_known: matched.is_some(),
            heard_ms_ago: heard.unwrap_or(0),
            heard_known: heard.is_some(),
        }
    });
    let sets = members.configs.iter();
    v1::RaftDebug {
        role: match (&progress.stopped, progress.role) {
            (Some(_), _) | (None, Role::Stopped) => "stopped",
            (None, Role::Leader) => "leader",
            (None, Role::Follower) => "follower",
            (None, Role::Candidate) => "candidate",
            (None, Role::Learner) => "learner",
        }
        .to_owned(),
        stopped: progress.stopped.clone().unwrap_or_default(),
        term: progress.term,
        vote_replica: progress.vote.replica.0,
        vote_committed: progress.vote.committed,
        leader_replica: progress.leader.map_or(0, |leader| leader.0),
        last_index: progress.last_index,
        committed_index: index(progress.committed),
        applied_index: index(progress.applied),
        durable_index: 0,
        snapshot_index: index(progress.snapshot),
        purged_index: 0,
        membership_index: index(members.at),
        voters: sets
            .map(|set| v1::VoterSet { replica_ids: set.iter().map(|id| id.0).collect() })
            .collect(),
        learners: members.learners().map(|id| id.0).collect(),
        followers: match progress.role {
            Role::Leader => followers.collect(),
            _ => Vec::new(),
        },
    }
}

fn fault(fault: Fault) -> v1::ReplicaFault {
    let Fault { doing, peer, why, first, last, count } = fault;
    v1::ReplicaFault {
        doing: doing.name().to_owned(),
        peer_replica: peer.map_or(0, |peer| peer.0),
        why,
        first: first.0,
        last: last.0,
        count,
    }
}
