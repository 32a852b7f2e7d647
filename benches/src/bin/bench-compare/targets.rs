//! What is to be reached, beside which system.

use serde_json::{Map, Value, json};

use super::samples::Medians;

/// At this operation and number of clients, beside a system.
pub(super) struct Target {
    pub(super) op: &'static str,
    pub(super) clients: u64,
    pub(super) beside: &'static str,
    pub(super) wanted: Wanted,
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// At least this multiple of the throughput.
    Throughput(f64),
    /// The same, and p99 no worse.
    ThroughputAndP99(f64),
    /// At most this multiple of the median latency.
    P50(f64),
    /// At most as many milliseconds above the median latency.
    P50Ms(f64),
    /// At most this multiple of the servers' CPU time.
    Cpu(f64),
}

const fn etcd(op: &'static str, clients: u64, wanted: Wanted) -> Target {
    Target { op, clients, beside: "etcd", wanted }
}

pub(super) const TARGETS: [Target; 16] = [
    etcd("put", 1, Wanted::Throughput(0.9)),
    etcd("put", 64, Wanted::ThroughputAndP99(2.5)),
    etcd("put", 256, Wanted::ThroughputAndP99(3.0)),
    etcd("get", 1, Wanted::Throughput(1.2)),
    etcd("get", 64, Wanted::ThroughputAndP99(2.5)),
    etcd("get", 256, Wanted::ThroughputAndP99(3.5)),
    etcd("load", 1, Wanted::Throughput(5.0)),
    etcd("scan", 1, Wanted::Throughput(1.5)),
    etcd("increment", 64, Wanted::Throughput(50.0)),
    timestamp(64, "tsoracle", Wanted::Throughput(5.0)),
    timestamp(64, "tsoracle-0", Wanted::Throughput(0.6)),
    timestamp(1, "tsoracle-0", Wanted::P50(2.5)),
    without_rounds("put", 256, Wanted::Cpu(1.1)),
    // Nothing: two runs of the same differ by as much.
    without_rounds("get", 64, Wanted::Cpu(1.05)),
    without_rounds("put, WAN", 1, Wanted::P50Ms(1.5)),
    without_rounds("put, WAN", 64, Wanted::P50Ms(1.5)),
];

const fn without_rounds(op: &'static str, clients: u64, wanted: Wanted) -> Target {
    Target { op, clients, beside: "own-clock", wanted }
}

const fn timestamp(clients: u64, beside: &'static str, wanted: Wanted) -> Target {
    Target { op: "timestamp", clients, beside, wanted }
}

/// Other systems, in the order of the table.
pub(super) const OTHERS: [&str; 4] = ["etcd", "tsoracle", "tsoracle-0", "own-clock"];
/// In the order of the table.
pub(super) const OPERATIONS: [&str; 8] =
    ["put", "put, WAN", "increment", "get", "stale", "load", "scan", "timestamp"];
/// An operation of ours, and at least which multiple of another one's throughput it has at as many clients.
pub(super) const BESIDE_OWN: [(&str, &str, f64); 2] =
    [("increment", "put", 0.5), ("stale", "get", 1.5)];

/// Eight ranges must do no less than one did, at these numbers of clients.
pub(super) const CLIENTS_OF_ONE_RANGE: [u64; 2] = [64, 256];
/// How the table names the system with one range of data.
pub(super) const ONE_RANGE: &str = "quintet-1";

/// Whether a target is met, and the figure in words.
pub(super) type Verdict = (bool, String);

/// The verdict in the table.
pub(super) fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

impl Target {
    /// That of an operation, where there is one.
    pub(super) fn find(op: &str, clients: u64, beside: &str) -> Option<&'static Target> {
        let is_it = |t: &&Target| t.op == op && t.clients == clients && t.beside == beside;
        TARGETS.iter().find(is_it)
    }

    /// Judges our medians beside theirs. What programs read of it goes into `row`.
    pub(super) fn judge(
        &self,
        ours: &Medians,
        theirs: &Medians,
        row: &mut Map<String, Value>,
    ) -> Vec<Verdict> {
        let other = self.beside;
        let over = |of: fn(&Medians) -> Option<f64>| Some(of(ours)? / of(theirs)?);
        let (p50, p99) = (over(|of| of.p50_us), over(|of| of.p99_us));
        let mut note = |name: &str, limit: f64, is_met: bool| {
            row.insert(name.to_owned(), json!(limit));
            row.insert("target_met".to_owned(), json!(is_met));
        };
        let nothing = || vec![(false, format!("{other} or this was not measured in full"))];
        match self.wanted {
            Wanted::Throughput(least) | Wanted::ThroughputAndP99(least) => {
                let ratio = ours.ops_per_s / theirs.ops_per_s;
                note("target_ratio_min", least, ratio >= least);
                let mut verdicts =
                    vec![(ratio >= least, format!("{ratio:.2} x {other}, target {least:.1} x"))];
                if let (Wanted::ThroughputAndP99(_), Some(p99)) = (self.wanted, p99) {
                    row.insert("target_p99_met".to_owned(), json!(p99 <= 1.0));
                    verdicts.push((p99 <= 1.0, format!("p99 {p99:.2} x {other}, target no worse")));
                }
                verdicts
            }
            Wanted::P50(most) => p50.map_or_else(nothing, |p50| {
                note("target_p50_ratio_max", most, p50 <= most);
                vec![(p50 <= most, format!("p50 {p50:.2} x {other}, target {most:.1} x"))]
            }),
            Wanted::P50Ms(most) => {
                let more = ours.p50_us.zip(theirs.p50_us);
                more.map_or_else(nothing, |(ours, theirs)| {
                    let more = (ours - theirs) / 1e3;
                    note("p50_ms_more", more, more <= most);
                    note("target_p50_ms_more_max", most, more <= most);
                    let words = format!("p50 {more:.2} ms above {other}, target {most:.1} ms");
                    vec![(more <= most, words)]
                })
            }
            Wanted::Cpu(most) => over(|of| of.server_cpu_us).map_or_else(nothing, |cpu| {
                note("target_cpu_ratio_max", most, cpu <= most);
                vec![(cpu <= most, format!("servers' CPU {cpu:.2} x {other}, target {most:.2} x"))]
            }),
        }
    }
}
