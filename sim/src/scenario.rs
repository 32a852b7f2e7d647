//! Scenario files: which cluster, which work, which faults, and what must come of it.
//!
//! A scenario is a TOML file that users can write for their own topology. Every section but
//! `name`, `description`, `duration_s` and `workload` may be left out; unknown fields are errors.
//!
//! ```toml
//! name = "node-kill"
//! description = "Shows that …"
//! duration_s = 30
//!
//! [workload]
//! clients = 8
//! keys = 10
//! think_time_ms_max = 50
//! operation_timeout_ms = 3000
//! mix = { get = 4, put = 3, insert = 1 }
//!
//! [[faults]]
//! kind = "node-kill"
//! every_s_min = 2
//! every_s_max = 5
//! down_s_min = 0.5
//! down_s_max = 3
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not a scenario's; the text names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A field has a value that makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// Path of the field, such as `network.latency_max_us`.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

/// One scenario file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name, as the file is called: lower-case letters, digits and `-`.
    pub name: String,
    /// What the scenario shows, in a sentence.
    pub description: String,
    /// How long faults and work go on, in simulated seconds; healing and judging come on top.
    pub duration_s: u64,
    /// Which nodes there are, and where. Default: five in three rooms of two cities, 2-2-1.
    #[serde(default)]
    pub topology: Topology,
    /// Keys at which one range ends and the next begins. Default: seven, that divide the keys of the
    /// workload into eight ranges; with the system range that is nine.
    #[serde(default = "split_points_default")]
    pub split_points: Vec<String>,
    /// How messages travel.
    #[serde(default)]
    pub network: Network,
    /// How long a sync takes, and what a crash leaves.
    #[serde(default)]
    pub disk: Disk,
    /// How wrong the nodes' clocks are.
    #[serde(default)]
    pub clocks: Clocks,
    /// How long nodes remember.
    #[serde(default)]
    pub memory: Memory,
    /// What ranges keep of their logs, and how fast raft snapshots go.
    #[serde(default)]
    pub raft: Raft,
    /// What nodes take on.
    #[serde(default)]
    pub limits: Limits,
    /// What the clients do.
    pub workload: Workload,
    /// What goes wrong, each kind by itself and at its own times. Default: nothing.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What a run must have exercised to count as one.
    #[serde(default)]
    pub expect: Expect,
}

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// All nodes; at most [`NODES_MAX`].
    pub nodes: Vec<Node>,
}

/// One node and its locality.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Id, from 1, no two alike.
    pub id: u64,
    /// City: rooms of one city are near each other.
    pub city: String,
    /// Room: what fails together. A room lies in one city.
    pub room: String,
}

/// Latency and loss of every message between two nodes or a client and a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Least time a message takes, in microseconds.
    pub latency_min_us: u64,
    /// Most time a message takes, in microseconds.
    pub latency_max_us: u64,
    /// Share of packets lost, 0 to 0.5.
    pub loss: f64,
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

/// Settings of the nodes that decide when requests are refused as overloaded. The defaults are the
/// product's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests that a node has accepted and not answered.
    pub requests_in_flight_max: u32,
}

/// What the clients do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Clients, each doing one operation after the other.
    pub clients: u64,
    /// Keys that get, put, cas and delete share. Fewer keys, more contention. Increments go to as
    /// many counters of their own; inserts make a new key each.
    pub keys: u64,
    /// How often each operation is chosen.
    pub mix: Mix,
    /// A client waits up to this long between two operations, in milliseconds.
    pub think_time_ms_max: u64,
    /// Deadline of an operation, in milliseconds; after it the outcome is unknown.
    pub operation_timeout_ms: u64,
    /// Least time after which a key expires that is told to, in milliseconds.
    #[serde(default = "ttl_ms_min")]
    pub ttl_ms_min: u64,
    /// Most time. Short ones are drawn more often.
    #[serde(default = "ttl_ms_max")]
    pub ttl_ms_max: u64,
}

fn ttl_ms_min() -> u64 {
    50
}

