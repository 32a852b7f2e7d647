//! Disks that are nearly full and disks that do not answer: leaders move to other nodes, and everybody is told.
//!
//! No disk is filled: a node is started with more space to keep free than there is. A disk hangs because the thread
//! that writes the log is stopped. Checked is what clients see (writes go on, calls end long before their deadline) and
//! what operators see (`status`, `/readyz`, metrics).

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use quintet_proto::v1::{self, DiskCondition, kv_client::KvClient};
use serde_json::Value;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::support::{
    command::{Outcome, quintet},
    data_range, http, node,
    node::Node,
    process::Stopped,
    status, wait_for,
};

/// For leaders to move, with everything else that the machine does.
const MOVE_TIMEOUT: Duration = Duration::from_secs(40);
/// What a unary call may take that waits for another leader; far below its deadline.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
const CALL_TIMEOUT_MS: u32 = 30_000;

/// Nodes 1, 3 and 5, one in each room: leaders are at home on node 1.
struct Trio {
    temp: tempfile::TempDir,
    configs: Vec<PathBuf>,
    /// As they were configured first.
    plain: Vec<String>,
    nodes: Vec<Option<Node>>,
}

impl Trio {
    async fn start() -> Trio {
        let temp = tempfile::tempdir().expect("a directory");
        let (mut configs, mut plain, mut nodes, mut seeds) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for id in [1, 3, 5] {
            let config = node::configure(temp.path(), id, &seeds);
            plain.push(fs::read_to_string(&config).expect("a configuration"));
            let node = Node::start(&config).await;
            seeds.push(node.internal.clone());
            nodes.push(Some(node));
            configs.push(config);
        }
        let trio = Trio { temp, configs, plain, nodes };
        let init = ["cluster", "init", "--nodes", "3", "--initial-ranges", "1"];
        trio.quintet(&[&init[..], &["--node", &trio.node(0).client]].concat()).await.done();
        trio
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("it runs")
    }

    async fn quintet(&self, arguments: &[&str]) -> Outcome {
        quintet(self.dir(), arguments).await
    }

    /// Starts a node again, with `free_mb_min` mebibytes that it keeps free; 0: with the default.
    async fn restart(&mut self, at: usize, free_mb_min: u64) {
        self.nodes[at].take().expect("it runs").kill().await;
        let mut config = self.plain[at].clone();
        if free_mb_min > 0 {
            config.push_str(&format!("free_mb_min = {free_mb_min}\n"));
        }
        fs::write(&self.configs[at], config).expect("written");
        self.nodes[at] = Some(Node::start(&self.configs[at]).await);
    }

    /// More than is free, and less than four times that: the disk is nearly full, and not full.
    fn more_than_is_free(&self) -> u64 {
        (fs4::available_space(self.dir()).expect("a disk") >> 20) * 2
    }

    /// Waits until a node says of the range of data who leads it, and why.
    async fn wait_led(&self, asked: usize, leader: u64, reason: &str) {
        wait_for("the leader is where it belongs", MOVE_TIMEOUT, async || {
            let status = status(&self.node(asked).client).await?;
            let range = data_range(&status)?;
            let as_wanted = range.leader_node == leader && range.leader_reason.contains(reason);
            as_wanted.then_some(()).ok_or(format!("{range:?}"))
        })
        .await;
    }

    async fn kv(&self, at: usize) -> KvClient<Channel> {
        KvClient::connect(format!("http://{}", self.node(at).client)).await.expect("a node")
    }

    /// The page `/readyz` of a node.
    async fn ready(&self, at: usize) -> Result<(u16, String), String> {
        http::page(&self.node(at).http, "/readyz").await
    }

    /// A figure of a node's metrics.
    async fn figure(&self, at: usize, name: &str) -> Result<String, String> {
        let (_, page) = http::page(&self.node(at).http, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(str::to_owned).ok_or(format!("no {name}"))
    }
}

fn put(key: &str) -> v1::PutRequest {
    let context = v1::RequestContext { timeout_ms: CALL_TIMEOUT_MS, ..Default::default() };
    v1::PutRequest {
        context: Some(context),
        key: key.to_owned().into(),
        value: "v".into(),
        ..Default::default()
    }
}

/// A leader with little space refused all writes of its ranges and stayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_leads_nothing_and_stops_no_writes() {
    let mut trio = Trio::start().await;
    trio.wait_led(1, 1, "at home in room a").await;
    let much = trio.more_than_is_free();
    trio.restart(0, much).await;
    trio.wait_led(1, 3, "the disk of n1 is nearly full, so n3 in room b").await;
    // It serves, by way of the leader, and says what is wrong with it.
    trio.kv(0).await.put(put("through the full one")).await.expect("written");
    let (code, page) = trio.ready(0).await.expect("a page");
    assert_eq!(code, 200, "{page}");
    assert!(page.starts_with("ok\nwarning: the disk is nearly full, "), "{page}");
    assert_eq!(trio.figure(0, "quintet_disk_nearly_full").await.expect("a figure"), "1");
    assert_eq!(trio.figure(1, "quintet_disk_nearly_full").await.expect("a figure"), "0");
    wait_for("everybody knows", MOVE_TIMEOUT, async || {
        let status = status(&trio.node(2).client).await?;
        let full: Vec<_> = status.nodes.iter().map(|node| node.disk()).collect();
        let wanted = [DiskCondition::NearlyFull, DiskCondition::Well, DiskCondition::Well];
        (full == wanted).then_some(()).ok_or(format!("{full:?}"))
    })
    .await;
    let text = trio.quintet(&["status", "--node", &trio.node(2).client]).await.done();
    assert!(text.contains("the disk of node 1 is nearly full"), "{text}");

