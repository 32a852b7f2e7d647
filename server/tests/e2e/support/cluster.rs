//! A cluster of five nodes that `quintet dev` runs.
//!
//! Tests use the command that users have, not a way of their own to start nodes: addresses are read from its
//! `cluster.toml`, process ids from its pid files. Ports are free ones, so tests may run beside each other. Waiting is
//! for a condition with a timeout, never for a fixed time. Dropping the cluster kills its nodes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use quintet_client::Client;

use super::{client, command, command::Outcome, data_range, healthy, process, status, wait_for};

/// Time for leaders to come home.
pub(crate) const HOME_TIMEOUT: Duration = Duration::from_secs(20);
/// For the system to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A running cluster; its nodes are killed when it is dropped.
pub(crate) struct Cluster {
    temp: tempfile::TempDir,
    /// Addresses in the order of the nodes' ids.
    pub(crate) clients: Vec<String>,
    pub(crate) internals: Vec<String>,
    pub(crate) https: Vec<String>,
}

impl Cluster {
    /// A new cluster of which every node is known to be healthy.
    pub(crate) async fn start() -> Cluster {
        let cluster = Cluster::start_with(&[]).await;
        cluster.wait_healthy(HOME_TIMEOUT).await;
        cluster
    }

    /// A new cluster by `dev` with some more arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Cluster {
        let temp = tempfile::tempdir().expect("a directory");
        let (clients, internals, https) = Default::default();
        let mut cluster = Cluster { temp, clients, internals, https };
        let dir = cluster.dir();
        let dev = ["dev", "--detach", "--dir", dir.to_str().expect("a path in UTF-8")];
        cluster.quintet(&[&dev, arguments].concat()).await.done();
        let plan = fs::read_to_string(cluster.dir().join("cluster.toml")).expect("the plan");
        let plan: toml::Value = toml::from_str(&plan).expect("TOML");
        let nodes = plan["nodes"].as_array().expect("nodes").clone();
        let addresses = |name: &str| -> Vec<String> {
            nodes.iter().map(|node| node[name].as_str().expect("an address").to_owned()).collect()
        };
        cluster.clients = addresses("client");
        cluster.internals = addresses("internal");
        cluster.https = addresses("http");
        cluster
    }

    /// Starts every node that does not run. Returns what was noted meanwhile.
    pub(crate) async fn bring_back(&self) -> String {
        let dir = self.dir();
        let dir = dir.to_str().expect("a path in UTF-8");
        let outcome = self.quintet(&["dev", "--detach", "--dir", dir]).await;
        let notes = outcome.err.clone();
        outcome.done();
        notes
    }

    /// The same where one of them can't become ready.
    pub(crate) async fn bring_back_in_vain(&self) {
        let dir = self.dir();
        let dir = dir.to_str().expect("a path in UTF-8");
        let line = self.quintet(&["dev", "--detach", "--dir", dir]).await.refused(4);
        assert!(line.contains("there is no sign in time"), "{line}");
    }

    /// Takes a node's data directory away, as a disk that died does. The node must not run.
    pub(crate) fn wipe(&self, id: u64) {
        assert!(!self.runs(id), "node {id} runs");
        fs::remove_dir_all(self.node_dir(id).join("data")).expect("removed");
    }

    /// Adds to the configuration of every node; it counts from their next start on.
    pub(crate) fn configure(&self, more: &str) {
        for id in 1..=5 {
            let path = self.node_dir(id).join("node.toml");
            let config = fs::read_to_string(&path).expect("a configuration");
            fs::write(&path, config + more).expect("written");
        }
    }

    /// Runs a command that finds this cluster by itself.
    pub(crate) async fn quintet(&self, arguments: &[&str]) -> Outcome {
        command::quintet(&self.state(), arguments).await
    }

    /// A client that knows all nodes.
    pub(crate) async fn client(&self) -> Client {
        client(&self.clients).await
    }

    /// Waits until every node sees five live nodes and both leaders in room a.
    pub(crate) async fn wait_healthy(&self, timeout: Duration) {
        wait_for("the cluster is healthy", timeout, async || {
            for address in &self.clients {
                healthy(&status(address).await?).map_err(|why| format!("{address}: {why}"))?;
            }
            Ok::<_, String>(())
        })
        .await;
    }

    /// The node that leads the data range, as the first node that knows says.
    pub(crate) async fn leader(&self) -> u64 {
        wait_for("somebody leads", HOME_TIMEOUT, async || {
            let mut said = Err("no node answers".to_owned());
            for address in &self.clients {
                let Ok(status) = status(address).await else { continue };
                match data_range(&status)?.leader_node {
                    0 => said = Err("no leader".to_owned()),
                    leader => return Ok(leader),
                }
            }
            said
        })
        .await
    }

    /// Client address of a node.
    pub(crate) fn address(&self, id: u64) -> &str {
        &self.clients[usize::try_from(id).expect("a small id") - 1]
    }

    /// Process id of a running node.
    pub(crate) fn pid(&self, id: u64) -> u32 {
        self.find_pid(id).unwrap_or_else(|| panic!("node {id} does not run"))
    }

    /// Whether a node's process runs.
    pub(crate) fn runs(&self, id: u64) -> bool {
        self.find_pid(id).is_some()
    }

    /// Ends nodes with SIGKILL, all at once.
    pub(crate) async fn kill(&self, ids: &[u64]) {
        for id in ids {
            process::signal(self.pid(*id), libc::SIGKILL);
        }
        self.wait_ended(ids, KILL_TIMEOUT).await;
    }

    /// Lets nodes stand still for a time, all at once: nothing of them runs, their sockets stay.
    pub(crate) async fn pause(&self, ids: &[u64], pause: Duration) {
        self.stand_still(ids);
        tokio::time::sleep(pause).await;
        self.go_on(ids);
    }

    /// Lets nodes stand still.
    pub(crate) fn stand_still(&self, ids: &[u64]) {
        ids.iter().for_each(|id| process::signal(self.pid(*id), libc::SIGSTOP));
        // On a busy machine a process may go on for a moment, and answer.
        let begin = tokio::time::Instant::now();
        while !ids.iter().all(|id| process::stands_still(self.pid(*id))) {
            assert!(begin.elapsed() < KILL_TIMEOUT, "a node does not stand still");
            std::thread::yield_now();
        }
    }

    /// Lets nodes that stand still go on.
    pub(crate) fn go_on(&self, ids: &[u64]) {
        ids.iter().for_each(|id| process::signal(self.pid(*id), libc::SIGCONT));
    }

    /// Sends a node a signal.
    pub(crate) fn signal(&self, id: u64, signal: libc::c_int) {
        process::signal(self.pid(id), signal);
    }

    /// Waits until nodes have ended.
    pub(crate) async fn wait_ended(&self, ids: &[u64], timeout: Duration) {
        wait_for("the nodes have ended", timeout, async || {
            let left: Vec<_> = ids.iter().filter(|id| self.runs(**id)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} run")) }
        })
        .await;
    }

    /// What a node has logged.
    pub(crate) fn log(&self, id: u64) -> String {
        let log = fs::read(self.node_dir(id).join("log")).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("cluster")
    }

    /// Where its commands find it.
    pub(crate) fn state(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    fn node_dir(&self, id: u64) -> PathBuf {
        self.dir().join(format!("node-{id}"))
    }

    /// The noted process, if it is this node's.
    fn find_pid(&self, id: u64) -> Option<u32> {
        let dir = self.node_dir(id);
        let pid = fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
        let config: &Path = &dir.join("node.toml");
        // `dev` names the real path.
        let config = config.canonicalize().ok()?;
        process::runs_with(pid, &config).then_some(pid)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in 1..=5 {
            if let Some(pid) = self.find_pid(id) {
                process::signal(pid, libc::SIGKILL);
            }
            if std::thread::panicking() {
                let log = self.node_dir(id).join("log");
                eprintln!("--- {}\n{}", log.display(), process::tail(&log));
            }
        }
    }
}