fn ttl_ms_max() -> u64 {
    8_000
}

/// Relative weights of the operations; 0, the default, means never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Read a key.
    pub get: u32,
    /// Write a key unconditionally.
    pub put: u32,
    /// Write a key on the version last seen, or on absence.
    pub cas: u32,
    /// Remove a key.
    pub delete: u32,
    /// Add to a counter.
    pub increment: u32,
    /// Put a key that nobody else writes: the acknowledged set.
    pub insert: u32,
    /// Read all keys of the acknowledged set, over all ranges that hold some.
    pub scan: u32,
    /// Put a key that expires; these keys are others than those of `put`.
    pub put_ttl: u32,
    /// Put such a key on the version last seen, or on absence.
    pub cas_ttl: u32,
    /// Read such a key.
    pub get_ttl: u32,
    /// Write several keys at once, by the client library's batch writer: those of `put`, new ones of
    /// `insert` where that is in the mix, and those of `put_ttl` where something that expires is.
    pub batch: u32,
}

/// Something that goes wrong again and again. The time between two, and how long each lasts, are
/// drawn evenly between the bounds, in simulated seconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// One node, chosen at random, is killed at once and started again later. What it had not
    /// synced is lost.
    NodeKill {
        /// Least time from one kill to the next.
        every_s_min: f64,
        /// Most time from one kill to the next.
        every_s_max: f64,
        /// Least time that the node is down.
        down_s_min: f64,
        /// Most time that the node is down.
        down_s_max: f64,
    },
    /// All nodes lose power at the same moment and come back, each after a time of its own. What
    /// they had not synced is lost.
    PowerLoss {
        /// Least time from one loss to the next.
        every_s_min: f64,
        /// Most time from one loss to the next.
        every_s_max: f64,
        /// Least time that a node is down.
        down_s_min: f64,
        /// Most time that a node is down.
        down_s_max: f64,
    },
    /// All nodes of the room that leaders prefer, the first of the city with most nodes, are killed at
    /// once and started again together. What they had not synced is lost.
    RoomLoss {
        /// Least time from one to the next.
        every_s_min: f64,
        /// Most time from one to the next.
        every_s_max: f64,
        /// Least time that it lasts.
        down_s_min: f64,
        /// Most time that it lasts.
        down_s_max: f64,
    },
    /// One node, chosen at random, is drained of its leaders, and later they may come back.
    Drain {
        /// Least time from one to the next.
        every_s_min: f64,
        /// Most time from one to the next.
        every_s_max: f64,
        /// Least time that it lasts.
        down_s_min: f64,
        /// Most time that it lasts.
        down_s_max: f64,
    },
    /// One node forgets which range holds which keys and takes an old state for true: one range, chosen
    /// at random, holding all data.
    StaleRoutes {
        /// Least time from one to the next.
        every_s_min: f64,
        /// Most time from one to the next.
        every_s_max: f64,
    },
    /// One node, chosen at random, is killed and stays away for long, twice in a row. Where it is seen
    /// to install a raft snapshot after the first time it is killed once more in the middle of that,
    /// three times of four.
    LongOutage {
        /// Least time from the end of one to the next.
        every_s_min: f64,
        /// Most time from the end of one to the next.
        every_s_max: f64,
        /// Least time that the node is away, each time.
        down_s_min: f64,
        /// Most time that the node is away, each time.
        down_s_max: f64,
    },
    /// One node loses its disk, comes back with an empty one and is replaced, as an operator does it: by
    /// calls to nodes chosen at random, until all is done. Every second time two others were away before
    /// and come back with it, while the last two go: what was acknowledged is on those, and on the lost
    /// disk.
    DiskLoss {
        /// Least time from the end of one to the next.
        every_s_min: f64,
        /// Most time from the end of one to the next.
        every_s_max: f64,
        /// Least time that nodes are away.
        down_s_min: f64,
        /// Most time that nodes are away.
        down_s_max: f64,
    },
    /// The node that leads the first range of data is cut off from all others and from the clients,
    /// while it goes on; later the cut is mended.
    LeaderCut {
        /// Least time from one cut to the next.
        every_s_min: f64,
        /// Most time from one cut to the next.
        every_s_max: f64,
        /// Least time that the cut lasts.
        down_s_min: f64,
        /// Most time that the cut lasts.
        down_s_max: f64,
    },
}

