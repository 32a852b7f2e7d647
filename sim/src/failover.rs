//! How long ranges take no writes when their leaders' room, or node, is lost: measured on real processes.
//!
//! Five nodes run on this machine, with what lies between rooms and cities put between them by relays
//! ([`relay`]). Writers put keys of every range all the time ([`writers`]). A round kills all processes of a
//! room, or one node, at a moment of its own; the *gap* of a range that was led there is the time between the
//! last write that was acknowledged before and the next one. Then the killed nodes are started again, and the
//! next round begins once every leader is at home.
//!
//! ```text
//!   node 1 ──┐                        ┌── node 3        relay: half of the round trip each way,
//!   node 2 ──┴── relay of node 3 ─────┘                 by who dials; refuses as long as 3 is dead
//! ```
//!
//! What is killed is processes: their connections are closed and new ones refused, as after a crash, and unlike
//! after a loss of power, where all is silent and ranges wait for the election timeout. Refusals take no time
//! here, where in reality they take a round trip. Clients reach all nodes without a delay.
//!
//! Invariants: nothing but 127.0.0.1 is listened on; every process that was started is ended, also on an error
//! and on Ctrl-C (`crashtest/node.rs`).

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use quintet_client::{Client, v1};

use rand::RngExt;
use tokio::time::{Instant, sleep};

use self::{relay::Relays, writers::Writers};
use crate::{
    crashtest::node::{Node, Place},
    ports,
};

pub mod command;
mod relay;
mod writers;

/// Ranges of data.
const RANGES: u32 = 8;
/// Time for five new nodes to form a cluster that serves.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// From the start of the killed nodes until all leaders are at home.
const HOME_TIMEOUT: Duration = Duration::from_secs(120);
/// From a loss until every range takes writes.
const GAP_MAX: Duration = Duration::from_secs(30);
/// The loss comes at some moment of this, once all is well.
const MOMENT_MS: std::ops::Range<u64> = 1_000..2_000;
/// How long writes must flow before a loss: the gap begins at the last of them.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What is lost in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All nodes of a room.
    Room(String),
    /// One node.
    Node(u64),
}

/// As in `loss of room a`.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Room(room) => write!(f, "room {room}"),
            Loss::Node(id) => write!(f, "node {id}"),
        }
    }
}

/// What is run.
pub struct Setup {
    /// The program `quintet`.
    pub quintet: PathBuf,
    /// An empty directory.
    pub dir: PathBuf,
    /// What is lost, in turns.
    pub losses: Vec<Loss>,
    /// How many rounds.
    pub times: u64,
    /// Round trips between rooms of a city, and between cities.
    pub round_trips: relay::RoundTrips,
}

/// What a round has shown: for how long each range that was led there took no write.
#[derive(Clone, Debug)]
pub struct Round {
    /// What was lost.
    pub loss: Loss,
    /// By range of data, from 1.
    pub gaps: BTreeMap<u32, Duration>,
}

struct Cluster {
    nodes: Vec<Node>,
    relays: Relays,
    client: Client,
}

/// Runs it; `shown` is given each round as soon as it is over.
pub async fn run(setup: &Setup, mut shown: impl FnMut(&Round)) -> anyhow::Result<Vec<Round>> {
    let mut cluster = Cluster::form(setup).await?;
    let writers = Writers::start(cluster.addresses(), RANGES).await?;
    let mut rounds = Vec::new();
    for number in 0..setup.times {
        cluster.at_home().await?;
        let turn = usize::try_from(number)? % setup.losses.len().max(1);
        let loss = setup.losses.get(turn).context("nothing is to be lost")?.clone();
        let gaps = cluster.lose(&loss, &writers).await?;
        let round = Round { loss, gaps };
        shown(&round);
        rounds.push(round);
    }
    Ok(rounds)
}

