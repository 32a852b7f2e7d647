//! What `status`, `/readyz`, health, metrics and the log say is what is known now: of nodes that nobody
//! reaches, of a leader without voters, of nodes that are down, of processes that are no members.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::support::{command::quintet, health, http, node, node::Node, wait_for};

/// Everything here takes an election, or a few seconds of patience.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Three nodes, started one by one.
struct Three {
    temp: tempfile::TempDir,
    nodes: Vec<Option<Node>>,
}

impl Three {
    async fn start() -> Three {
        let temp = tempfile::tempdir().expect("a directory");
        let first = Node::start(&node::configure(temp.path(), 1, &[])).await;
        let seeds = [first.internal.clone()];
        let mut nodes = vec![Some(first)];
        for id in 2..=3 {
            nodes.push(Some(Node::start(&node::configure(temp.path(), id, &seeds)).await));
        }
        Three { temp, nodes }
    }

    async fn quintet(&self, arguments: &[&str], asked: usize) -> crate::support::command::Outcome {
        let at = ["--node", &self.node(asked).client, "--timeout", "10"];
        quintet(self.temp.path(), &[arguments, &at].concat()).await
    }

    fn node(&self, id: usize) -> &Node {
        self.nodes[id - 1].as_ref().expect("it runs")
    }

    fn config(&self, id: usize) -> PathBuf {
        self.temp.path().join(format!("node-{id}/node.toml"))
    }

    async fn kill(&mut self, id: usize) {
        self.nodes[id - 1].take().expect("it runs").kill().await;
    }

    async fn restart(&mut self, id: usize) {
        self.nodes[id - 1] = Some(Node::start(&self.config(id)).await);
    }

    /// Lines of a node's log that hold all of these.
    fn lines(&self, id: usize, words: &[&str]) -> Vec<String> {
        let path = self.temp.path().join(format!("node-{id}/log"));
        let log = fs::read_to_string(path).expect("a log");
        let found = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        found.map(str::to_owned).collect()
    }

    async fn status(&self, asked: usize) -> Value {
        self.quintet(&["status", "--output", "json"], asked).await.json()
    }