fn split_points_default() -> Vec<String> {
    let points =
        ["counter/2", "counter/4", "key/0", "key/2", "key/4", "set/00000020", "set/00000100"];
    points.map(str::to_owned).to_vec()
}

/// What a run must have done: one that exercised nothing has shown nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// At least so many acknowledged writes.
    pub commits_min: u64,
    /// At least so many leaders elected.
    pub elections_min: u64,
    /// At least so many raft snapshots installed. One whose node is killed as it ends is not counted.
    pub snapshots_min: u64,
    /// At least so many nodes replaced that had lost their disks.
    pub replacements_min: u64,
    /// At least so many requests refused as overloaded.
    pub refusals_min: u64,
}

/// More nodes than this are not simulated.
pub const NODES_MAX: usize = 64;
/// More clients than this are not simulated.
pub const CLIENTS_MAX: u64 = 1_000;
/// A run is at most so long, in simulated seconds.
pub const DURATION_S_MAX: u64 = 24 * 3600;

impl Default for Topology {
    fn default() -> Topology {
        let node = |id, city: &str, room: &str| Node { id, city: city.into(), room: room.into() };
        Topology {
            nodes: vec![
                node(1, "c1", "A"),
                node(2, "c1", "A"),
                node(3, "c1", "B"),
                node(4, "c1", "B"),
                node(5, "c2", "C"),
            ],
        }
    }
}

impl Default for Network {
    fn default() -> Network {
        Network { latency_min_us: 200, latency_max_us: 2_000, loss: 0.0 }
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk { sync_min_us: 100, sync_max_us: 2_000, tear: true }
    }
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks { offset_ms_max: 100 }
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
        Limits { requests_in_flight_max: 8_192 }
    }
}

impl Mix {
    /// All weights together.
    pub fn total(&self) -> u64 {
        let Mix { get, put, cas, delete, increment, insert, scan, batch, .. } = *self;
        let lasting = [get, put, cas, delete, increment, insert, scan, batch];
        lasting.into_iter().map(u64::from).sum::<u64>() + self.expiring()
    }

    /// The weights of operations on keys that expire.
    pub fn expiring(&self) -> u64 {
        [self.put_ttl, self.cas_ttl, self.get_ttl].into_iter().map(u64::from).sum()
    }
}

impl Fault {
    /// The kind, as the file spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::NodeKill { .. } => "node-kill",
            Fault::PowerLoss { .. } => "power-loss",
            Fault::LeaderCut { .. } => "leader-cut",
            Fault::StaleRoutes { .. } => "stale-routes",
            Fault::RoomLoss { .. } => "room-loss",
            Fault::Drain { .. } => "drain",
            Fault::LongOutage { .. } => "long-outage",
            Fault::DiskLoss { .. } => "disk-loss",
        }
    }

    /// Least and most time from one to the next, in seconds.
    pub fn every_s(&self) -> (f64, f64) {
        match self {
            Fault::NodeKill { every_s_min, every_s_max, .. }
            | Fault::PowerLoss { every_s_min, every_s_max, .. }
            | Fault::LeaderCut { every_s_min, every_s_max, .. }
            | Fault::RoomLoss { every_s_min, every_s_max, .. }
            | Fault::Drain { every_s_min, every_s_max, .. }
            | Fault::LongOutage { every_s_min, every_s_max, .. }
            | Fault::DiskLoss { every_s_min, every_s_max, .. }
            | Fault::StaleRoutes { every_s_min, every_s_max } => (*every_s_min, *every_s_max),
        }
    }

    /// Least and most time that it lasts, in seconds; as good as none for what happens at once.
    pub fn down_s(&self) -> (f64, f64) {
        match self {
            Fault::StaleRoutes { .. } => (f64::MIN_POSITIVE, f64::MIN_POSITIVE),
            Fault::NodeKill { down_s_min, down_s_max, .. }
            | Fault::PowerLoss { down_s_min, down_s_max, .. }
            | Fault::RoomLoss { down_s_min, down_s_max, .. }
            | Fault::Drain { down_s_min, down_s_max, .. }
            | Fault::LongOutage { down_s_min, down_s_max, .. }
            | Fault::DiskLoss { down_s_min, down_s_max, .. }
            | Fault::LeaderCut { down_s_min, down_s_max, .. } => (*down_s_min, *down_s_max),
        }
    }
}

