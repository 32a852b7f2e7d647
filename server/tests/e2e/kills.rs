//! Nodes that die, one after another and all at once, and nodes that are asked to stop.
//!
//! One cluster goes through all of it under load, so that each part starts from what the one before has left. Two
//! things are checked throughout: every acknowledged write is there, and each acknowledged increment has counted once.
//! An increment with an unknown outcome may have counted or not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::TryStreamExt;
use quintet_client::{Client, ScanOptions};
use tokio::{task::JoinHandle, time::Instant};

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    data_range, led_at_home, status, wait_for,
};

/// Single writes, and how many of them between two kills.
const PUTS: usize = 400;
const PUTS_A_KILL: usize = 100;
/// From SIGTERM to the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// From its return until a preferred room has its leaders back.
const RETURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a majority a call ends with its own deadline; this much later is too late.
const LATE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let cluster = Arc::new(Cluster::start().await);
    let client = cluster.client().await;

    let counters = Counters::start(&cluster).await;
    let acknowledged = put_while_nodes_die(&cluster, &client).await;
    counters.stop().await;
    check(&cluster.clients, &acknowledged).await;

    stopped_nodes_hand_over(&cluster, &client).await;
    without_a_majority_nothing_is_served(&cluster).await;

    // Far more to apply again than fits into one go.
    let load = ["bench", "kv", "--op", "put", "--clients", "256", "--seconds", "6"];
    cluster.quintet(&load).await.done();
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    cluster.bring_back().await;
    check(&cluster.clients, &acknowledged).await;

    a_wiped_node_stays_outside(&cluster, &client, acknowledged).await;
}

/// Puts one key after another while a node dies after every hundred and is brought back; the first
/// one to die leads the range. Returns what was acknowledged.
async fn put_while_nodes_die(cluster: &Arc<Cluster>, client: &Client) -> BTreeMap<String, String> {
    let mut acknowledged = BTreeMap::new();
    let mut unknown = 0;
    let mut returning: Option<JoinHandle<()>> = None;
    for index in 0..PUTS {
        if index % PUTS_A_KILL == PUTS_A_KILL / 2 {
            if let Some(returning) = returning.take() {
                // Two nodes are never down at once.
                returning.await.expect("the node is back");
            }
            let leader = cluster.leader().await;
            // Leaders and followers in turn.
            let victim =
                if (index / PUTS_A_KILL).is_multiple_of(2) { leader } else { leader % 5 + 1 };
            cluster.kill(&[victim]).await;
            let cluster = cluster.clone();
            returning = Some(tokio::spawn(async move {
                cluster.bring_back().await;
            }));
        }
        let (key, value) = (format!("put/{index:04}"), format!("value {index}"));
        match client.put(&key, &value).await {
            Ok(_) => {
                acknowledged.insert(key, value);
            }
            Err(error) if error.maybe_committed() => unknown += 1,
            Err(error) => panic!("{key}: {error}"),
        }
    }
    returning.expect("nodes died").await.expect("the node is back");
    assert_eq!(acknowledged.len() + unknown, PUTS);
    // With 20 s for each and a cluster that is writable again within 5 s, all come through.
    assert_eq!(unknown, 0, "writes whose outcome nobody learnt");
    acknowledged
}

/// Every acknowledged write is read, through each node, by a scan and key by key.
async fn check(nodes: &[String], acknowledged: &BTreeMap<String, String>) {
    for address in nodes {
        let client = client(std::slice::from_ref(address)).await;
        let scan = client.scan(ScanOptions::prefix("put/"));
        let records: Vec<_> = scan.try_collect().await.expect("scanned");
        let found: BTreeMap<_, _> =
            records.iter().map(|record| (&record.key[..], &record.value[..])).collect();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|(key, value)| found.get(key.as_bytes()) != Some(&value.as_bytes()))
            .collect();
        assert!(lost.is_empty(), "through {address}: {lost:?}");
        let keys: Vec<_> = acknowledged.keys().collect();
        for (key, got) in keys.iter().zip(client.batch_get(keys.iter().copied()).await) {
            let got = got.expect("read").unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!(got.value, acknowledged[*key]);
        }
    }
}

/// Tasks that increment one counter each until they are stopped.
struct Counters {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    client: Client,
    counts: Vec<Arc<Count>>,
}

#[derive(Default)]
struct Count {
    acknowledged: AtomicI64,
    unknown: AtomicI64,
}

