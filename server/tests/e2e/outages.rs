//! A node that was away for longer than the log is kept comes back by a raft snapshot.
//!
//! The nodes keep little of their logs (`RETENTION_BYTES`), so a few seconds of load are a long outage. Progress is
//! read off metrics (snapshots received and installed), and `quintet debug checksum` has to find all replicas equal.
//! One test moves a large range and compares the memory of both sides with what they had before.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quintet_client::Client;
use tokio::time::Instant;

use crate::support::{
    DATA_RANGE, client, command::quintet, data_range, http, node, node::Node, process, status,
    wait_for,
};

/// For logs to be truncated, and for a node to catch up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What the nodes keep of a log, in this file.
const RETENTION_BYTES: u64 = 1 << 20;
const VALUE_BYTES: usize = 8 << 10;

/// Three nodes with a small retention, and one range of data.
struct Trio {
    temp: tempfile::TempDir,
    configs: Vec<PathBuf>,
    /// `None`: it is away.
    nodes: Vec<Option<Node>>,
}

impl Trio {
    async fn start(snapshot_mb_per_s: u32) -> Trio {
        let temp = tempfile::tempdir().expect("a directory");
        let (mut configs, mut nodes, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
        for id in [1, 3, 5] {
            let config = node::configure(temp.path(), id, &seeds);
            let mut file = OpenOptions::new().append(true).open(&config).expect("opened");
            writeln!(file, "[raft]\nlog_retention_mb = 1\nsnapshot_mb_per_s = {snapshot_mb_per_s}")
                .expect("written");
            let node = Node::start(&config).await;
            seeds.push(node.internal.clone());
            nodes.push(Some(node));
            configs.push(config);
        }
        let trio = Trio { temp, configs, nodes };
        let init = ["cluster", "init", "--nodes", "3", "--initial-ranges", "1"];
        quintet(trio.dir(), &[&init[..], &["--node", &trio.node(0).client]].concat()).await.done();
        trio
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("it runs")
    }

    /// Client addresses of the nodes that run.
    fn clients(&self) -> Vec<String> {
        self.nodes.iter().flatten().map(|node| node.client.clone()).collect()
    }

    async fn kill(&mut self, at: usize) {
        self.nodes[at].take().expect("it runs").kill().await;
    }

    async fn bring_back(&mut self, at: usize) {
        self.nodes[at] = Some(Node::start(&self.configs[at]).await);
    }

    /// A figure of a node's metrics; 0 where it is not there.
    async fn figure(&self, at: usize, name: &str) -> Result<u64, String> {
        let (_, page) = http::page(&self.node(at).http, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = line.unwrap_or("0").parse::<f64>();
        number.map(|number| number as u64).map_err(|error| error.to_string())
    }

    /// Waits until the logs of those that run are no larger than they should be.
    async fn wait_truncated(&self) {
        let name = format!("quintet_range_log_bytes{{range=\"{DATA_RANGE}\"}}");
        wait_for("logs are truncated", TIMEOUT, async || {
            for at in (0..self.nodes.len()).filter(|at| self.nodes[*at].is_some()) {
                let bytes = self.figure(at, &name).await?;
                if bytes == 0 || bytes > 2 * RETENTION_BYTES {
                    return Err(format!("node {at} keeps {bytes} bytes"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until a node has installed `count` raft snapshots since its start, and is led.
    async fn wait_installed(&self, at: usize, count: u64) {
        wait_for("a raft snapshot is installed", TIMEOUT, async || {
            let installed = self.figure(at, "quintet_snapshots_received_total").await?;
            if installed < count {
                return Err(format!("{installed} installed"));
            }
            let status = status(&self.node(at).client).await?;
            match data_range(&status)?.leader_node {
                0 => Err("no leader".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }

    /// All replicas are equal, says the command line.
    async fn check_equal(&self) {
        let nodes = self.clients().join(",");
        let compare =
            ["debug", "checksum", "--timeout", "40", "--output", "json", "--node", &nodes];
        let found = quintet(self.dir(), &compare).await.json();
        let rows = found["replicas"].as_array().expect("a list");
        assert_eq!(rows.len(), 6, "{found}");
        assert!(rows.iter().all(|row| row["equal"] == true), "{found}");
        let records = |row: &serde_json::Value| row["records"].as_u64().expect("a number");
        assert!(rows.iter().any(|row| records(row) > 1_000), "{found}");
    }
}

/// Writes `count` values of [`VALUE_BYTES`] under keys of its own.
async fn write(client: &Client, name: &str, count: usize) {
    let value = |at: usize| {
        // Not to be compressed away.
        let mut state = at as u64 + 1;
        let byte = move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..VALUE_BYTES).map(byte).collect::<Vec<u8>>()
    };
    let all: Vec<_> = (0..count).collect();
    for some in all.chunks(64) {
        let items = some.iter().map(|at| (format!("{name}/{at:06}"), value(*at)));
        for result in client.batch_put(items).await {
            result.expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_long_comes_back_twice() {
    let mut trio = Trio::start(64).await;
    write(&client(&trio.clients()).await, "before", 400).await;
    let away = 2;
    for round in 1..=2 {
        trio.kill(away).await;
        let load = client(&trio.clients()).await;
        write(&load, &format!("away-{round}"), 1_000).await;
        trio.wait_truncated().await;

        // It comes back while others write.
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let writer = tokio::spawn(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                write(&load, &format!("meanwhile-{written}"), 64).await;
                written += 1;
            }
            written
        });
        trio.bring_back(away).await;
        trio.wait_installed(away, 1).await;
        stop.store(true, Ordering::Relaxed);
        assert!(writer.await.expect("no write failed") > 0);
        trio.check_equal().await;
    }
    // What it has is served by it alone, as far as data goes: it leads with one of the others away.
    trio.kill(0).await;
    let left = client(&trio.clients()).await;
    for key in ["before/000399", "away-1/000999", "away-2/000999", "meanwhile-0/000063"] {
        let found = left.get(key).await.expect("read").unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(found.value.len(), VALUE_BYTES);
    }
    let line =
        quintet(trio.dir(), &["debug", "checksum", "--timeout", "2", "--node", &left_node(&trio)])
            .await
            .refused(4);
    assert!(line.contains("did not answer for one applied index"), "{line}");
}

/// The directory is gone, and the node comes back elsewhere: its starts are counted from one again, while
/// the others remember later ones. Its new replica of the data comes by a raft snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_disk_comes_back_at_another_address() {
    let mut trio = Trio::start(64).await;
    let lost = 2;
    trio.kill(lost).await;
    trio.bring_back(lost).await;
    trio.kill(lost).await;
    write(&client(&trio.clients()).await, "before", 1_400).await;
    trio.wait_truncated().await;
    let data = trio.configs[lost].parent().expect("a directory").join("data");
    std::fs::remove_dir_all(data).expect("removed");
    trio.bring_back(lost).await;
    let replace = ["replace", "5", "--timeout", "60", "--node", &left_node(&trio)];
    let said = quintet(trio.dir(), &replace).await.done();
    assert!(said.contains("node 5 has a new replica of each of 2 ranges"), "{said}");
    trio.wait_installed(lost, 1).await;
    trio.check_equal().await;
    // With one of the others away nothing goes on without it.
    trio.kill(0).await;
    let left = client(&trio.clients()).await;
    left.put("after", "x").await.expect("written");
    let found = left.get("before/001399").await.expect("read").expect("there");
    assert_eq!(found.value.len(), VALUE_BYTES);
}

fn left_node(trio: &Trio) -> String {
    trio.node(1).client.clone()
}

/// Megabytes that are moved where memory is measured.
const MOVED_MB: usize = 512;
const MOVED_BYTES: u64 = (MOVED_MB as u64) << 20;
/// What moving them may take of either side's memory. It is the same for 192 MB and for 640, 62 to 83 MB of the
/// receiver's: each of its threads that flush, compact and install comes by some.
const GROWTH_BYTES_MAX: u64 = 96 << 20;
/// What the receiver may need once a quarter has come: it does not grow with what is moved.
const LATE_GROWTH_BYTES_MAX: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_range_moves_with_little_memory() {
    let mut trio = Trio::start(1_024).await;
    let away = 2;
    trio.kill(away).await;
    let load = client(&trio.clients()).await;
    write(&load, "large", MOVED_MB * (1 << 20) / VALUE_BYTES).await;
    trio.wait_truncated().await;

    let resident = |trio: &Trio, at: usize| process::resident_bytes(trio.node(at).pid());
    let senders: Vec<_> = [0, 1].map(|at| resident(&trio, at)).to_vec();
    trio.bring_back(away).await;
    let receiver = resident(&trio, away);
    let mut most = [senders[0], senders[1], receiver];
    let (mut at_quarter, received) = (None, "quintet_snapshot_received_bytes_total");
    let begun = Instant::now();
    wait_for("the range has moved", TIMEOUT, async || {
        for (at, most) in most.iter_mut().enumerate() {
            *most = (*most).max(resident(&trio, at));
        }
        if at_quarter.is_none() && trio.figure(away, received).await? >= MOVED_BYTES / 4 {
            at_quarter = Some(most[2]);
        }
        match trio.figure(away, "quintet_snapshots_received_total").await? {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let took = begun.elapsed();
    let grown = [most[0] - senders[0], most[1] - senders[1], most[2] - receiver];
    println!("{MOVED_MB} MiB in {took:?}; grown by {grown:?} bytes, of {most:?}");
    let moved = trio.figure(away, received).await.expect("a figure");
    assert!(moved >= MOVED_BYTES, "{moved} bytes moved");
    assert!(grown.iter().all(|grown| *grown < GROWTH_BYTES_MAX), "grown by {grown:?}");
    let late = most[2] - at_quarter.expect("a quarter was seen to have come");
    println!("grown by {late} bytes since a quarter had come");
    assert!(late < LATE_GROWTH_BYTES_MAX, "grown by {late} since a quarter had come");
    trio.check_equal().await;
}