impl Scenario {
    /// Reads and validates a scenario.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)?;
        scenario.validate()?;
        Ok(scenario)
    }

    fn validate(&self) -> Result<(), ScenarioError> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure(
            !self.name.is_empty() && self.name.chars().all(is_name),
            "name",
            "must be of lower-case letters, digits and `-`",
        )?;
        ensure(!self.description.trim().is_empty(), "description", "must say what it shows")?;
        ensure(
            (1..=DURATION_S_MAX).contains(&self.duration_s),
            "duration_s",
            format!("must be 1 to {DURATION_S_MAX}"),
        )?;
        self.topology.validate()?;
        let rise = self.split_points.windows(2).all(|pair| pair[0] < pair[1]);
        let filled = self.split_points.iter().all(|point| !point.is_empty());
        ensure(rise && filled, "split_points", "must be keys in rising order")?;
        range("network.latency", self.network.latency_min_us, self.network.latency_max_us, "us")?;
        ensure((0.0..=0.5).contains(&self.network.loss), "network.loss", "must be 0 to 0.5")?;
        range("disk.sync", self.disk.sync_min_us, self.disk.sync_max_us, "us")?;
        ensure(self.raft.log_retention_kb >= 16, "raft.log_retention_kb", "must be at least 16")?;
        self.workload.validate()?;
        for (position, fault) in self.faults.iter().enumerate() {
            let field = format!("faults[{position}] ({})", fault.kind());
            for (name, (min, max)) in [("every_s", fault.every_s()), ("down_s", fault.down_s())] {
                ensure(
                    min.is_finite() && max.is_finite() && min > 0.0 && min <= max,
                    format!("{field}.{name}_min"),
                    format!("must be above 0 and not above {name}_max, is {min} with {max}"),
                )?;
            }
            ensure(
                fault.every_s().0 <= self.duration_s as f64,
                format!("{field}.every_s_min"),
                "is longer than the scenario: it would never happen",
            )?;
        }
        Ok(())
    }
}

impl Topology {
    fn validate(&self) -> Result<(), ScenarioError> {
        ensure(
            (1..=NODES_MAX).contains(&self.nodes.len()),
            "topology.nodes",
            format!("must be 1 to {NODES_MAX} nodes"),
        )?;
        let mut ids = BTreeSet::new();
        for Node { id, city, room } in &self.nodes {
            ensure(*id > 0, "topology.nodes", "ids begin with 1")?;
            ensure(ids.insert(id), "topology.nodes", format!("id {id} is given twice"))?;
            ensure(
                !city.is_empty() && !room.is_empty(),
                "topology.nodes",
                format!("node {id} needs a city and a room"),
            )?;
            let elsewhere = self.nodes.iter().find(|n| n.room == *room && n.city != *city);
            ensure(
                elsewhere.is_none(),
                "topology.nodes",
                format!("room {room:?} of node {id} lies in two cities"),
            )?;
        }
        Ok(())
    }
}

impl Workload {
    fn validate(&self) -> Result<(), ScenarioError> {
        ensure(
            (1..=CLIENTS_MAX).contains(&self.clients),
            "workload.clients",
            format!("must be 1 to {CLIENTS_MAX}"),
        )?;
        ensure(self.keys > 0, "workload.keys", "must be at least 1")?;
        ensure(self.mix.total() > 0, "workload.mix", "needs a weight above 0")?;
        ensure(
            self.operation_timeout_ms > 0,
            "workload.operation_timeout_ms",
            "must be at least 1",
        )?;
        ensure(self.ttl_ms_min > 0, "workload.ttl_ms_min", "must be at least 1")?;
        range("workload.ttl", self.ttl_ms_min, self.ttl_ms_max, "ms")
    }
}

