//! Five nodes on this machine, and what a round does to them.
//!
//! A node that ends or panics without having been killed, or that is not back in time, ends the test as a violation;
//! what could not be tried at all, as an error ([`End`]).

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use quintet_client::{Client, v1};

use serde_json::Value;
use tokio::time::sleep;

use super::{
    node::{Node, Place},
    rounds::{Harm, Round},
    setup::{End, Setup},
};
use crate::{
    ports,
    scenario::{self, Scenario},
};

/// Time for five new nodes to form a cluster that serves.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// From its start until a node answers as a member: it may have its log to apply again.
const RETURN_TIMEOUT: Duration = Duration::from_secs(30);
/// From the end of all work until all replicas are equal.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The nodes; killed when dropped.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    quintet: std::path::PathBuf,
}

impl Cluster {
    /// Writes the configurations of the scenario's nodes below a directory. None runs yet.
    pub(super) fn prepare(setup: &Setup, scenario: &Scenario) -> anyhow::Result<Cluster> {
        let places = &scenario.topology.nodes;
        let ports = ports::free(u16::try_from(2 * places.len())?)?;
        let at = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let place = |(node, ports): (&scenario::Node, &[u16])| Place {
            id: node.id,
            city: node.city.clone(),
            room: node.room.clone(),
            client: at(&ports[0]),
            internal: at(&ports[1]),
        };
        let places: Vec<Place> = places.iter().zip(ports.chunks_exact(2)).map(place).collect();
        let internals: Vec<_> = places.iter().map(|place| place.internal.to_string()).collect();
        let mut nodes = Vec::new();
        for place in places {
            let dir = setup.dir.join(format!("node-{}", place.id));
            std::fs::create_dir(&dir).with_context(|| format!("can't create {}", dir.display()))?;
            let path = dir.join("node.toml");
            let text = configuration(&place, &dir, &internals, scenario)?;
            std::fs::write(&path, text)
                .with_context(|| format!("can't write {}", path.display()))?;
            nodes.push(Node::new(place, setup.quintet.clone(), dir));
        }
        Ok(Cluster { nodes, quintet: setup.quintet.clone() })
    }

