//! Nodes that lose their disks under load and are taken back by `quintet replace`.
//!
//! Three rounds on one cluster: node 5, node 1 (which made the cluster's plan and is home to leaders), node 5 again. In
//! the first one the command and the node are killed in the middle. After each round every range must have five voters
//! on five nodes, with a replica id on the returned node that was never used before, also after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quintet_client::{Client, ScanOptions};
use tokio::task::JoinHandle;

use crate::support::{
    RANGES, client,
    cluster::{Cluster, HOME_TIMEOUT},
    command, status, wait_for,
};

use futures::TryStreamExt;

/// For something of a replacement to happen.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Puts one key after another until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeMap<String, String>>>,
}

impl Load {
    async fn start(client: &Client) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..4).map(|task| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let mut acknowledged = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let at = acknowledged.len();
                    // Over all ranges: they are divided by the first byte of a key.
                    let first = char::from(b'!' + u8::try_from(at % 90).expect("small"));
                    let (key, value) = (format!("{first}/{task}/{at:06}"), format!("value {at}"));
                    client.put(&key, &value).await.unwrap_or_else(|why| panic!("{key}: {why}"));
                    acknowledged.insert(key, value);
                }
                acknowledged
            })
        });
        Load { tasks: tasks.collect(), stop }
    }

    /// Ends it; returns what was acknowledged. Nothing was refused or left unknown.
    async fn stop(self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for task in self.tasks {
            all.append(&mut task.await.expect("no write failed"));
        }
        all
    }
}

/// By range: the replica that a node has, as the node that leads the range says. `Err` unless every range
/// has five voters on five nodes and nothing else.
async fn replicas_on(cluster: &Cluster, node: u64) -> Result<BTreeMap<u64, u64>, String> {
    let mut found = BTreeMap::new();
    for address in &cluster.clients {
        let seen = status(address).await?;
        for range in seen.ranges.iter().filter(|range| range.leader_node == seen.node_id) {
            let nodes: BTreeSet<_> = range.replicas.iter().map(|replica| replica.node_id).collect();
            let vote = range.replicas.iter().all(|replica| replica.role == "voter");
            if range.replicas.len() != 5 || nodes.len() != 5 || !vote {
                return Err(format!("range {}: {:?}", range.id, range.replicas));
            }
            let on_it = range.replicas.iter().find(|replica| replica.node_id == node);
            found.insert(range.id, on_it.map_or(0, |replica| replica.replica_id));
        }
    }
    if found.len() == RANGES { Ok(found) } else { Err(format!("leaders of {found:?} only")) }
}

