//! `debug range` for people.
//!
//! What nodes say alike of the descriptor and the membership is there once, with the nodes that say it; what
//! differs from replica to replica is a row of a table.

use quintet_client::v1::{FollowerDebug, RaftDebug, RangeDescriptor, ReplicaDebug, ReplicaFault};
use quintet_server::time::utc;

use super::said::{ByNode, Said, replicas};
use crate::cli::{
    output::escape,
    range_view::bound,
    table::{align_right, table},
};

/// All that the nodes said of a range.
pub(super) fn text(range: u64, nodes: &ByNode) -> String {
    let replicas = replicas(nodes);
    let mut text = format!("range {range}\n");
    for (descriptor, of) in alike(&replicas, |replica| replica.descriptor.clone()) {
        text.push_str(&format!("\ndescriptor at {of}\n"));
        text.push_str(&descriptor.as_ref().map_or_else(|| "  none\n".to_owned(), descriptor_text));
    }
    for (membership, of) in alike(&replicas, |replica| replica.raft.as_ref().map(membership)) {
        let membership = membership.unwrap_or_else(|| "none".to_owned());
        text.push_str(&format!("\nmembership at {of}\n  {membership}\n"));
    }
    text.push_str(&format!("\n{}\n", raft_table(&replicas)));
    for (node, replica) in &replicas {
        let raft = replica.raft.as_ref().filter(|raft| !raft.stopped.is_empty());
        if let Some(raft) = raft {
            text.push_str(&format!("\nthe replica of node {node} has STOPPED: {}\n", raft.stopped));
        }
        if replica.installing {
            text.push_str(&format!("\nnode {node} installs a raft snapshot\n"));
        }
    }
    for (node, replica) in &replicas {
        let followers = replica.raft.as_ref().map_or(&[][..], |raft| &raft.followers);
        if !followers.is_empty() {
            let last = replica.raft.as_ref().map_or(0, |raft| raft.last_index);
            let table = followers_table(last, followers);
            text.push_str(&format!("\nfollowers, as node {node} leads them\n{table}\n"));
        }
    }
    text.push_str(&format!("\n{}\n", state_table(&replicas)));
    let faults = faults_table(&replicas);
    match faults {
        Some(faults) => text.push_str(&format!("\nlast errors\n{faults}\n")),
        None => text.push_str("\nno errors since the nodes started\n"),
    }
    for (node, said) in nodes {
        match said {
            Said::Silent(why) => text.push_str(&format!("\nnode {node} did not answer: {why}\n")),
            Said::Unknown | Said::Replica(None) => {
                text.push_str(&format!("\nnode {node} has no replica of it\n"));
            }
            Said::Replica(Some(_)) => {}
        }
    }
    text
}

/// What replicas say, and the nodes that say the same.
fn alike<T: PartialEq>(
    replicas: &[(u64, &ReplicaDebug)],
    of: impl Fn(&ReplicaDebug) -> T,
) -> Vec<(T, String)> {
    let mut said: Vec<(T, Vec<u64>)> = Vec::new();
    for (node, replica) in replicas {
        let this = of(replica);
        match said.iter_mut().find(|(known, _)| *known == this) {
            Some((_, nodes)) => nodes.push(*node),
            None => said.push((this, vec![*node])),
        }
    }
    let named = |nodes: Vec<u64>| {
        let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        format!("{} {}", if names.len() == 1 { "node" } else { "nodes" }, names.join(", "))
    };
    said.into_iter().map(|(this, nodes)| (this, named(nodes))).collect()
}

fn descriptor_text(descriptor: &RangeDescriptor) -> String {
    let places = descriptor.replicas.iter();
    let places: Vec<_> =
        places.map(|place| format!("{} on node {}", place.replica_id, place.node_id)).collect();
    format!(
        "  from {}  to {}  generation {}\n  replicas {}; the next is {}\n",
        bound(&descriptor.start, "start"),
        bound(&descriptor.end, "end"),
        descriptor.generation,
        places.join(", "),
        descriptor.next_replica
    )
}

