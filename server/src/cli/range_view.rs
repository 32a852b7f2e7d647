//! A range as commands show it: its bounds, its replicas, lines for people, JSON for programs.

use quintet_client::v1::{RangeStatus, ReplicaStatus};
use quintet_server::storage::keys;
use serde_json::{Value, json};

use super::output::{escape, insert_bytes};

/// One range, a line for each thing that is known of it.
pub(super) fn located(range: &RangeStatus) -> String {
    let replicas: Vec<_> = range.replicas.iter().map(replica).collect();
    let ids: Vec<_> = range
        .replicas
        .iter()
        .map(|replica| format!("{} on node {}", replica.replica_id, replica.node_id))
        .collect();
    let leader = match range.leader_node {
        0 => "none".to_owned(),
        node => format!("node {node}, term {}", range.term),
    };
    format!(
        "range       {}, generation {}\nfrom        {}\nto          {}\nleader      {leader}\nreason      \
         {}\nnodes (lag) {}\nreplicas    {}\n",
        range.id,
        range.generation,
        bound(&range.start, "start"),
        bound(&range.end, "end"),
        or_dash(&range.leader_reason),
        replicas.join(" "),
        ids.join(", "),
    )
}

/// One range for programs.
pub(super) fn json(range: &RangeStatus) -> Value {
    let replicas: Vec<_> = range
        .replicas
        .iter()
        .map(|replica| {
            json!({
                "replica_id": replica.replica_id,
                "node_id": replica.node_id,
                "role": replica.role,
                "lag_entries": replica.lag_known.then_some(replica.lag_entries),
                "heard_ms_ago": replica.heard_known.then_some(replica.heard_ms_ago),
            })
        })
        .collect();
    let mut object = serde_json::Map::new();
    object.insert("id".to_owned(), range.id.into());
    object.insert("generation".to_owned(), range.generation.into());
    insert_bytes(&mut object, "start", &range.start);
    insert_bytes(&mut object, "end", &range.end);
    let leader = (range.leader_node != 0).then_some(range.leader_node);
    object.insert("leader_node".to_owned(), leader.into());
    let last = (range.last_leader_node != 0).then_some(range.last_leader_node);
    object.insert("last_leader_node".to_owned(), last.into());
    let ago = range.last_leader_known.then_some(range.last_leader_ms_ago);
    object.insert("last_leader_ms_ago".to_owned(), ago.into());
    object.insert("leader_reason".to_owned(), range.leader_reason.clone().into());
    object.insert("term".to_owned(), range.term.into());
    object.insert("last_index".to_owned(), range.last_index.into());
    object.insert("applied_index".to_owned(), range.applied_index.into());
    object.insert("replicas".to_owned(), replicas.into());
    object.into()
}

/// A bound of a range: the keyspace's name and the key in it.
pub(super) fn bound(bytes: &[u8], open: &str) -> String {
    let Some((keyspace, stored)) = bytes.split_first_chunk() else {
        return if bytes.is_empty() { open.to_owned() } else { escape(bytes) };
    };
    let key = match keys::decode(bytes) {
        Some((_, key, [])) => key,
        _ => stored.to_vec(),
    };
    let name = match u32::from_be_bytes(*keyspace) {
        0 => "system".to_owned(),
        1 => "default".to_owned(),
        2 => "redis".to_owned(),
        id => format!("keyspace {id}"),
    };
    format!("{name}/{}", escape(&key))
}

/// Node and entries behind, as in `3(0)`; `?` where nobody knows, behind what it is at least where that is
/// known; a learner is marked.
pub(super) fn replica(replica: &ReplicaStatus) -> String {
    let lag = match (replica.lag_known, replica.lag_entries) {
        (true, lag) => lag.to_string(),
        (false, 0) => "?".to_owned(),
        (false, lag) => format!("{lag}?"),
    };
    let role = if replica.role == "voter" { String::new() } else { format!(" {}", replica.role) };
    format!("{}({lag}{role})", replica.node_id)
}

/// The text, or a dash where there is none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