impl Cluster {
    async fn form(setup: &Setup) -> anyhow::Result<Cluster> {
        let places = [("c1", "a"), ("c1", "a"), ("c1", "b"), ("c1", "b"), ("c2", "c")];
        let ports = ports::free(u16::try_from(3 * places.len())?)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut nodes = Vec::new();
        let mut relays = Relays::new(setup.round_trips);
        let advertised: Vec<_> =
            ports.chunks_exact(3).map(|ports| at(ports[2]).to_string()).collect();
        for ((id, (city, room)), ports) in (1..).zip(places).zip(ports.chunks_exact(3)) {
            let place = Place {
                id,
                city: city.to_owned(),
                room: room.to_owned(),
                client: at(ports[0]),
                internal: at(ports[1]),
            };
            relays.add(&place, at(ports[2]));
            let dir = setup.dir.join(format!("node-{id}"));
            std::fs::create_dir(&dir).with_context(|| format!("can't create {}", dir.display()))?;
            let text = configuration(&place, &dir, &advertised)?;
            let path = dir.join("node.toml");
            std::fs::write(&path, text)
                .with_context(|| format!("can't write {}", path.display()))?;
            nodes.push(Node::new(place, setup.quintet.clone(), dir));
        }
        let mut started = Vec::new();
        for mut node in nodes {
            relays.listen(node.place.id)?;
            node.start()?;
            relays.runs(node.place.id, node.pid().context("a node has ended")?);
            started.push(node);
        }
        for node in &mut started {
            let listens = node.answers(FORM_TIMEOUT, "listens", |_| true).await;
            listens.map_err(anyhow::Error::msg)?;
        }
        let addresses = started.iter().map(|node| node.place.client.to_string());
        let client = Client::builder().nodes(addresses).timeout(FORM_TIMEOUT);
        let client = client.connect().await.context("no node can be connected to")?;
        let request = v1::InitClusterRequest {
            nodes: u32::try_from(places.len())?,
            split_points: (2..=RANGES).map(|range| writers::prefix(range).into()).collect(),
            initial_ranges: RANGES,
        };
        client.form_cluster(request).await.context("the cluster does not form")?;
        Ok(Cluster { nodes: started, relays, client })
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.place.client.to_string()).collect()
    }

    /// Waits until every node is a member again and every leader is where it belongs.
    async fn at_home(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + HOME_TIMEOUT;
        loop {
            let why = match self.away().await {
                None => return Ok(()),
                Some(why) => why,
            };
            ensure!(
                Instant::now() < until,
                "not all leaders are at home for {HOME_TIMEOUT:?}: {why}"
            );
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Why not all is well.
    async fn away(&mut self) -> Option<String> {
        for node in &mut self.nodes {
            if let Err(why) = node.must_run() {
                return Some(why);
            }
        }
        let status = match self.client.status().await {
            Ok(status) => status,
            Err(error) => return Some(error.to_string()),
        };
        let down = status.nodes.iter().find(|node| !node.live);
        if let Some(down) = down {
            return Some(format!("node {} is down", down.id));
        }
        let away = status.ranges.iter().find(|range| !range.leader_reason.starts_with("at home"));
        let away = away.map(|range| format!("range {}: {}", range.id, range.leader_reason));
        away.or_else(|| status.ranges.is_empty().then(|| "there are no ranges".to_owned()))
    }

    /// Kills what is to be lost, waits until every range takes writes, and starts it again.
    async fn lose(
        &mut self,
        loss: &Loss,
        writers: &Writers,
    ) -> anyhow::Result<BTreeMap<u32, Duration>> {
        sleep(Duration::from_millis(rand::rng().random_range(MOMENT_MS))).await;
        let lost: Vec<u64> = self
            .nodes
            .iter()
            .filter(|node| is_lost(&node.place, loss))
            .map(|node| node.place.id)
            .collect();
        ensure!(!lost.is_empty(), "there is no {}", loss);
        let led_there = self.led_by(&lost).await?;
        ensure!(!led_there.is_empty(), "no range of data is led by nodes {lost:?}");
        for id in &lost {
            self.relays.close(*id);
        }
        let at = Instant::now();
        for node in self.nodes.iter().filter(|node| lost.contains(&node.place.id)) {
            node.signal(libc::SIGKILL);
        }
        let gaps = writers.gaps(&led_there, at, GAP_MAX).await?;
        for node in self.nodes.iter_mut().filter(|node| lost.contains(&node.place.id)) {
            node.collect_killed().await.map_err(anyhow::Error::msg)?;
            self.relays.listen(node.place.id)?;
            node.start()?;
            self.relays.runs(node.place.id, node.pid().context("a node has ended")?);
        }
        Ok(gaps)
    }

    /// The ranges of data, from 1, that are led by some nodes.
    async fn led_by(&self, nodes: &[u64]) -> anyhow::Result<Vec<u32>> {
        let status = self.client.status().await.map_err(|error| anyhow!("no status: {error}"))?;
        let led = status.ranges.iter().filter(|range| nodes.contains(&range.leader_node));
        // Range 1 is the system range.
        let data = led.filter_map(|range| u32::try_from(range.id).ok()?.checked_sub(1));
        Ok(data.filter(|range| *range > 0).collect())
    }
}

fn is_lost(place: &Place, loss: &Loss) -> bool {
    match loss {
        Loss::Room(room) => place.room == *room,
        Loss::Node(id) => place.id == *id,
    }
}

/// A node's `node.toml`: others reach it by its relay.
fn configuration(place: &Place, dir: &Path, advertised: &[String]) -> anyhow::Result<String> {
    let data = dir.join("data");
    let data = data.to_str().with_context(|| format!("{} is not UTF-8", dir.display()))?;
    let own = usize::try_from(place.id - 1)?;
    let internal = advertised.get(own).context("a node without a relay")?;
    let seeds: Vec<_> = advertised.iter().filter(|seed| *seed != internal).collect();
    let config = serde_json::json!({
        // All nodes share one machine.
        "worker_threads": 1,
        "seeds": seeds,
        "node": {
            "id": place.id,
            "data_dir": data,
            "locality": format!("city={},room={}", place.city, place.room),
        },
        "listen": { "client": place.client, "internal": place.internal, "http": "off" },
        "advertise": { "internal": internal },
        "storage": { "block_cache_mb": 16 },
    });
    toml::to_string(&config).context("can't write a configuration")
}
