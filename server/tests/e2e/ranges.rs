//! Many ranges on five nodes: led evenly from one room, moved off a node under load without a failed
//! request, synced together; and a hundred of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use quintet_client::{Client, Error};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    http, status, wait_for,
};

/// Clients that work while leaders move.
const CLIENTS: usize = 64;
/// Keys that they share, in all ranges.
const KEYS: u64 = 4_096;
/// From the command until a drained node leads nothing.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For a cluster of a hundred ranges to be formed, every range led.
const HUNDRED_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_under_load_and_nobody_notices() {
    let cluster = Cluster::start().await;
    located(&cluster).await;
    let load = Load::start(&cluster).await;
    for node in 1..=5 {
        let name = node.to_string();
        let began = Instant::now();
        let said = cluster.quintet(&["drain", &name]).await.done();
        assert!(said.contains("leads nothing"), "{said}");
        assert!(began.elapsed() < DRAIN_TIMEOUT, "{:?}", began.elapsed());
        wait_for("the drained node leads nothing", HOME_TIMEOUT, async || {
            let seen = status(cluster.address(node % 5 + 1)).await?;
            let drained = seen.nodes.iter().find(|seen| seen.id == node).ok_or("not there")?;
            match (drained.draining, drained.leaders) {
                (true, 0) => Ok(()),
                (draining, leads) => Err(format!("draining: {draining}, leads {leads}")),
            }
        })
        .await;
        cluster.quintet(&["undrain", &name]).await.done();
        cluster.wait_healthy(HOME_TIMEOUT).await;
    }
    let done = load.stop().await;
    assert!(done > 1_000, "only {done} operations were done");
    let line = cluster.quintet(&["drain", "77"]).await.refused(1);
    assert!(line.contains("no node 77"), "{line}");
    synced_together(&cluster).await;
    a_drained_node_stays_drained(&cluster).await;
}

/// Every node says of a key which range it is in, and why that is led where it is.
async fn located(cluster: &Cluster) {
    for address in &cluster.clients {
        let at = ["kv", "locate", "bench/50000000", "--node", address, "--output", "json"];
        let range = cluster.quintet(&at).await.json();
        assert_eq!(range["id"], 4, "{range}");
        assert_eq!(range["leader_node"], 2, "{range}");
        assert_eq!(range["replicas"].as_array().map(Vec::len), Some(5), "{range}");
    }
    wait_for("the reason is known", HOME_TIMEOUT, async || {
        let text = cluster.quintet(&["kv", "locate", "bench/50000000"]).await.done();
        if text.contains("at home in room a") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Some syncs of the log made entries of three ranges and more durable at once.
async fn synced_together(cluster: &Cluster) {
    let mut most = 0;
    for address in &cluster.https {
        let (_, metrics) = http::page(address, "/metrics").await.expect("a page");
        let figure = |name: &str| -> u64 {
            let found = metrics.lines().find_map(|line| line.strip_prefix(name));
            let text = found.unwrap_or_else(|| panic!("{name} in {metrics}"));
            text.trim().parse().expect("a number")
        };
        let all = figure("quintet_log_sync_ranges_count ");
        most = most.max(all - figure("quintet_log_sync_ranges_bucket{le=\"2.0\"} "));
    }
    assert!(most > 0, "no sync had entries of three ranges");
}

/// A restart does not undo what an operator has said.
async fn a_drained_node_stays_drained(cluster: &Cluster) {
    cluster.quintet(&["drain", "1"]).await.done();
    cluster.kill(&[1]).await;
    cluster.bring_back().await;
    wait_for("it is back and still drained", HOME_TIMEOUT, async || {
        let seen = status(cluster.address(5)).await?;
        let node = seen.nodes.iter().find(|node| node.id == 1).ok_or("not there")?;
        let led = seen.ranges.iter().all(|range| range.leader_node == 2);
        if node.live && node.draining && led { Ok(()) } else { Err(format!("{node:?}")) }
    })
    .await;
    cluster.quintet(&["undrain", "1"]).await.done();
    cluster.wait_healthy(HOME_TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_ranges_form_in_time() {
    let began = Instant::now();
    let cluster = Cluster::start_with(&["--initial-ranges", "100"]).await;
    for address in &cluster.clients {
        wait_for("every range has a leader in room a", HUNDRED_TIMEOUT, async || {
            let seen = status(address).await?;
            let led = seen.ranges.iter().filter(|range| matches!(range.leader_node, 1 | 2)).count();
            if led == 101 { Ok(()) } else { Err(format!("{led} of {}", seen.ranges.len())) }
        })
        .await;
    }
    assert!(began.elapsed() < HUNDRED_TIMEOUT, "{:?}", began.elapsed());
    // Each of them serves, whichever node is asked.
    let client = client(&cluster.clients[4..]).await;
    for index in 0..100_u64 {
        let key = key(index * (1 << 32) / 100 + 1);
        client.put(&key, "x").await.expect("written");
        assert_eq!(client.get(&key).await.expect("read").expect("there").value, "x");
    }
}

fn key(at: u64) -> String {
    format!("bench/{at:08x}")
}

/// Clients that put and get until they are stopped. An error ends the test.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: JoinSet<Result<(), Error>>,
}

impl Load {
    async fn start(cluster: &Cluster) -> Load {
        let mut load = Load { stop: Arc::default(), done: Arc::default(), tasks: JoinSet::new() };
        let connected = [cluster.client().await, client(&cluster.clients[2..]).await];
        for (index, client) in connected.iter().cycle().take(CLIENTS).cloned().enumerate() {
            let (stop, done) = (load.stop.clone(), load.done.clone());
            load.tasks.spawn(work(client, index as u64, stop, done));
        }
        load
    }

    /// How many operations were done; not one has failed.
    async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client").expect("no operation fails");
        }
        self.done.load(Ordering::Acquire)
    }
}

async fn work(
    client: Client,
    index: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Result<(), Error> {
    let mut turn = index;
    while !stop.load(Ordering::Acquire) {
        turn += 1;
        let key = key((turn * 977 + index * 131) % KEYS * ((1 << 32) / KEYS));
        if turn.is_multiple_of(2) {
            client.put(&key, turn.to_string()).await?;
        } else {
            client.get(&key).await?;
        }
        done.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}