impl Counters {
    async fn start(cluster: &Cluster) -> Counters {
        let client = cluster.client().await;
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Vec<Arc<Count>> = (0..4).map(|_| Arc::default()).collect();
        let tasks = counts.iter().enumerate().map(|(index, count)| {
            let (client, stop, count) = (client.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match client.increment(format!("counter/{index}"), 1).await {
                        Ok(_) => count.acknowledged.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.maybe_committed() => {
                            count.unknown.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => panic!("counter {index}: {error}"),
                    };
                }
            })
        });
        Counters { tasks: tasks.collect(), client, stop, counts }
    }

    /// Stops them; each acknowledged increment must have counted exactly once.
    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no increment failed");
        }
        for (index, count) in self.counts.iter().enumerate() {
            let found = self.client.get(format!("counter/{index}")).await.expect("read");
            let text = found.map(|found| found.value).unwrap_or_default();
            let total: i64 = std::str::from_utf8(&text).expect("text").parse().expect("a number");
            let acknowledged = count.acknowledged.load(Ordering::Relaxed);
            let most = acknowledged + count.unknown.load(Ordering::Relaxed);
            assert!(acknowledged > 0);
            assert!((acknowledged..=most).contains(&total), "{acknowledged}..={most}: {total}");
        }
    }
}

/// SIGTERM to one node of room a, then SIGHUP to the other: leaders move before the process ends, so
/// that writes go on; after their return the leaders come home.
async fn stopped_nodes_hand_over(cluster: &Cluster, client: &Client) {
    cluster.wait_healthy(HOME_TIMEOUT).await;
    // A terminal that is closed is no reason to drop what is under way.
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let leader = cluster.leader().await;
        assert!(leader <= 2, "node {leader} leads, and both nodes of room a were not stopped yet");
        let asked = Instant::now();
        cluster.signal(leader, signal);
        let mut slowest = Duration::ZERO;
        while cluster.runs(leader) {
            assert!(asked.elapsed() < STOP_TIMEOUT, "node {leader} does not stop");
            let began = Instant::now();
            client.put("handed-over", "x").await.expect("written");
            slowest = slowest.max(began.elapsed());
        }
        assert!(cluster.log(leader).contains("node stopped"), "in order");
        // Shorter than any election: nobody had to notice a silence.
        assert!(slowest < Duration::from_millis(900), "a write waited {slowest:?}");
    }
    let status_now = status(cluster.address(5)).await.expect("a status");
    let led_from = data_range(&status_now).expect("the range").leader_node;
    assert!([3, 4].contains(&led_from), "without room a room b is preferred, not node {led_from}");

    cluster.bring_back().await;
    wait_for("leaders are back in room a", RETURN_TIMEOUT, async || {
        led_at_home(&status(cluster.address(5)).await?)
    })
    .await;
    cluster.wait_healthy(HOME_TIMEOUT).await;
}

/// Two of five are left: reads and writes end with clear errors, in time, and go on once a third
/// one is back.
async fn without_a_majority_nothing_is_served(cluster: &Cluster) {
    cluster.kill(&[1, 2, 3]).await;
    let left = client(&[cluster.address(4).to_owned(), cluster.address(5).to_owned()]).await;
    let deadline = Duration::from_millis(1_500);
    let hasty = left.with_timeout(deadline);
    let began = Instant::now();
    let read = hasty.get("put/0000").await.expect_err("nobody can serve it");
    assert!(["unavailable", "deadline_exceeded"].contains(&read.code()), "{read:?}");
    assert!(read.is_retryable() && !read.maybe_committed(), "{read:?}");
    let write = hasty.put("minority", "x").await.expect_err("nobody can serve it");
    assert!(
        ["unavailable", "deadline_exceeded", "unknown_outcome"].contains(&write.code()),
        "{write:?}"
    );
    assert!(began.elapsed() < 2 * deadline + LATE, "{:?}", began.elapsed());

    let get = ["kv", "get", "put/0000", "--timeout", "1", "--node", cluster.address(5)];
    let line = cluster.quintet(&get).await.refused(4);
    assert!(line.contains("quintet status"), "it says what to do: {line}");
    let status = cluster.quintet(&["status", "--node", cluster.address(4)]).await.done();
    assert!(status.contains("not heard from: node 1, node 2, node 3"), "{status}");

    cluster.bring_back().await;
    left.put("majority", "x").await.expect("written");
    cluster.wait_healthy(HOME_TIMEOUT).await;
}

/// A node whose disk was lost does not come back as who it was: its vote and log are gone, and what
/// it promised with them. The node that formed the cluster is started again too: it has the plan,
/// and must not hand it out a second time.
async fn a_wiped_node_stays_outside(
    cluster: &Cluster,
    client: &Client,
    mut acknowledged: BTreeMap<String, String>,
) {
    cluster.wait_healthy(HOME_TIMEOUT).await;
    cluster.kill(&[1, 5]).await;
    cluster.wipe(5);
    let notes = cluster.bring_back().await;
    assert!(notes.contains("node 5 belongs to no cluster"), "{notes:?}");
    assert!(!status(cluster.address(5)).await.expect("a status").initialized);
    let line = cluster.quintet(&["kv", "get", "k", "--node", cluster.address(5)]).await.refused(1);
    assert!(line.starts_with("error: empty_node: "), "{line}");

    // The others go on.
    client.put("put/wiped", "x").await.expect("written");
    acknowledged.insert("put/wiped".to_owned(), "x".to_owned());
    let others = &cluster.clients[..4];
    check(others, &acknowledged).await;
}
