//! Five nodes become a cluster, every one of them serves everything, and they find each other again
//! on other ports.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use quintet_client::{Client, Condition, Error, ScanOptions};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{
    RANGES, channel, client, cluster::HOME_TIMEOUT, command::quintet, health, healthy, http, node,
    node::Node, status, wait_for,
};

#[tokio::test]
async fn five_nodes_form_a_cluster_and_find_each_other_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let first = Node::start(&node::configure(temp.path(), 1, &[])).await;
    // The first one is enough to find all others.
    let seeds = [first.internal.clone()];
    let mut nodes = vec![first];
    for id in 2..=5 {
        nodes.push(Node::start(&node::configure(temp.path(), id, &seeds)).await);
    }

    before_init(temp.path(), &nodes).await;
    init(temp.path(), &nodes).await;
    after_init(&nodes).await;
    command_line(temp.path(), &nodes).await;
    library(&nodes).await;

    let nodes = restart_on_other_ports(temp.path(), nodes).await;
    let nodes = restart_without_seeds(temp.path(), nodes).await;
    let written = client(&[nodes[4].client.clone()]).await.get("library/3").await;
    assert_eq!(written.expect("read").expect("still there").value, "by node 3");
}

/// Nodes that live, belong to no cluster, and say so.
async fn before_init(state: &Path, nodes: &[Node]) {
    for node in nodes {
        assert_eq!(http::page(&node.http, "/livez").await, Ok((200, "ok\n".to_owned())));
        let (code, why) = http::page(&node.http, "/readyz").await.expect("a page");
        assert_eq!(code, 503, "{why}");
        assert!(why.contains("cluster init"), "{why}");
    }
    assert_eq!(health(&nodes[1].client).await, "NOT_SERVING");
    let at = ["--node", &nodes[2].client, "--timeout", "5"];
    let line = quintet(state, &[&["status"], &at[..]].concat()).await.refused(6);
    assert!(line.starts_with("error: not_initialized: "), "{line}");
    let line = quintet(state, &[&["kv", "put", "k", "v"], &at[..]].concat()).await.refused(6);
    assert!(line.starts_with("error: not_initialized: "), "{line}");
    let line = quintet(state, &[&["kv", "get", "k"], &at[..]].concat()).await.refused(6);
    assert!(line.contains("quintet cluster init"), "{line}");
}