fn ensure(
    holds: bool,
    field: impl Into<String>,
    reason: impl Into<String>,
) -> Result<(), ScenarioError> {
    if holds {
        return Ok(());
    }
    Err(ScenarioError::Invalid { field: field.into(), reason: reason.into() })
}

fn range(name: &str, min: u64, max: u64, unit: &str) -> Result<(), ScenarioError> {
    ensure(
        min <= max,
        format!("{name}_min_{unit}"),
        format!("is {min}, above {name}_max_{unit}, {max}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
name = "least"
description = "Shows the defaults."
duration_s = 10

[workload]
clients = 2
keys = 3
mix = { get = 1 }
think_time_ms_max = 0
operation_timeout_ms = 1000
"#;

    #[test]
    fn sections_have_defaults() {
        let scenario = Scenario::parse(LEAST).unwrap();
        let rooms: Vec<&str> = scenario.topology.nodes.iter().map(|n| n.room.as_str()).collect();
        assert_eq!(rooms, ["A", "A", "B", "B", "C"]);
        assert_eq!(scenario.topology.nodes[4].city, "c2");
        assert_eq!((scenario.faults.len(), scenario.expect.commits_min), (0, 0));
        assert_eq!(scenario.workload.mix.total(), 1);
    }

    #[test]
    fn errors_say_where() {
        let kill = "[[faults]]\nkind = \"node-kill\"\nevery_s_min = 1\nevery_s_max = 2\n";
        let cases = [
            (LEAST.replace("keys = 3", "keys = \"x\""), "line 8"),
            (LEAST.replace("keys = 3", "kyes = 3"), "line 8"),
            (LEAST.replace("get = 1", "gte = 1"), "line 9"),
            (format!("{LEAST}{kill}down_s_min = 1\n"), "down_s_max"),
            (
                format!("{LEAST}{kill}down_s_min = 1\ndown_s_max = 2\nup = 1\n"),
                "unknown field `up`",
            ),
            (
                format!("{LEAST}{kill}down_s_min = 3\ndown_s_max = 2\n"),
                "faults[0] (node-kill).down_s_min",
            ),
            (format!("{LEAST}[[faults]]\nkind = \"flood\"\n"), "flood"),
            (LEAST.replace("get = 1", "get = 0"), "workload.mix"),
            (LEAST.replace("clients = 2", "clients = 0"), "workload.clients"),
            (LEAST.replace("duration_s = 10", "duration_s = 0"), "duration_s"),
            (format!("{LEAST}[network]\nloss = 0.9\n"), "network.loss"),
            (format!("{LEAST}[disk]\nsync_min_us = 9\nsync_max_us = 8\n"), "disk.sync_min_us"),
            (
                format!(
                    "{LEAST}[topology]\nnodes = [{{ id = 1, city = \"c\", room = \"r\" }}, {{ id = 1, city = \"c\", room = \"r\" }}]\n"
                ),
                "id 1 is given twice",
            ),
            (
                format!(
                    "{LEAST}[topology]\nnodes = [{{ id = 1, city = \"c\", room = \"r\" }}, {{ id = 2, city = \"d\", room = \"r\" }}]\n"
                ),
                "two cities",
            ),
        ];
        for (text, expect) in cases {
            let error = Scenario::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error:?} does not say {expect:?}");
        }
    }

    #[test]
    fn shipped_scenarios_are_valid() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut names = Vec::new();
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(path.file_stem().unwrap().to_str(), Some(scenario.name.as_str()));
            names.push(scenario.name);
        }
        for name in ["steady", "node-kill", "power-loss"] {
            assert!(names.iter().any(|n| n == name), "{name} is missing");
        }
    }
}
