//! `quintet debug range`: all that each node knows of its replica of one range.
//!
//! Every node is asked for itself, so that what a stuck or cut off replica believes can be laid beside
//! what the others do. A node that does not answer is a line of the output, not a failure.

use std::{collections::BTreeMap, time::Duration};

use quintet_client::{
    Error,
    v1::{FollowerDebug, RaftDebug, RangeDescriptor, ReplicaDebug, ReplicaFault},
};
use quintet_server::time::utc;
use serde_json::{Map, Value, json};

use crate::cli::{
    connect,
    exit::{Exit, Failure},
    output::{Format, Output, escape, insert_bytes},
    status::{align_right, bound, table},
};

/// How long a node may take that the others do not hear: it is down, or only this command reaches it.
const NOT_LIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags of `debug range`.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// The range, by its id
    #[arg(value_name = "RANGE")]
    id: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// What one node said.
#[derive(Debug)]
enum Said {
    /// Its replica; none where it holds none.
    Replica(Option<Box<ReplicaDebug>>),
    /// It knows no such range.
    Unknown,
    /// It did not answer, and why.
    Silent(String),
}

type ByNode = BTreeMap<u64, Said>;

/// Runs the command.
pub(crate) async fn run(args: Range) -> Result<(), Failure> {
    let status = args.connect.client().await?.status().await?;
    if !status.initialized {
        let message = "no cluster has been formed yet: `quintet cluster init --node HOST:PORT`";
        return Err(Failure::new(Exit::NotInitialized, "not_initialized", message));
    }
    let asked = status.nodes.iter().map(|node| async {
        let timeout = match node.live {
            true => args.connect.timeout,
            false => args.connect.timeout.min(NOT_LIVE_TIMEOUT),
        };
        (node.id, ask(node.client_address.clone(), args.id, timeout).await)
    });
    let nodes: ByNode = futures::future::join_all(asked).await.into_iter().collect();
    judge(args.id, &nodes)?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.raw(text(args.id, &nodes).as_bytes())?,
        Format::Json => out.json(&json(args.id, &nodes))?,
    }
    out.flush()
}

async fn ask(address: String, range: u64, timeout: Duration) -> Said {
    let asked = async {
        let client = connect::connect(vec![address.clone()], timeout).await?;
        Ok(client.debug_range(range).await)
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(Ok(found))) => Said::Replica(found.replica.map(Box::new)),
        Ok(Ok(Err(Error::InvalidArgument(_)))) => Said::Unknown,
        Ok(Ok(Err(error))) => Said::Silent(Failure::from(error).to_string()),
        Ok(Err::<_, Failure>(failure)) => Said::Silent(failure.to_string()),
        Err(_) => Said::Silent(format!("{address} has not answered within {timeout:?}")),
    }
}

/// `Err` where nobody has a replica to show.
fn judge(range: u64, nodes: &ByNode) -> Result<(), Failure> {
    if nodes.values().any(|said| matches!(said, Said::Replica(Some(_)))) {
        return Ok(());
    }
    let silent = silent(nodes);
    if silent.is_empty() {
        let message = format!("there is no range {range}; `quintet status` lists them");
        return Err(Failure::new(Exit::Refused, "no_range", message));
    }
    let silent: Vec<_> = silent.iter().map(|(node, why)| format!("node {node}: {why}")).collect();
    let message =
        format!("no node that answers has a replica of range {range}; {}", silent.join("; "));
    Err(Failure::unavailable(message))
}

fn silent(nodes: &ByNode) -> Vec<(u64, &str)> {
    let silent = nodes.iter().filter_map(|(node, said)| match said {
        Said::Silent(why) => Some((*node, why.as_str())),
        Said::Replica(_) | Said::Unknown => None,
    });
    silent.collect()
}

fn replicas(nodes: &ByNode) -> Vec<(u64, &ReplicaDebug)> {
    let replicas = nodes.iter().filter_map(|(node, said)| match said {
        Said::Replica(Some(replica)) => Some((*node, &**replica)),
        Said::Replica(None) | Said::Unknown | Said::Silent(_) => None,
    });
    replicas.collect()
}

fn text(range: u64, nodes: &ByNode) -> String {
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
        "TIME",
        "REMEMBERS REQUESTS SINCE",
        "KEEPS VERSIONS SINCE",
        "LOG BYTES",
        "WRITES",
        "PROPOSALS",
        "READS",
    ]);
    for (node, replica) in replicas {
        table.add_row([
            node.to_string(),
            utc(replica.time),
            utc(replica.dedup_threshold),
            utc(replica.gc_threshold),
            replica.log_bytes.to_string(),
            replica.writes_waiting.to_string(),
            replica.proposals_in_flight.to_string(),
            replica.reads_waiting.to_string(),
        ]);
    }
    align_right(&mut table, &[0, 4, 5, 6, 7]);
    table.trim_fmt()
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