    // Where nobody has space writes are refused, by name; the rest goes on.
    trio.restart(1, much).await;
    trio.restart(2, much).await;
    trio.wait_led(2, 1, "no fit voter has space on its disk").await;
    let mut kv = trio.kv(2).await;
    let refused = kv.put(put("for nobody")).await.expect_err("no space anywhere");
    for part in ["no voter of the range has space on its disk", "add disk space", "delete keys"] {
        assert!(refused.message().contains(part), "{refused:?}");
    }
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    let key = "through the full one";
    let get = v1::GetRequest { key: key.into(), ..Default::default() };
    assert!(kv.get(get).await.expect("read").into_inner().state.is_some());
    let delete = v1::DeleteRequest { key: key.into(), ..Default::default() };
    kv.delete(delete).await.expect("removed");

    // One with space is enough, and with space at home all is as ever.
    trio.restart(2, 0).await;
    trio.wait_led(1, 5, "").await;
    kv = trio.kv(1).await;
    kv.put(put("far away")).await.expect("written");
    trio.restart(0, 0).await;
    trio.wait_led(1, 1, "at home in room a").await;
}

/// The log writer of a leader stood still: requests waited out their whole deadline and ended as unknown, and a
/// drain ended with "nothing was done" and drained later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_leader_whose_disk_hangs_are_answered_by_the_next_one() {
    let trio = Trio::start().await;
    trio.wait_led(0, 1, "at home in room a").await;
    let Some(hung) = Stopped::thread(trio.node(0).pid(), "log-writer") else {
        // Some machines let nobody trace a process.
        eprintln!("skipped: this machine does not let one thread of a process be stopped");
        return;
    };
    let mut asked = tokio::task::JoinSet::new();
    for (at, key) in [(0, "a"), (0, "b"), (1, "c"), (2, "d")] {
        let mut kv = trio.kv(at).await;
        asked.spawn(async move {
            let began = Instant::now();
            (key, kv.put(put(key)).await, began.elapsed())
        });
    }
    for (key, answer, took) in asked.join_all().await {
        answer.unwrap_or_else(|status| panic!("{key}: {status:?} after {took:?}"));
        assert!(took < TAKEOVER_MAX, "{key} took {took:?}");
    }
    let drained = trio.quintet(&["drain", "1", "--node", &trio.node(1).client]).await;
    assert!(drained.err.contains("the disk of node 1 does not answer"), "{drained:?}");
    drained.done();
    let (code, page) = trio.ready(0).await.expect("a page");
    assert_eq!((code, page.trim()), (503, HUNG), "{page}");
    assert_eq!(trio.figure(0, "quintet_disk_hung").await.expect("a figure"), "1");
    let show = ["status", "--output", "json", "--node", &trio.node(2).client];
    let json = trio.quintet(&show).await.json();
    assert_eq!(json["nodes"][0]["disk"], "hung", "{json}");
    let led = |json: &Value| json["ranges"][1]["leader_node"].as_u64();
    assert!(led(&json).is_some_and(|leader| leader != 1), "{json}");
    let log = fs::read_to_string(trio.dir().join("node-1/log")).expect("a log");
    assert_eq!(log.matches("a write of the log waits for it").count(), 1, "{log}");
    // What was written is there, once the disk answers too; and it is trusted again after a while.
    drop(hung);
    wait_for("the disk is well", MOVE_TIMEOUT, async || match trio.ready(0).await? {
        (200, page) if page == "ok\n" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let mut kv = trio.kv(0).await;
    for key in ["a", "b", "c", "d"] {
        let get = v1::GetRequest { key: key.into(), ..Default::default() };
        assert!(kv.get(get).await.expect("read").into_inner().state.is_some(), "{key}");
    }
    // The drain was noted meanwhile, and can be undone.
    trio.quintet(&["undrain", "1", "--node", &trio.node(1).client]).await.done();
    trio.wait_led(1, 1, "at home in room a").await;
}

const HUNG: &str = "the disk does not answer: nothing can be written on this node";
