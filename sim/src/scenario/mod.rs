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

mod expect;
mod fault;
mod place;
pub mod points;
mod topology;
mod workload;
mod world;

use serde::Deserialize;

pub use self::{
    expect::Expect,
    fault::{Fault, Field, Kind, Links, Who},
    topology::{Node, Topology},
    workload::{Choice, ExpiringChoice, Mix, Workload},
    world::{Clocks, Disk, Latency, Limits, Memory, Network, Raft, Sizes},
};

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not a scenario's; the text names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A field has a value that makes no sense.
    #[error("{}{field}: {reason}", in_line(*line))]
    Invalid {
        /// Path of the field, such as `network.latency_max_us`.
        field: String,
        /// What is wrong.
        reason: String,
        /// The line of the file where the field is, from 1; none where nothing around it is there.
        line: Option<usize>,
    },
}

impl ScenarioError {
    /// In which line of the file, from 1, and what is wrong there, without the line.
    pub fn at(&self, text: &str) -> (usize, String) {
        match self {
            ScenarioError::Syntax(error) => {
                let start = error.span().map_or(0, |span| span.start);
                (place::line_of(text, start).unwrap_or(1), error.message().to_owned())
            }
            // Nothing around it is in the file: the file as a whole lacks it.
            ScenarioError::Invalid { field, reason, line } => {
                (line.unwrap_or(1), format!("{field}: {reason}"))
            }
        }
    }
}

fn in_line(line: Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
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

/// More nodes than this are not simulated.
pub const NODES_MAX: usize = 64;
/// More clients than this are not simulated.
pub const CLIENTS_MAX: u64 = 1_000;
/// A run is at most so long, in simulated seconds.
pub const DURATION_S_MAX: u64 = 24 * 3600;

impl Scenario {
    /// Reads and validates a scenario.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)?;
        match scenario.validate() {
            Ok(()) => Ok(scenario),
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
        self.network.validate(&self.topology)?;
        range("disk.sync", self.disk.sync_min_us, self.disk.sync_max_us, "us")?;
        fault::share("clocks.rate_share_max", self.clocks.rate_share_max)?;
        ensure(self.raft.log_retention_kb >= 16, "raft.log_retention_kb", "must be at least 16")?;
        let (least, most) = (self.limits.scan_page_records_min, self.limits.scan_page_records_max);
        ensure(least > 0, "limits.scan_page_records_min", "must be at least 1")?;
        let says = format!("is {least}, above limits.scan_page_records_max, {most}");
        ensure(least <= most, "limits.scan_page_records_min", says)?;
        self.workload.validate()?;
        for (position, fault) in self.faults.iter().enumerate() {
            fault.validate(position, self)?;
        }
        Ok(())
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
    Err(ScenarioError::Invalid { field: field.into(), reason: reason.into(), line: None })
}

fn range(name: &str, min: u64, max: u64, unit: &str) -> Result<(), ScenarioError> {
    ensure(
        min <= max,
        format!("{name}_min_{unit}"),
        format!("is {min}, above {name}_max_{unit}, {max}"),
    )
}

#[cfg(test)]
mod tests;
