//! Links, disks, clocks and the settings of nodes.

use serde::Deserialize;

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

/// Settings of the nodes that decide when requests are refused as overloaded. The defaults are the
/// product's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests that a node has accepted and not answered.
    pub requests_in_flight_max: u32,
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
        Limits { requests_in_flight_max: 8_192 }
    }
}
