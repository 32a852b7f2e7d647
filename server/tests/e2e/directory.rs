//! Data directories that a node must not use: it says so on one line and ends with 1.

use std::{fs, path::Path, time::Duration};

use crate::support::{
    client,
    command::{Outcome, quintet},
    node,
    node::Node,
    status, wait_for,
};

/// Forms a cluster of one node.
async fn cluster_of_one(dir: &Path) -> Node {
    let node = Node::start(&node::configure(dir, 1, &[])).await;
    let init = ["cluster", "init", "--nodes", "1", "--node", &node.client];
    quintet(dir, &init).await.done();
    wait_for("the node leads", Duration::from_secs(20), async || {
        let status = status(&node.client).await?;
        let led = status.ranges.iter().all(|range| range.leader_node == 1);
        if status.initialized && led { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    node
}

async fn start(dir: &Path, config: &Path, more: &[&str]) -> Outcome {
    let config = config.to_str().expect("UTF-8");
    quintet(dir, &[&["start", "--config", config], more].concat()).await
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path();
    let node = cluster_of_one(dir).await;
    client(std::slice::from_ref(&node.client)).await.put("k", "v").await.expect("written");
    let config = dir.join("node-1/node.toml");

    let line = start(dir, &config, &[]).await.refused(1);
    assert!(line.contains("in use"), "{line}");
    node.kill().await;

    let line = start(dir, &config, &["--node-id", "2"]).await.refused(1);
    assert!(line.contains("belongs to node 1, this is node 2"), "{line}");

    let format = dir.join("node-1/data/FORMAT");
    let mine = fs::read_to_string(&format).expect("a format");
    fs::write(&format, "quintet 99\n").expect("written");
    let line = start(dir, &config, &[]).await.refused(1);
    assert!(line.contains("quintet 99") && line.contains("newer"), "{line}");
    fs::write(&format, mine).expect("written");

    // None of this has done any harm.
    let node = Node::start(&config).await;
    let client = client(std::slice::from_ref(&node.client)).await;
    assert_eq!(client.get("k").await.expect("read").expect("there").value, "v");
}

#[tokio::test]
async fn a_port_in_use_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("bound").to_string();
    let config = node::configure(temp.path(), 1, &[]);
    for flag in ["--listen-client", "--listen-internal", "--listen-http"] {
        let line = start(temp.path(), &config, &[flag, &taken]).await.refused(1);
        assert!(line.contains(&taken), "{line}");
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let (here, there) = (temp.path().join("here"), temp.path().join("there"));
    let stranger = cluster_of_one(&there).await;
    stranger.kill().await;
    // The cluster here has another node 1, so that the stranger is mistaken for one of its nodes.
    let node = cluster_of_one(&here).await;
    let config = node::configure(&there, 1, std::slice::from_ref(&node.internal));
    let line = start(&there, &config, &[]).await.refused(1);
    assert!(line.contains("belongs to cluster"), "{line}");
    assert!(line.contains(&node.internal), "it names the seed: {line}");

    let client = client(std::slice::from_ref(&node.client)).await;
    client.put("k", "v").await.expect("the cluster does not mind");
}
