//! `debug range` for programs.

use quintet_client::v1::{GcSpan, RaftDebug, ReplicaDebug};
use quintet_server::time::utc;
use serde_json::{Map, Value, json};

use super::said::{ByNode, Said};
use crate::cli::{debug::descriptor, output::insert_bytes};

/// All that the nodes said of a range.
pub(super) fn json(range: u64, nodes: &ByNode) -> Value {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|(node, said)| match said {
            Said::Replica(Some(replica)) => json!({
                "node": node, "replica": replica_json(replica), "unreachable": null
            }),
            Said::Replica(None) | Said::Unknown => json!({
                "node": node, "replica": null, "unreachable": null
            }),
            Said::Silent(why) => json!({ "node": node, "replica": null, "unreachable": why }),
        })
        .collect();
    json!({ "range": range, "nodes": nodes })
}

/// A cluster time: the number as text, which no reader of JSON rounds, and as people read it.
fn time_json(time: u64) -> Value {
    json!({ "cluster_time": time.to_string(), "utc": utc(time) })
}

fn replica_json(replica: &ReplicaDebug) -> Value {
    let faults: Vec<_> = replica
        .faults
        .iter()
        .map(|fault| {
            json!({
                "doing": fault.doing,
                "peer_replica": (fault.peer_replica != 0).then_some(fault.peer_replica),
                "why": fault.why,
                "first": time_json(fault.first),
                "last": time_json(fault.last),
                "count": fault.count,
            })
        })
        .collect();
    json!({
        "id": replica.replica_id,
        "descriptor": replica.descriptor.as_ref().map(descriptor::json),
        "raft": replica.raft.as_ref().map(raft_json),
        "newest": time_json(replica.newest),
        "dedup_threshold": time_json(replica.dedup_threshold),
        "gc_threshold": time_json(replica.gc_threshold),
        "gc_spans": replica.gc_spans.iter().map(gc_span_json).collect::<Vec<_>>(),
        "held_at": (replica.held_at != 0).then(|| time_json(replica.held_at)),
        "writes_waiting": replica.writes_waiting,
        "proposals_in_flight": replica.proposals_in_flight,
        "reads_waiting": replica.reads_waiting,
        "log_bytes": replica.log_bytes,
        "installing": replica.installing,
        "faults": faults,
    })
}

fn gc_span_json(span: &GcSpan) -> Value {
    let mut object = Map::new();
    insert_bytes(&mut object, "start", &span.start);
    insert_bytes(&mut object, "end", &span.end);
    object.insert("gc_threshold".to_owned(), time_json(span.threshold));
    object.into()
}

fn raft_json(raft: &RaftDebug) -> Value {
    let followers: Vec<_> = raft
        .followers
        .iter()
        .map(|follower| {
            json!({
                "replica_id": follower.replica_id,
                "node_id": follower.node_id,
                "matched_index": follower.matched_known.then_some(follower.matched_index),
                "heard_ms_ago": follower.heard_known.then_some(follower.heard_ms_ago),
            })
        })
        .collect();
    let voters: Vec<_> = raft.voters.iter().map(|set| set.replica_ids.clone()).collect();
    json!({
        "role": raft.role,
        "stopped": (!raft.stopped.is_empty()).then_some(&raft.stopped),
        "term": raft.term,
        "vote": { "replica_id": raft.vote_replica, "committed": raft.vote_committed },
        "leader_replica": (raft.leader_replica != 0).then_some(raft.leader_replica),
        "last_index": raft.last_index,
        "committed_index": raft.committed_index,
        "applied_index": raft.applied_index,
        "durable_index": raft.durable_index,
        "snapshot_index": raft.snapshot_index,
        "purged_index": raft.purged_index,
        "membership_index": raft.membership_index,
        "voters": voters,
        "joint": raft.voters.len() > 1,
        "learners": raft.learners,
        "followers": followers,
    })
}
