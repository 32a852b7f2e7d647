//! A bulk load by the client library's batch writer, while leaders die: what is called written is there,
//! through every node, and most of it went as batches.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt;
use quintet_client::{BatchWriter, ScanOptions};

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    http, wait_for,
};

/// Over all eight ranges.
const RECORDS: u32 = 40_000;
/// How many before a leader dies, and before the next one does.
const RECORDS_A_KILL: u32 = RECORDS / 4;
/// The load is to be of batches: at most this number of requests is acknowledged.
const REQUESTS_MAX: u64 = (RECORDS / 10) as u64;
/// For a node's own word of what it has served.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_outlives_leaders() {
    let cluster = Arc::new(Cluster::start().await);
    let client = cluster.client().await;
    let writer = client.batch_writer().start().expect("a writer");
    let mut returning: Option<tokio::task::JoinHandle<()>> = None;
    for n in 0..RECORDS {
        // The node before is back some time before: what is under way then is not written off by waiting.
        if n % RECORDS_A_KILL == RECORDS_A_KILL / 4
            && let Some(returning) = returning.take()
        {
            returning.await.expect("the node is back");
        }
        if n % RECORDS_A_KILL == RECORDS_A_KILL / 2 {
            returning = Some(kill_the_leader(&cluster, &writer).await);
        }
        writer.write(key(n), value(n)).await;
    }
    let summary = writer.finish().await;
    // With 20 s for each and a cluster that is writable again within 5 s, all come through.
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(summary.written, u64::from(RECORDS));
    if let Some(returning) = returning {
        returning.await.expect("the node is back");
    }
    cluster.wait_healthy(HOME_TIMEOUT).await;
    for address in &cluster.clients {
        every_record_is_there(address).await;
    }
    // What the nodes that died had served is not counted any more.
    let requests = acknowledged(&cluster).await;
    assert!((1..=REQUESTS_MAX).contains(&requests), "{requests} requests");
}

/// One dies, at once, while its batches are under way; it is back when what is returned ends.
async fn kill_the_leader(
    cluster: &Arc<Cluster>,
    writer: &BatchWriter,
) -> tokio::task::JoinHandle<()> {
    let before = writer.progress();
    assert!(before.acknowledged < before.accepted, "something is under way: {before:?}");
    cluster.kill(&[cluster.leader().await]).await;
    let cluster = cluster.clone();
    tokio::spawn(async move {
        cluster.bring_back().await;
    })
}

/// Spread over the key space, one after the other in all of its parts.
fn key(n: u32) -> String {
    format!("bench/{:08x}", n.wrapping_mul(0x9E37_79B1))
}

fn value(n: u32) -> String {
    format!("record {n} {}", "x".repeat(usize::try_from(n % 300).expect("small")))
}

async fn every_record_is_there(address: &String) {
    let client = client(std::slice::from_ref(address)).await;
    let found: Vec<_> =
        client.scan(ScanOptions::prefix("bench/")).try_collect().await.expect("scanned");
    let mut wanted: Vec<_> = (0..RECORDS).map(|n| (key(n), value(n))).collect();
    wanted.sort_unstable();
    assert_eq!(found.len(), wanted.len(), "through {address}");
    for (found, (key, value)) in found.iter().zip(&wanted) {
        assert_eq!((&found.key[..], &found.value[..]), (key.as_bytes(), value.as_bytes()));
    }
}

/// Batches that the nodes have acknowledged since they were started.
async fn acknowledged(cluster: &Cluster) -> u64 {
    let mut sum = 0;
    for address in &cluster.https {
        sum += wait_for("its figures", FIGURES_TIMEOUT, async || {
            let (_, page) = http::page(address, "/metrics").await?;
            let name = "quintet_operations_total{operation=\"put_many\",outcome=\"ok\"} ";
            let found = page.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
            found.ok_or_else(|| format!("no {name}"))
        })
        .await;
    }
    sum
}
