//! What is around the clients: links, disks, clocks and the settings of nodes.
//!
//! One struct a section of the file, each with the defaults that hold where the section leaves a field out.

use serde::Deserialize;

use super::{
    error::{ScenarioError, ensure, range},
    topology::Topology,
};

/// How frames travel between two nodes, or a client and a node. Nothing is faster than a millisecond:
/// that is what the simulated timers can do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Least time a frame takes one way, in microseconds, where the tables below do not say.
    pub latency_min_us: u64,
    /// Most time a frame takes one way.
    pub latency_max_us: u64,
    /// Between machines of one room.
    pub same_room: Option<Latency>,
    /// Between two rooms of one city.
    pub same_city: Option<Latency>,
    /// Between two cities.
    pub other_city: Option<Latency>,
    /// Share of frames that are lost and sent again after 200 ms or more, 0 to 0.5.
    pub loss: f64,
    /// Share of lost frames at which the stream breaks instead, 0 to 1.
    pub breaks: f64,
    /// What each direction between two machines carries, in megabits a second.
    pub bandwidth_mbit_s: u64,
    /// Rooms that the clients are in, one after the other. Default: all rooms.
    pub client_rooms: Vec<String>,
}

/// Least and most time one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Least, in microseconds.
    pub latency_min_us: u64,
    /// Most, in microseconds.
    pub latency_max_us: u64,
}

impl Network {
    /// What holds where no table says otherwise.
    pub fn latency(&self) -> Latency {
        let Network { latency_min_us, latency_max_us, .. } = *self;
        Latency { latency_min_us, latency_max_us }
    }

    /// The node near which a client is, by the client's number: rooms in turn, and in each its nodes.
    pub fn client_node(&self, client: u64, topology: &Topology) -> u64 {
        let mut rooms = self.client_rooms.clone();
        if rooms.is_empty() {
            for node in &topology.nodes {
                if !rooms.contains(&node.room) {
                    rooms.push(node.room.clone());
                }
            }
        }
        let many = rooms.len().max(1) as u64;
        let room = usize::try_from(client % many).ok().and_then(|at| rooms.get(at));
        let nodes = room.map(|room| topology.in_room(room)).unwrap_or_default();
        let many_nodes = nodes.len().max(1) as u64;
        let at = usize::try_from(client / many % many_nodes).unwrap_or(0);
        nodes.get(at).copied().unwrap_or_default()
    }

    pub(super) fn validate(&self, topology: &Topology) -> Result<(), ScenarioError> {
        let tables = [
            ("network.same_room.latency", self.same_room),
            ("network.same_city.latency", self.same_city),
            ("network.other_city.latency", self.other_city),
        ];
        for (name, latency) in tables.into_iter().chain([("network.latency", Some(self.latency()))])
        {
            let Some(Latency { latency_min_us, latency_max_us }) = latency else { continue };
            range(name, latency_min_us, latency_max_us, "us")?;
            let says = "is more than a minute, 60000000";
            ensure(latency_max_us <= 60_000_000, format!("{name}_max_us"), says)?;
        }
        ensure((0.0..=0.5).contains(&self.loss), "network.loss", "must be 0 to 0.5")?;
        ensure((0.0..=1.0).contains(&self.breaks), "network.breaks", "must be 0 to 1")?;
        ensure(
            (1..=1_000_000).contains(&self.bandwidth_mbit_s),
            "network.bandwidth_mbit_s",
            "must be 1 to 1000000",
        )?;
        let stranger = self.client_rooms.iter().find(|room| topology.in_room(room).is_empty());
        let says = format!("no node of the topology is in {stranger:?}");
        ensure(stranger.is_none(), "network.client_rooms", says)
    }
}

/// The disk of every node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Least time of a sync, in microseconds.
    pub sync_min_us: u64,
    /// Most time of a sync, in microseconds.
    pub sync_max_us: u64,
    /// May a crash keep a part of what was written and not synced, cut anywhere? Otherwise all of
    /// it is lost.
    pub tear: bool,
}

/// The clock of every node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// A node's wall clock is off by up to this much, either way, in milliseconds.
    pub offset_ms_max: u64,
    /// Its clocks, the wall clock and the one that timers go by, run at a rate that differs from an
    /// ideal one by up to this share, either way: 0.2 is 0.8 to 1.2 seconds a second.
    pub rate_share_max: f64,
}

/// How long every node remembers, as in its configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// `limits.dedup_window_s`.
    pub dedup_window_s: u32,
    /// `limits.version_retention_s`.
    pub version_retention_s: u32,
}

/// Settings of the nodes that decide who is sent a raft snapshot. The defaults are the product's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    /// Kibibytes of entries that a range keeps for replicas that lag.
    pub log_retention_kb: u32,
    /// Mebibytes a second that a node sends of raft snapshots; a slow one sends small chunks, so that
    /// the small states of a run are many.
    pub snapshot_mb_per_s: u32,
}

/// Settings of the nodes that bound requests and their answers. The defaults are the product's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests that a node has accepted and not answered.
    pub requests_in_flight_max: u32,
    /// Least records of a page of a scan: how many is drawn for each run.
    pub scan_page_records_min: u32,
    /// Most records of a page of a scan.
    pub scan_page_records_max: u32,
    /// How large steps, pages, rounds and caches are.
    pub sizes: Sizes,
}

/// How large the product's steps, pages, rounds and caches are (`server/src/size.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sizes {
    /// Drawn for each run, in three of four: so small that there is a second step.
    #[default]
    Drawn,
    /// As in production.
    Usual,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            latency_min_us: 200,
            latency_max_us: 2_000,
            same_room: None,
            same_city: None,
            other_city: None,
            loss: 0.0,
            breaks: 0.05,
            bandwidth_mbit_s: 1_000,
            client_rooms: Vec::new(),
        }
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { sync_min_us: 100, sync_max_us: 2_000, tear: true }
    }
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks { offset_ms_max: 100, rate_share_max: 0.0 }
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { dedup_window_s: 600, version_retention_s: 600 }
    }
}

impl Default for Raft {
    fn default() -> Raft {
        Raft { log_retention_kb: 4 * 1024, snapshot_mb_per_s: 64 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_in_flight_max: 8_192,
            scan_page_records_min: 1_000,
            scan_page_records_max: 1_000,
            sizes: Sizes::default(),
        }
    }
}