    /// Where clients connect, in the order of ids.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.place.client.to_string()).collect()
    }

    /// Starts all nodes and forms the cluster.
    pub(super) async fn form(&mut self, scenario: &Scenario) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.start()?;
        }
        for node in &mut self.nodes {
            let listens = node.answers(FORM_TIMEOUT, "listens", |_| true).await;
            listens.map_err(anyhow::Error::msg)?;
        }
        let client = Client::builder().nodes(self.addresses()).timeout(FORM_TIMEOUT);
        let client = client.connect().await.context("no node can be connected to")?;
        let request = v1::InitClusterRequest {
            nodes: u32::try_from(self.nodes.len())?,
            split_points: scenario.split_points.iter().map(|point| point.clone().into()).collect(),
            initial_ranges: u32::try_from(scenario.split_points.len())? + 1,
        };
        client.form_cluster(request).await.context("the cluster does not form")?;
        self.members(FORM_TIMEOUT).await.map_err(anyhow::Error::msg)
    }

    /// Waits until every node answers as a member of the cluster and knows who leads each range.
    pub(super) async fn members(&mut self, patience: Duration) -> Result<(), String> {
        for node in &mut self.nodes {
            node.answers(patience, "knows the leaders of all ranges", |status| {
                let led = status.ranges.iter().all(|range| range.leader_node != 0);
                status.initialized && !status.ranges.is_empty() && led
            })
            .await?;
        }
        Ok(())
    }

    /// Raft snapshots that nodes were sent.
    pub(super) fn snapshots(&self) -> usize {
        self.nodes.iter().map(Node::snapshots).sum()
    }

    fn node(&mut self, id: u64) -> anyhow::Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.place.id == id);
        node.with_context(|| format!("there is no node {id}"))
    }

    /// Does to its victims what a round says, and waits until every node is a member again.
    pub(super) async fn suffer(&mut self, round: &Round) -> Result<(), End> {
        match round.harm {
            Harm::Kill { again } => self.kill(round, again).await?,
            Harm::Stop => self.stop(round).await?,
        }
        for node in &mut self.nodes {
            let back = node.answers(RETURN_TIMEOUT, "came back", |status| status.initialized);
            back.await.map_err(End::Violation)?;
        }
        Ok(())
    }

    async fn kill(&mut self, round: &Round, again: Option<Duration>) -> Result<(), End> {
        for victim in &round.victims {
            let node = self.node(victim.node)?;
            node.must_run().map_err(End::Violation)?;
            node.signal(libc::SIGKILL);
        }
        let mut waited = Duration::ZERO;
        for victim in &round.victims {
            sleep(victim.down.saturating_sub(waited)).await;
            waited = waited.max(victim.down);
            let node = self.node(victim.node)?;
            node.collect_killed().await.map_err(End::Violation)?;
            node.start()?;
            let Some(again) = again else { continue };
            sleep(again).await;
            node.must_run().map_err(End::Violation)?;
            node.signal(libc::SIGKILL);
            node.collect_killed().await.map_err(End::Violation)?;
            node.start()?;
        }
        Ok(())
    }

    async fn stop(&mut self, round: &Round) -> Result<(), End> {
        for victim in &round.victims {
            let node = self.node(victim.node)?;
            node.must_run().map_err(End::Violation)?;
            node.signal(libc::SIGSTOP);
        }
        let mut waited = Duration::ZERO;
        for victim in &round.victims {
            sleep(victim.down.saturating_sub(waited)).await;
            waited = waited.max(victim.down);
            self.node(victim.node)?.signal(libc::SIGCONT);
        }
        Ok(())
    }

    /// Whether all replicas are equal once they stand at one applied index, as `quintet debug checksum`
    /// says, and nothing in a log tells of a panic.
    pub(super) async fn equal(&mut self, ranges: usize) -> Result<(), End> {
        let output = self.checksum().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let failure = || {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            End::Violation(format!("replicas are not equal ({}): {error}\n{said}", output.status))
        };
        if !output.status.success() {
            return Err(failure());
        }
        let sums: Value = serde_json::from_str(&said)
            .with_context(|| format!("`quintet debug checksum` printed {said:?}"))?;
        let rows = sums["replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let equal = rows.iter().filter(|row| row["equal"] == Value::Bool(true)).count();
        let wanted = ranges * self.nodes.len();
        if rows.len() != wanted || equal != wanted {
            return Err(failure());
        }
        for node in &mut self.nodes {
            node.must_run().map_err(End::Violation)?;
            if let Some(panicked) = node.panicked() {
                return Err(End::Violation(panicked));
            }
        }
        Ok(())
    }

    async fn checksum(&self) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::new(&self.quintet);
        command.args(["debug", "checksum", "--output", "json", "--timeout"]);
        command.arg(EQUAL_TIMEOUT.as_secs().to_string());
        command.args(["--node", &self.addresses().join(",")]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let program = self.quintet.display();
        command.output().await.with_context(|| format!("can't run {program} debug checksum"))
    }
}

/// A node's `node.toml`.
fn configuration(
    place: &Place,
    dir: &Path,
    internals: &[String],
    scenario: &Scenario,
) -> anyhow::Result<String> {
    let data = dir.join("data");
    let data = data.to_str();
    ensure!(data.is_some(), "{} is not UTF-8: name another directory with --dir", dir.display());
    let own = place.internal.to_string();
    let seeds: Vec<_> = internals.iter().filter(|seed| **seed != own).collect();
    let locality = format!("city={},room={}", place.city, place.room);
    let config = serde_json::json!({
        // All nodes share one machine.
        "worker_threads": 1,
        "seeds": seeds,
        "node": { "id": place.id, "data_dir": data, "locality": locality },
        "listen": { "client": place.client, "internal": place.internal, "http": "off" },
        "raft": { "log_retention_mb": f64::from(scenario.raft.log_retention_kb) / 1024.0 },
        "storage": { "block_cache_mb": 16 },
    });
    toml::to_string(&config).context("can't write a configuration")
}