fn ids(ids: &[u64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn membership(raft: &RaftDebug) -> String {
    let sets: Vec<_> = raft.voters.iter().map(|set| ids(&set.replica_ids)).collect();
    let joint = if sets.len() > 1 { "JOINT, a change is under way: " } else { "" };
    let learners = match raft.learners.as_slice() {
        [] => String::new(),
        learners => format!("  learners {}", ids(learners)),
    };
    format!("entry {}  {joint}voters {}{learners}", raft.membership_index, sets.join(" and "))
}

fn raft_table(replicas: &[(u64, &ReplicaDebug)]) -> String {
    let mut table = table(&[
        "NODE",
        "REPLICA",
        "ROLE",
        "TERM",
        "VOTE FOR",
        "LEADER",
        "LAST",
        "COMMITTED",
        "APPLIED",
        "DURABLE",
        "SNAPSHOT",
        "PURGED",
    ]);
    for (node, replica) in replicas {
        let raft = replica.raft.clone().unwrap_or_default();
        let vote = format!(
            "{}{}",
            raft.vote_replica,
            if raft.vote_committed { "" } else { " (not elected)" }
        );
        table.add_row([
            node.to_string(),
            replica.replica_id.to_string(),
            raft.role.clone(),
            raft.term.to_string(),
            vote,
            if raft.leader_replica == 0 {
                "none".to_owned()
            } else {
                raft.leader_replica.to_string()
            },
            raft.last_index.to_string(),
            raft.committed_index.to_string(),
            raft.applied_index.to_string(),
            raft.durable_index.to_string(),
            raft.snapshot_index.to_string(),
            raft.purged_index.to_string(),
        ]);
    }
    align_right(&mut table, &[0, 1, 3, 6, 7, 8, 9, 10, 11]);
    table.trim_fmt()
}

fn followers_table(last: u64, followers: &[FollowerDebug]) -> String {
    let mut table = table(&["REPLICA", "NODE", "MATCHED", "BEHIND", "HEARD MS AGO"]);
    for follower in followers {
        let shown = |known: bool, number: u64| {
            if known { number.to_string() } else { "?".to_owned() }
        };
        let matched = follower.matched_known;
        table.add_row([
            follower.replica_id.to_string(),
            follower.node_id.to_string(),
            shown(matched, follower.matched_index),
            shown(matched, last.saturating_sub(follower.matched_index)),
            shown(follower.heard_known, follower.heard_ms_ago),
        ]);
    }
    align_right(&mut table, &[0, 1, 2, 3, 4]);
    table.trim_fmt()
}

fn state_table(replicas: &[(u64, &ReplicaDebug)]) -> String {
    let mut table = table(&[
        "NODE",
        "NEWEST VERSION",
        "REMEMBERS REQUESTS SINCE",
        "KEEPS VERSIONS SINCE",
        "HELD SINCE",
        "LOG BYTES",
        "WRITES",
        "PROPOSALS",
        "READS",
    ]);
    for (node, replica) in replicas {
        table.add_row([
            node.to_string(),
            utc(replica.newest),
            utc(replica.dedup_threshold),
            kept_since(replica),
            if replica.held_at == 0 { "-".to_owned() } else { utc(replica.held_at) },
            replica.log_bytes.to_string(),
            replica.writes_waiting.to_string(),
            replica.proposals_in_flight.to_string(),
            replica.reads_waiting.to_string(),
        ]);
    }
    align_right(&mut table, &[0, 5, 6, 7, 8]);
    table.trim_fmt()
}

/// Of most keys; how many spans have a threshold of their own.
fn kept_since(replica: &ReplicaDebug) -> String {
    match replica.gc_spans.len() {
        0 => utc(replica.gc_threshold),
        spans => format!("{}, {spans} spans other", utc(replica.gc_threshold)),
    }
}

/// None where nothing went wrong.
fn faults_table(replicas: &[(u64, &ReplicaDebug)]) -> Option<String> {
    let mut table = table(&["LAST", "NODE", "TIMES", "DOING", "WITH", "WHY"]);
    let of = |(node, replica): &(u64, &ReplicaDebug)| {
        replica.faults.iter().map(|fault| (*node, fault.clone())).collect::<Vec<_>>()
    };
    let mut faults: Vec<(u64, ReplicaFault)> = replicas.iter().flat_map(of).collect();
    if faults.is_empty() {
        return None;
    }
    faults.sort_by_key(|(node, fault)| (std::cmp::Reverse(fault.last), *node));
    for (node, fault) in faults {
        table.add_row([
            utc(fault.last),
            node.to_string(),
            fault.count.to_string(),
            fault.doing,
            match fault.peer_replica {
                0 => "-".to_owned(),
                peer => format!("replica {peer}"),
            },
            escape(fault.why.as_bytes()),
        ]);
    }
    align_right(&mut table, &[1, 2]);
    Some(table.trim_fmt())
}
