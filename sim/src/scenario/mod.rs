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

mod error;
mod expect;
mod fault;
mod place;
pub mod points;
mod topology;
mod world;

use serde::Deserialize;

use self::error::{ensure, range, share};
pub use self::{
    error::ScenarioError,
    expect::Expect,
    fault::{Fault, Field, Kind, Links, Who},
    topology::{NODES_MAX, Node, Topology},
    world::{Clocks, Disk, Latency, Limits, Memory, Network, Raft, Sizes},
};
use crate::workload::{self, Section};

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
    /// The section `[workload]`, as it is in the file.
    #[serde(rename = "workload")]
    work: toml::Table,
    /// What the clients do, by that section.
    #[serde(skip)]
    pub workload: Section,
    /// What goes wrong, each fault by itself and at its own times. Default: nothing.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What a run must have exercised to count as one.
    #[serde(default)]
    pub expect: Expect,
}

fn split_points_default() -> Vec<String> {
    let points =
        ["counter/2", "counter/4", "key/0", "key/2", "key/4", "set/00000020", "set/00000100"];
    points.map(str::to_owned).to_vec()
}

/// How long a run is at most, in simulated seconds.
pub const DURATION_S_MAX: u64 = 24 * 3600;

impl Scenario {
    /// Reads and validates a scenario.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)?;
        match scenario.validate() {
            Ok(workload) => Ok(Scenario { workload, ..scenario }),
            Err(ScenarioError::Invalid { field, reason, .. }) => {
                let line = place::line(text, &field);
                Err(ScenarioError::Invalid { field, reason, line })
            }
            Err(other) => Err(other),
        }
    }

    /// Whether any node's clock runs, or may come to run, at another rate than an ideal one.
    pub fn has_rates(&self) -> bool {
        let changed = self.faults.iter().any(|fault| fault.kind == Kind::ClockRate);
        changed || self.clocks.rate_share_max > 0.0
    }

    /// How many seconds a clock counts in one at least, however slow it is made to run.
    pub fn slowest_clock(&self) -> f64 {
        let struck = self.faults.iter().filter_map(|fault| fault.rate_share_max);
        1.0 - struck.fold(self.clocks.rate_share_max, f64::max)
    }

    /// Says what is wrong, or reads what the clients do.
    fn validate(&self) -> Result<Section, ScenarioError> {
        // Before all else: what is wrong with the form of a file is said first.
        let workload = workload::parse(&self.work)?;
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
        self.network.validate(&self.topology)?;
        range("disk.sync", self.disk.sync_min_us, self.disk.sync_max_us, "us")?;
        share("clocks.rate_share_max", self.clocks.rate_share_max)?;
        ensure(self.raft.log_retention_kb >= 16, "raft.log_retention_kb", "must be at least 16")?;
        let (least, most) = (self.limits.scan_page_records_min, self.limits.scan_page_records_max);
        ensure(least > 0, "limits.scan_page_records_min", "must be at least 1")?;
        let says = format!("is {least}, above limits.scan_page_records_max, {most}");
        ensure(least <= most, "limits.scan_page_records_min", says)?;
        for (position, fault) in self.faults.iter().enumerate() {
            fault.validate(position, self.duration_s as f64, &self.topology)?;
        }
        Ok(workload)
    }
}

#[cfg(test)]
mod tests;
