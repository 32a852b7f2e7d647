//! `quintet debug range`: what an operator sees of a range, with all nodes up and with one gone.

use serde_json::Value;

use crate::support::{
    DATA_RANGE,
    cluster::{Cluster, HOME_TIMEOUT},
    command::quintet,
    wait_for,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_looks_into_a_range() {
    let cluster = Cluster::start().await;
    cluster.client().await.put("k", "v").await.expect("written");
    let id = DATA_RANGE.to_string();
    let range = async |cluster: &Cluster| {
        cluster.quintet(&["debug", "range", &id, "--output", "json"]).await.json()
    };

    wait_for("every replica is told, and the leader's matches", HOME_TIMEOUT, async || {
        whole(&range(&cluster).await)
    })
    .await;
    let text = cluster.quintet(&["debug", "range", &id]).await.done();
    for word in ["descriptor at nodes 1, 2, 3, 4, 5", "membership at nodes", "leader", "follower"] {
        assert!(text.contains(word), "{word} in {text}");
    }

    // Nobody has heard of it.
    let line = cluster.quintet(&["debug", "range", "777"]).await.refused(1);
    assert_eq!(line, "error: no_range: there is no range 777; `quintet status` lists them");

    // What the system range holds is what the cluster is, and follows it.
    let registry = async |cluster: &Cluster| {
        cluster.quintet(&["debug", "registry", "--output", "json"]).await.json()
    };
    wait_for("the system range knows the cluster", HOME_TIMEOUT, async || {
        registered(&registry(&cluster).await, 1)
    })
    .await;
    let text = cluster.quintet(&["debug", "registry"]).await.done();
    assert!(text.contains("cluster_version = 1") && text.contains("1@1 2@2 3@3 4@4 5@5"), "{text}");
    cluster.kill(&[5]).await;
    cluster.bring_back().await;
    wait_for("the second start of node 5 is registered", HOME_TIMEOUT, async || {
        registered(&registry(&cluster).await, 2)
    })
    .await;

    // The cluster goes on, and says who does not answer, and since when.
    cluster.kill(&[5]).await;
    wait_for("the leader noted what failed", HOME_TIMEOUT, async || {
        let seen = range(&cluster).await;
        let gone = &seen["nodes"][4];
        if gone["replica"] != Value::Null || gone["unreachable"] == Value::Null {
            return Err(format!("node 5 is said to answer: {gone}"));
        }
        let leader = leader(&seen)?;
        let faults = leader["faults"].as_array().ok_or("no list of faults")?;
        let failed = faults.iter().find(|fault| fault["doing"] == "append");
        let failed = failed.ok_or(format!("no failed append in {faults:?}"))?;
        let why = failed["why"].as_str().unwrap_or_default();
        let told = failed["peer_replica"] == 5
            && failed["count"].as_u64() > Some(0)
            && failed["last"]["utc"].as_str().is_some_and(|at| at.starts_with("20"))
            && !why.is_empty();
        if told && faults.len() <= 16 { Ok(()) } else { Err(format!("{faults:?}")) }
    })
    .await;
    let text = cluster.quintet(&["debug", "range", &id]).await.done();
    assert!(text.contains("node 5 did not answer") && text.contains("last errors"), "{text}");

    let line = cluster.quintet(&["debug", "range", "777"]).await.refused(4);
    assert!(line.starts_with("error: unavailable: ") && line.contains("node 5"), "{line}");
    let nowhere = ["debug", "range", "2", "--timeout", "1", "--node", "127.0.0.1:1"];
    let line = quintet(&std::env::temp_dir(), &nowhere).await.refused(4);
    assert!(line.starts_with("error: unavailable: "), "{line}");
}

fn leader(seen: &Value) -> Result<&Value, String> {
    let nodes = seen["nodes"].as_array().ok_or("no nodes")?;
    let mut replicas = nodes.iter().map(|node| &node["replica"]);
    let leader = replicas.find(|replica| replica["raft"]["role"] == "leader");
    leader.ok_or_else(|| format!("no leader in {seen}"))
}

/// `Err` unless five nodes tell the same descriptor, and the leader knows that all hold its log.
fn whole(seen: &Value) -> Result<(), String> {
    let nodes = seen["nodes"].as_array().ok_or("no nodes")?;
    let leader = leader(seen)?;
    let raft = &leader["raft"];
    for node in nodes {
        let replica = &node["replica"];
        let same = replica["descriptor"] == leader["descriptor"]
            && replica["raft"]["term"] == raft["term"]
            && replica["raft"]["vote"] == raft["vote"]
            && replica["raft"]["applied_index"] == raft["applied_index"]
            && replica["raft"]["voters"] == serde_json::json!([[1, 2, 3, 4, 5]]);
        if !same || replica["descriptor"]["next_replica"] != 6 {
            return Err(format!(
                "node {} tells another story than {leader}: {replica}",
                node["node"]
            ));
        }
    }
    let followers = raft["followers"].as_array().ok_or("no followers")?;
    let level = followers.iter().all(|follower| follower["matched_index"] == raft["last_index"]);
    let heard = followers.iter().all(|follower| follower["heard_ms_ago"].as_u64().is_some());
    let busy = ["writes_waiting", "proposals_in_flight", "reads_waiting"];
    let idle = busy.iter().all(|queue| leader[*queue] == 0);
    match nodes.len() == 5 && followers.len() == 4 && level && heard && idle {
        true => Ok(()),
        false => Err(format!("{leader}")),
    }
}

/// Whether the system range holds five nodes, the last of which has been started so often, and the ranges
/// with the descriptors that their replicas have.
fn registered(registry: &Value, starts: u64) -> Result<(), String> {
    let empty = Vec::new();
    let list = |name: &str| registry[name].as_array().unwrap_or(&empty).clone();
    let (nodes, ranges) = (list("nodes"), list("ranges"));
    let whole = nodes.len() == 5
        && nodes[4]["starts"] == starts
        && nodes.iter().all(|node| node["internal"].as_str().is_some_and(|at| !at.is_empty()))
        && ranges.len() > 1
        && ranges.iter().all(|range| {
            range["descriptor"]["replicas"].as_array().is_some_and(|all| all.len() == 5)
        })
        && ranges[0]["descriptor"]["range"] == 1
        && registry["settings"]["cluster_version"] == "1";
    if whole { Ok(()) } else { Err(registry.to_string()) }
}
