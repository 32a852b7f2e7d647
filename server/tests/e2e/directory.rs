//! Data directories that a node must not use: it says so on one line and ends with 1.
//!
//! Damaged files, directories of another node or cluster, settings and ports that cannot be used. Each case also
//! checks that the refusal did no harm: the same directory starts once the cause is gone, or the other cluster serves
//! on.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

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

/// Files below a directory with an extension, the largest first.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).map_or(0, |file| file.len())));
    found
}

#[tokio::test]
async fn damage_is_refused_and_names_the_file() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path();
    let node = cluster_of_one(dir).await;
    let client_of = async |node: &Node| client(std::slice::from_ref(&node.client)).await;
    let writer = client_of(&node).await;
    for n in 0..50 {
        writer.put(format!("k{n}"), vec![7; 1_000]).await.expect("written");
    }
    node.kill().await;
    let config = dir.join("node-1/node.toml");
    let data = dir.join("node-1/data");

    // A record in the middle of the log.
    let log = files(&data.join("log"), "log").remove(0);
    let sound = fs::read(&log).expect("a log");
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 0x10;
    fs::write(&log, damaged).expect("written");
    let line = start(dir, &config, &[]).await.refused(1);
    let name = log.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(line.starts_with("error: start: ") && line.contains(name), "{line}");
    fs::write(&log, sound).expect("written");

    // None of this has done any harm; and what the log held is in tables now.
    let node = Node::start(&config).await;
    let reader = client_of(&node).await;
    assert_eq!(reader.get("k49").await.expect("read").expect("there").value.len(), 1_000);
    node.kill().await;
    let table = files(&data.join("log"), "sst").remove(0);
    let mut damaged = fs::read(&table).expect("a table");
    let blocks = damaged.len() / 2;
    for byte in &mut damaged[..blocks] {
        *byte ^= 0x10;
    }
    fs::write(&table, damaged).expect("written");
    let line = start(dir, &config, &[]).await.refused(1);
    let name = table.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(line.starts_with("error: start: ") && line.contains(name), "{line}");
}

#[tokio::test]
async fn a_setting_that_is_not_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let line = start(temp.path(), &config, &["--set", "raft.heartbeet_ms=1"]).await.refused(2);
    assert!(line.starts_with("error: configuration: unknown setting raft.heartbeet_ms"), "{line}");
    assert!(line.contains("raft.heartbeat_ms"), "{line}");
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