fn json(range: u64, nodes: &ByNode) -> Value {
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
        "descriptor": replica.descriptor.as_ref().map(descriptor_json),
        "raft": replica.raft.as_ref().map(raft_json),
        "time": time_json(replica.time),
        "newest": time_json(replica.newest),
        "dedup_threshold": time_json(replica.dedup_threshold),
        "gc_threshold": time_json(replica.gc_threshold),
        "writes_waiting": replica.writes_waiting,
        "proposals_in_flight": replica.proposals_in_flight,
        "reads_waiting": replica.reads_waiting,
        "log_bytes": replica.log_bytes,
        "installing": replica.installing,
        "faults": faults,
    })
}

pub(super) fn descriptor_json(descriptor: &RangeDescriptor) -> Value {
    let mut object = Map::new();
    object.insert("range".to_owned(), descriptor.range_id.into());
    insert_bytes(&mut object, "start", &descriptor.start);
    insert_bytes(&mut object, "end", &descriptor.end);
    object.insert("generation".to_owned(), descriptor.generation.into());
    let places = descriptor.replicas.iter();
    let places: Vec<_> = places
        .map(|place| json!({ "replica_id": place.replica_id, "node_id": place.node_id }))
        .collect();
    object.insert("replicas".to_owned(), places.into());
    object.insert("next_replica".to_owned(), descriptor.next_replica.into());
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

#[cfg(test)]
mod tests {
    use quintet_client::v1::VoterSet;

    use super::*;

    fn replica(node: u64) -> ReplicaDebug {
        let leads = node == 1;
        let voters =
            vec![VoterSet { replica_ids: vec![1, 2] }, VoterSet { replica_ids: vec![1, 3] }];
        let follower = FollowerDebug {
            replica_id: 2,
            node_id: 2,
            matched_index: 7,
            matched_known: true,
            ..FollowerDebug::default()
        };
        let fault = ReplicaFault {
            doing: "append".to_owned(),
            peer_replica: 2,
            why: "a\nb".to_owned(),
            first: 1,
            last: 2,
            count: 3,
        };
        ReplicaDebug {
            replica_id: node,
            descriptor: Some(RangeDescriptor { generation: node, ..RangeDescriptor::default() }),
            raft: Some(RaftDebug {
                role: if leads { "leader" } else { "follower" }.to_owned(),
                last_index: 9,
                voters,
                learners: vec![4],
                followers: if leads { vec![follower] } else { Vec::new() },
                ..RaftDebug::default()
            }),
            faults: if leads { vec![fault] } else { Vec::new() },
            ..ReplicaDebug::default()
        }
    }

    fn nodes() -> ByNode {
        let there = |node| Said::Replica(Some(Box::new(replica(node))));
        [(1, there(1)), (2, there(2)), (3, Said::Silent("gone".to_owned())), (4, Said::Unknown)]
            .into()
    }

    #[test]
    fn people_see_what_differs_and_who_is_silent() {
        let text = text(2, &nodes());
        for line in [
            "descriptor at node 1",
            "descriptor at node 2",
            "membership at nodes 1, 2",
            "  entry 0  JOINT, a change is under way: voters 1 2 and 1 3  learners 4",
            "node 3 did not answer: gone",
            "node 4 has no replica of it",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let row = text.lines().find(|line| line.contains("a\\nb")).expect("a fault");
        assert_eq!(
            row.split_whitespace().skip(1).collect::<Vec<_>>(),
            ["1", "3", "append", "replica", "2", "a\\nb"],
            "{text}"
        );
    }

    #[test]
    fn programs_see_everything() {
        let json = json(2, &nodes());
        let one = &json["nodes"][0]["replica"];
        assert_eq!(one["raft"]["joint"], true);
        assert_eq!(one["raft"]["followers"][0]["matched_index"], 7);
        assert_eq!(one["raft"]["followers"][0]["heard_ms_ago"], Value::Null);
        assert_eq!(one["faults"][0]["count"], 3);
        assert_eq!(json["nodes"][2]["unreachable"], "gone");
        assert_eq!(json["nodes"][3]["replica"], Value::Null);
    }

    #[test]
    fn nobody_has_it_or_nobody_can_say() {
        let mut nodes: ByNode = [(1, Said::Unknown), (2, Said::Replica(None))].into();
        let failure = judge(9, &nodes).expect_err("no replica");
        assert_eq!(
            failure.line().as_deref(),
            Some("error: no_range: there is no range 9; `quintet status` lists them")
        );
        nodes.insert(3, Said::Silent("gone".to_owned()));
        let failure = judge(9, &nodes).expect_err("no replica");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.to_string().contains("node 3: gone"), "{failure}");
    }
}