/// The node's process is killed, its directory removed, and it is started again.
async fn lose_disk(cluster: &Cluster, node: u64) {
    cluster.kill(&[node]).await;
    cluster.wipe(node);
    let notes = cluster.bring_back().await;
    assert!(notes.contains(&format!("`quintet replace {node}`")), "{notes}");
    wait_for("it says what it is", TIMEOUT, async || {
        let seen = status(cluster.address(node)).await?;
        assert!(!seen.initialized && seen.ranges.is_empty(), "{seen:?}");
        if seen.cluster_around.is_empty() { Err("it has met nobody yet") } else { Ok(()) }
            .map_err(str::to_owned)
    })
    .await;
    let named = cluster.address(node);
    let line = cluster.quintet(&["status", "--node", named]).await.refused(1);
    assert!(line.starts_with("error: empty_node: ") && line.contains("quintet replace"), "{line}");
    let line = cluster.quintet(&["kv", "put", "k", "v", "--node", named]).await.refused(1);
    assert!(line.starts_with("error: empty_node: "), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_taken_back() {
    let cluster = Cluster::start().await;
    let line = cluster.quintet(&["replace", "5"]).await.refused(1);
    assert!(line.starts_with("error: node_not_empty: "), "{line}");
    let line = cluster.quintet(&["replace", "77"]).await.refused(1);
    assert!(line.contains("node 77 is no member"), "{line}");

    let client = cluster.client().await;
    let load = Load::start(&client).await;
    // Node 1 made the cluster's plan, and leaders want to be there; node 5 loses its disk twice.
    let mut had: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    for (round, node) in [5, 1, 5].into_iter().enumerate() {
        let before = match had.remove(&node) {
            Some(before) => before,
            None => {
                wait_for("who has what", TIMEOUT, async || replicas_on(&cluster, node).await).await
            }
        };
        lose_disk(&cluster, node).await;
        let number = node.to_string();
        // Through the empty node itself, through others, or whoever answers.
        let asked = [cluster.address(5), cluster.address(3), cluster.address(2)][round];
        let replace = ["replace", &number, "--timeout", "60", "--output", "json", "--node", asked];
        if round == 0 {
            interrupt(&cluster, node, &replace).await;
        }
        let done = cluster.quintet(&replace).await.json();
        assert_eq!(
            (&done["ranges"], &done["replaced"]),
            (&RANGES.into(), &RANGES.into()),
            "{done}"
        );
        let now =
            wait_for("who has what", TIMEOUT, async || replicas_on(&cluster, node).await).await;
        for (range, replica) in &now {
            assert!(*replica > before[range], "range {range}: {before:?}, now {now:?}");
        }
        let again = cluster.quintet(&replace).await.json();
        assert_eq!(again["nothing_left"], true, "{again}");
        cluster.wait_healthy(HOME_TIMEOUT).await;

        // It is what it is now after a restart, too.
        cluster.kill(&[node]).await;
        cluster.bring_back().await;
        cluster.wait_healthy(HOME_TIMEOUT).await;
        let still =
            wait_for("who has what", TIMEOUT, async || replicas_on(&cluster, node).await).await;
        assert_eq!(still, now);
        // The node itself tells so too, as soon as it has applied its log again.
        let at = ["kv", "locate", "k", "--node", cluster.address(node), "--output", "json"];
        wait_for("the node has its replica in place", TIMEOUT, async || {
            let located = cluster.quintet(&at).await.json();
            let id = located["id"].as_u64().ok_or("no id")?;
            let listed = located["replicas"].as_array().ok_or("no list")?;
            let is_in_place =
                listed.iter().any(|one| one["node_id"] == node && one["replica_id"] == now[&id]);
            if is_in_place { Ok(()) } else { Err(located.to_string()) }
        })
        .await;
        had.insert(node, now);
    }
    let acknowledged = load.stop().await;
    assert!(acknowledged.len() > 1_000, "{} writes", acknowledged.len());

    let compare = ["debug", "checksum", "--timeout", "40", "--output", "json"];
    let found = cluster.quintet(&compare).await.json();
    let rows = found["replicas"].as_array().expect("a list");
    assert_eq!(rows.len(), 5 * RANGES, "{found}");
    assert!(rows.iter().all(|row| row["equal"] == true), "{found}");
    for address in &cluster.clients {
        check(address, &acknowledged).await;
    }
}

/// The command is given and killed, and then the node is, in the middle of it.
async fn interrupt(cluster: &Cluster, node: u64, replace: &[&str]) {
    let mut running = command::command(&cluster.state(), replace).spawn().expect("started");
    wait_for("something is under way", TIMEOUT, async || {
        let seen = status(cluster.address(node)).await?;
        if seen.ranges.is_empty() { Err("no replica yet".to_owned()) } else { Ok(()) }
    })
    .await;
    running.kill().await.expect("killed");
    cluster.kill(&[node]).await;
    let notes = cluster.bring_back().await;
    assert!(!notes.contains("belongs to no cluster"), "it is a member by now: {notes}");
}

/// Every acknowledged write is there, as one node tells it.
async fn check(address: &str, acknowledged: &BTreeMap<String, String>) {
    let client = client(&[address.to_owned()]).await;
    let records: Vec<_> = client.scan(ScanOptions::all()).try_collect().await.expect("scanned");
    let found: BTreeMap<_, _> =
        records.iter().map(|record| (&record.key[..], &record.value[..])).collect();
    let lost = acknowledged
        .iter()
        .filter(|(key, value)| found.get(key.as_bytes()) != Some(&value.as_bytes()));
    assert_eq!(lost.count(), 0, "of {} through {address}", acknowledged.len());
}