/// Formed once, through a node that is not the first; refused afterwards, wherever it is asked.
async fn init(state: &Path, nodes: &[Node]) {
    let formed = quintet(state, &["cluster", "init", "--node", &nodes[2].client]).await.done();
    assert!(formed.starts_with("formed cluster "), "{formed}");
    for node in nodes {
        wait_for("a node belongs to the cluster", HOME_TIMEOUT, async || {
            let status = status(&node.client).await?;
            if status.initialized { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        let again = quintet(state, &["cluster", "init", "--node", &node.client]).await;
        let line = again.refused(1);
        assert!(line.starts_with("error: already_initialized: "), "{line}");
    }
    for node in nodes {
        // A range that has just been born may still move to its home, and has no leader meanwhile.
        wait_for("five live nodes and leaders in room a", HOME_TIMEOUT, async || {
            let status = ["status", "--output", "json", "--node", &node.client];
            formed_whole(&quintet(state, &status).await.json())
        })
        .await;
    }
}

/// `Err` unless the command line's status shows five live nodes, and nine ranges with five replicas
/// and led from room a.
fn formed_whole(status: &serde_json::Value) -> Result<(), String> {
    let why = |what: &str| format!("{what}: {status}");
    let nodes = status["nodes"].as_array().ok_or_else(|| why("no nodes"))?;
    if nodes.iter().filter(|node| node["live"] == true).count() != 5 {
        return Err(why("not five live nodes"));
    }
    let ranges = status["ranges"].as_array().ok_or_else(|| why("no ranges"))?;
    if ranges.len() != RANGES {
        return Err(why("not nine ranges"));
    }
    for range in ranges {
        let leader = nodes.iter().find(|node| node["id"] == range["leader_node"]);
        if leader.is_none_or(|leader| leader["room"] != "a") {
            return Err(why("a range is not led from room a"));
        }
        if range["replicas"].as_array().map(Vec::len) != Some(5) {
            return Err(why("a range has not five replicas"));
        }
    }
    Ok(())
}

/// What monitoring sees.
async fn after_init(nodes: &[Node]) {
    for node in nodes {
        wait_for("a node is ready", HOME_TIMEOUT, async || {
            match http::page(&node.http, "/readyz").await? {
                (200, _) => Ok(()),
                (_, why) => Err(why),
            }
        })
        .await;
        wait_for("a node says that it serves", HOME_TIMEOUT, async || {
            match health(&node.client).await {
                "SERVING" => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let (code, metrics) = http::page(&node.http, "/metrics").await.expect("a page");
        assert_eq!(code, 200);
        metrics_are_described(&metrics);
    }
    let services = services(&nodes[3].client).await;
    for service in ["quintet.v1.KV", "quintet.v1.Admin"] {
        assert!(services.iter().any(|name| name == service), "{service} in {services:?}");
    }
}

/// Every metric has a text for people that is longer than its name.
fn metrics_are_described(metrics: &str) {
    let families: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() > 10, "{metrics}");
    for family in families {
        let name = family.split(' ').next().expect("a name");
        let help = format!("# HELP {name} ");
        let help = metrics.lines().find_map(|line| line.strip_prefix(&help)).unwrap_or_default();
        assert!(help.split(' ').count() > 2, "{name}: {help:?}");
    }
}

async fn services(address: &str) -> Vec<String> {
    let mut reflection = ServerReflectionClient::new(channel(address).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = futures::stream::iter([request]);
    let mut answers = reflection.server_reflection_info(asked).await.expect("asked").into_inner();
    let answer = answers.next().await.expect("an answer").expect("a good one");
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

async fn wait_healthy(address: &str) {
    wait_for("five live nodes and leaders in room a", HOME_TIMEOUT, async || {
        healthy(&status(address).await?)
    })
    .await;
}

/// Every command through every node: most have to forward.
async fn command_line(state: &Path, nodes: &[Node]) {
    for (index, node) in nodes.iter().enumerate() {
        let run = async |arguments: &[&str]| {
            quintet(state, &[arguments, &["--node", &node.client]].concat()).await
        };
        let key = format!("command/{index}");
        let put = run(&["kv", "put", &key, "one", "--output", "json"]).await.json();
        let version = put["version"].as_str().expect("a version").to_owned();
        assert_eq!(run(&["kv", "get", &key]).await.done(), "one");
        let get = run(&["kv", "get", &key, "--output", "json"]).await.json();
        assert_eq!(
            (get["value"].as_str(), get["version"].as_str()),
            (Some("one"), Some(&*version))
        );

        let line = run(&["kv", "cas", &key, "two", "--absent"]).await.refused(1);
        assert!(line.contains("conflict") && line.contains(&version), "{line}");
        run(&["kv", "cas", &key, "two", "--expect-version", &version]).await.done();
        let line =
            run(&["kv", "cas", &key, "three", "--expect-version", &version]).await.refused(1);
        assert!(line.starts_with("error: conflict: "), "{line}");

        let sum = run(&["kv", "incr", "command/sum", "5"]).await.done();
        assert_eq!(sum, format!("{}\n", 5 * (index + 1)));
        let line = run(&["kv", "incr", &key]).await.refused(1);
        assert!(line.starts_with("error: not_a_number: "), "{line}");

        let scan = run(&["kv", "scan", "--prefix", "command/", "--reverse", "--limit", "2"]).await;
        assert_eq!(scan.done(), format!("command/sum\t{}\n{key}\ttwo\n", 5 * (index + 1)));
        let scan = run(&["kv", "scan", "--start", &key, "--end", "command/s", "--keys-only"]).await;
        assert_eq!(scan.done(), format!("{key}\n"));

        let gone = format!("gone/{index}");
        run(&["kv", "put", &gone, ""]).await.done();
        assert!(run(&["kv", "del", &gone]).await.done().starts_with("removed, version "));
        assert_eq!(run(&["kv", "del", &gone]).await.done(), "there was nothing to remove\n");
        let line = run(&["kv", "get", &gone]).await.refused(3);
        assert!(line.starts_with("error: absent: "), "{line}");
    }
}

/// Every operation of the library through every node; what one wrote all others read.
async fn library(nodes: &[Node]) {
    let mut clients: Vec<Client> = Vec::new();
    for node in nodes {
        clients.push(client(std::slice::from_ref(&node.client)).await);
    }
    for (index, client) in clients.iter().enumerate() {
        let (key, value) = (format!("library/{index}"), format!("by node {index}"));
        let version = client.put(&key, &value).await.expect("written");
        for other in &clients {
            let found = other.get(&key).await.expect("read").expect("there");
            assert_eq!((found.value, found.version), (value.clone().into(), version));
        }
        let refused = client.put_if(&key, "x", Condition::Absent).await.expect_err("there");
        match refused {
            Error::Conflict { current: Some(current), .. } => assert_eq!(current.value, value),
            other => panic!("{other:?}"),
        }
        let batch: Vec<_> = (0..50).map(|n| (format!("batch/{index}/{n:02}"), "x")).collect();
        for written in client.batch_put(batch.clone()).await {
            written.expect("written");
        }
        let other = &clients[(index + 1) % clients.len()];
        let scan = other.scan(ScanOptions::prefix(format!("batch/{index}/")));
        let records: Vec<_> = scan.try_collect().await.expect("scanned");
        let keys: Vec<_> = records.iter().map(|record| &record.key[..]).collect();
        assert_eq!(keys, batch.iter().map(|(key, _)| key.as_bytes()).collect::<Vec<_>>());
        for found in other.batch_get(batch.iter().map(|(key, _)| key)).await {
            assert_eq!(found.expect("read").expect("there").value, "x");
        }
        assert_eq!(
            client.increment("library-sum", 2).await.expect("added").value,
            2 * (index as i64 + 1)
        );
        let removed = client.delete(format!("batch/{index}/00")).await.expect("removed");
        assert!(removed.is_some());
    }
}

/// All nodes die and come back on ports that nobody knows. The first node has only the outdated
/// addresses to begin with; the others know where the first one is.
async fn restart_on_other_ports(dir: &Path, nodes: Vec<Node>) -> Vec<Node> {
    let outdated: Vec<_> = nodes.iter().map(|node| node.internal.clone()).collect();
    for node in nodes {
        node.kill().await;
    }
    let first = Node::start(&node::configure(dir, 1, &outdated[1..])).await;
    let seeds = [first.internal.clone()];
    let mut nodes = vec![first];
    for id in 2..=5 {
        nodes.push(Node::start(&node::configure(dir, id, &seeds)).await);
    }
    for (node, outdated) in nodes.iter().zip(&outdated) {
        assert_ne!(&node.internal, outdated, "the ports are others");
        wait_healthy(&node.client).await;
    }
    nodes
}

/// One node comes back elsewhere without any seeds: it remembers the others, and they learn where
/// it is from it.
async fn restart_without_seeds(dir: &Path, mut nodes: Vec<Node>) -> Vec<Node> {
    let last = nodes.pop().expect("five nodes");
    let outdated = last.client.clone();
    last.kill().await;
    let last = Node::start(&node::configure(dir, 5, &[])).await;
    assert_ne!(last.client, outdated);
    nodes.push(last);
    for node in &nodes {
        wait_healthy(&node.client).await;
        let seen = status(&node.client).await.expect("a status");
        let last = seen.nodes.iter().find(|node| node.id == 5).expect("node 5");
        assert_eq!(last.client_address, nodes[4].client);
    }
    nodes
}