    async fn wait_ready(&self, id: usize) {
        wait_for("the node is ready", TIMEOUT, async || {
            match http::page(&self.node(id).http, "/readyz").await? {
                (200, _) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until a node says that it is not ready, and why; it says the same over gRPC.
    async fn wait_not_ready(&self, id: usize, why: &str) {
        wait_for("the node is not ready", TIMEOUT, async || {
            match http::page(&self.node(id).http, "/readyz").await? {
                (503, said) if said.contains(why) => {}
                other => return Err(format!("{other:?}")),
            }
            match health(&self.node(id).client).await {
                "NOT_SERVING" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    }

    /// A figure of a node, summed over its labels.
    async fn figure(&self, id: usize, name: &str) -> f64 {
        let (_, text) = http::page(&self.node(id).http, "/metrics").await.expect("a page");
        let named = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let values = text
            .lines()
            .filter(named)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

fn member(status: &Value, id: usize) -> &Value {
    let nodes = status["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("no node {id}: {status}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instruments_tell_what_is_known_now() {
    let mut three = Three::start().await;
    let formed = three.quintet(&["cluster", "init", "--nodes", "3"], 1).await.done();
    assert_eq!(formed.lines().filter(|line| line.contains("  node ")).count(), 3, "{formed}");
    for id in 1..=3 {
        three.wait_ready(id).await;
    }
    a_process_that_is_no_member_ends(&three).await;
    losing_and_regaining_a_node(&mut three).await;
    a_dead_node_is_drained(&mut three).await;
    a_node_that_nobody_reaches(&mut three).await;
    two_of_three_are_dead(&mut three).await;
}

async fn a_process_that_is_no_member_ends(three: &Three) {
    let dir = three.temp.path();
    let config = node::configure(dir, 4, std::slice::from_ref(&three.node(1).internal));
    let arguments = ["start", "--config", config.to_str().expect("UTF-8")];
    let line = quintet(dir, &arguments).await.refused(1);
    assert!(line.contains("node 4 is no member of cluster") && line.contains("1, 2, 3"), "{line}");
    assert!(!line.contains("quintet replace"), "that would be refused: {line}");
    let status = three.status(2).await;
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(three.figure(1, "quintet_nodes_live").await, 3.0);
    let registry = three.quintet(&["debug", "registry", "--output", "json"], 1).await.done();
    assert!(!registry.contains("\"node_id\":4"), "{registry}");
}

async fn losing_and_regaining_a_node(three: &mut Three) {
    let address = three.node(3).internal.clone();
    let lost = ["a node can't be reached", "node=n3"];
    let regained = ["a node is reached again", "node=n3"];
    three.kill(3).await;
    wait_for("the loss is said", TIMEOUT, async || match three.lines(1, &lost).len() {
        0 => Err("no line"),
        _ => Ok(()),
    })
    .await;
    // First the connection breaks, and then nobody is there.
    wait_for("why is known", TIMEOUT, async || {
        let gone = member(&three.status(1).await, 3).clone();
        assert_eq!(gone["live"], false, "{gone}");
        match gone["why"].as_str().is_some_and(|why| why.contains("refused")) {
            true => Ok(()),
            false => Err(gone),
        }
    })
    .await;
    let text = three.quintet(&["status"], 1).await.done();
    assert!(text.contains("not heard from: node 3\n  node 3: for "), "{text}");
    three.restart(3).await;
    wait_for("its return is said", TIMEOUT, async || match three.lines(1, &regained).len() {
        0 => Err("no line"),
        _ => Ok(()),
    })
    .await;
    three.wait_ready(3).await;
    let said = three.lines(1, &lost);
    assert_eq!(said.len(), 1, "{said:?}");
    // What a killed process leaves: its connection broke, or the next one was refused, whichever was seen first.
    let causes = ["connection reset", "closed by the other side", "broken pipe", "refused"];
    let is_caused = causes.iter().any(|cause| said[0].contains(cause));
    assert!(said[0].contains(&address) && is_caused, "{said:?}");
    assert_eq!(three.lines(1, &regained).len(), 1);
}

async fn a_dead_node_is_drained(three: &mut Three) {
    three.kill(3).await;
    let done = three.quintet(&["drain", "3"], 2).await.done();
    assert!(done.starts_with("node 3 can't be reached; it leads nothing"), "{done}");
    three.restart(3).await;
    wait_for("it is told, and notes it", TIMEOUT, async || {
        match three.lines(3, &["leaders move off the node"]).len() {
            0 => Err("not told"),
            _ => Ok(()),
        }
    })
    .await;
    wait_for("every node knows", TIMEOUT, async || {
        for asked in 1..=3 {
            let status = three.status(asked).await;
            if member(&status, 3)["draining"] != true {
                return Err(format!("node {asked}: {status}"));
            }
        }
        Ok(())
    })
    .await;
    three.quintet(&["undrain", "3"], 1).await.done();
    wait_for("that is undone for good", TIMEOUT, async || {
        let registry = three.quintet(&["debug", "registry"], 1).await.done();
        let status = three.status(1).await;
        if member(&status, 3)["draining"] == false { Ok(()) } else { Err(registry) }
    })
    .await;

    // Taken back before it was told.
    three.kill(3).await;
    three.quintet(&["drain", "3"], 1).await.done();
    three.quintet(&["undrain", "3"], 2).await.done();
    three.restart(3).await;
    three.wait_ready(3).await;
    assert_eq!(three.lines(3, &["leaders move off the node"]), Vec::<String>::new());
}

async fn a_node_that_nobody_reaches(three: &mut Three) {
    three.kill(3).await;
    let good = fs::read_to_string(three.config(3)).expect("a configuration");
    // Nobody listens there.
    let bad = format!("{good}[advertise]\ninternal = \"127.0.0.1:1\"\n");
    fs::write(three.config(3), bad).expect("written");
    three.restart(3).await;
    three.wait_not_ready(3, "do the others reach this node at 127.0.0.1:1?").await;
    wait_for("the others name it and its address", TIMEOUT, async || {
        match three.lines(1, &["a node can't be reached", "node=n3", "127.0.0.1:1"]).len() {
            0 => Err("no line"),
            _ => Ok(()),
        }
    })
    .await;
    let status = three.status(3).await;
    assert!(status["ranges"][0]["leader_node"].is_null(), "{status}");
    three.kill(3).await;
    fs::write(three.config(3), good).expect("written");
    three.restart(3).await;
    three.wait_ready(3).await;
}

async fn two_of_three_are_dead(three: &mut Three) {
    assert!(
        three.figure(1, "quintet_range_is_leader").await
            + three.figure(2, "quintet_range_is_leader").await
            > 0.0
    );
    three.kill(2).await;
    three.kill(3).await;
    three.wait_not_ready(1, "has no leader").await;
    // That is said of the first of them; each had been confirmed at a moment of its own.
    wait_for("no range has a leader", TIMEOUT, async || {
        let status = three.status(1).await;
        let ranges = status["ranges"].as_array().expect("ranges");
        match ranges.iter().find(|range| !range["leader_node"].is_null()) {
            None => Ok(()),
            Some(led) => Err(led.clone()),
        }
    })
    .await;
    let status = three.status(1).await;
    for range in status["ranges"].as_array().expect("ranges") {
        assert!(range["leader_node"].is_null(), "{range}");
        assert!(range["last_leader_ms_ago"].is_u64(), "since when: {range}");
        for replica in range["replicas"].as_array().expect("replicas") {
            assert!(replica["lag_entries"].is_null(), "nobody knows: {range}");
        }
    }
    assert_eq!(member(&status, 1)["leaders"], 0);
    assert_eq!(three.figure(1, "quintet_range_is_leader").await, 0.0);
    assert_eq!(three.figure(1, "quintet_range_leader_node").await, 0.0);
    assert!(three.figure(1, "quintet_range_leader_silent_seconds").await > 0.0);
    assert_eq!(three.figure(1, "quintet_nodes_live").await, 1.0);
    three.restart(2).await;
    three.wait_ready(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_among_three_that_run_has_one_member() {
    let three = Three::start().await;
    wait_for("all know each other", TIMEOUT, async || {
        match three.figure(1, "quintet_nodes_live").await {
            3.0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let formed = three.quintet(&["cluster", "init", "--nodes", "1"], 1).await.done();
    assert_eq!(formed.lines().filter(|line| line.contains("  node ")).count(), 1, "{formed}");
    let status = three.status(1).await;
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(three.figure(1, "quintet_nodes_live").await, 1.0);
    // The others are told, and end.
    for id in 2..=3 {
        wait_for("it says why it ends", TIMEOUT, async || {
            match three.lines(id, &["error: node_failed", "is no member of cluster"]).len() {
                0 => Err("no word of it"),
                _ => Ok(()),
            }
        })
        .await;
    }
}
