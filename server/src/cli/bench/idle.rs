//! `quintet bench idle`: memory and CPU time of an idle replica, of a range that gets no requests.
//!
//! Three local clusters of five nodes one after the other, each as `quintet dev` starts it: with one range
//! of data, with many, and with many whose heartbeats (and the timeouts that go with them) are
//! [`RARER`] times rarer. The second less the first is what the ranges cost; the third less the second is
//! what a cluster saves in which quiet ranges send no heartbeats.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use quintet_server::config::Config;
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep};

use super::{measure::cpu::cpu_time, memory};
use crate::cli::{
    duration,
    exit::Failure,
    output::{Format, Output, note},
};

/// How many times rarer heartbeats are in the third cluster.
const RARER: u64 = 20;
const NODES: usize = 5;

/// Flags of `bench idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Idle {
    /// Ranges of data of the larger clusters
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(2..=1_000))]
    ranges: u32,
    /// How long each cluster is measured
    #[arg(long, value_name = "S", default_value = "20", value_parser = duration::seconds)]
    seconds: Duration,
    /// How long each cluster may settle before it is measured
    #[arg(long, value_name = "S", default_value = "10", value_parser = duration::seconds)]
    settle: Duration,
    /// Where the clusters are made; by default the system's directory for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

/// An idle cluster, by node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    /// Of data; the system range comes to it.
    ranges: u32,
    resident_kib: f64,
    /// Of one core.
    cpu_percent: f64,
}

/// All three.
struct Measured {
    one: Figures,
    many: Figures,
    rare: Figures,
}

/// Runs `bench idle`.
pub(super) async fn run(args: Idle) -> Result<(), Failure> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("quintet-bench-idle-{}", std::process::id()));
    let measured = measure_all(&args, &dir).await;
    let removed = fs::remove_dir_all(&dir);
    let measured = measured?;
    removed
        .map_err(|error| Failure::internal(format!("cannot remove {}: {error}", dir.display())))?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.raw(measured.text().as_bytes())?,
        Format::Json => out.json(&measured.json())?,
    }
    out.flush()
}

async fn measure_all(args: &Idle, dir: &Path) -> Result<Measured, Failure> {
    Ok(Measured {
        one: measure(args, dir, 1, 1).await?,
        many: measure(args, dir, args.ranges, 1).await?,
        rare: measure(args, dir, args.ranges, RARER).await?,
    })
}

async fn measure(args: &Idle, dir: &Path, ranges: u32, rarer: u64) -> Result<Figures, Failure> {
    note(format!("{ranges} ranges, heartbeats {rarer} times rarer than usual"));
    let dir = dir.join(format!("{ranges}-{rarer}"));
    let cluster = Running::start(&dir, ranges, rarer).await;
    let figures = match &cluster {
        Ok(cluster) => cluster.measure(args, ranges).await,
        Err(_) => Err(Failure::internal("no cluster")),
    };
    // Also where only a part of it has started.
    stop(&dir).await?;
    cluster?;
    figures
}

async fn bring_up(dir: &Path, ranges: u32) -> Result<(), Failure> {
    let mut command = dev(dir)?;
    command.arg("--detach").arg("--dir").arg(dir.join("cluster"));
    command.arg("--initial-ranges").arg(ranges.to_string());
    done(command, "starting a cluster").await
}

/// A section of a node's configuration: heartbeats and all timeouts that go with them, this many times as long.
fn rare_times(rarer: u64) -> String {
    let usual = Config::default().raft;
    let times = [
        ("heartbeat_ms", usual.heartbeat_ms),
        ("election_min_ms", usual.election_min_ms),
        ("election_max_ms", usual.election_max_ms),
        ("link_stall_ms", usual.link_stall_ms),
    ];
    let lines: String =
        times.iter().map(|(name, ms)| format!("{name} = {}\n", ms * rarer)).collect();
    format!("\n[raft]\n{lines}")
}

/// A cluster of this bench's own.
struct Running {
    pids: Vec<u32>,
}

/// `quintet dev` on a directory; with a registry of its own, so that no other command finds the cluster.
fn dev(dir: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("cannot find this program: {error}")))?;
    let mut command = Command::new(program);
    command.arg("dev").env("XDG_STATE_HOME", dir.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

async fn done(mut command: Command, what: &str) -> Result<(), Failure> {
    let status = command.status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::internal(format!("{what} failed ({status})"))),
        Err(error) => Err(Failure::internal(format!("{what} failed: {error}"))),
    }
}

async fn stop(dir: &Path) -> Result<(), Failure> {
    let cluster = dir.join("cluster");
    if !cluster.join("cluster.toml").exists() {
        return Ok(());
    }
    let mut command = dev(dir)?;
    command.arg("stop").arg("--dir").arg(cluster);
    done(command, "stopping a cluster").await
}

impl Running {
    async fn start(dir: &Path, ranges: u32, rarer: u64) -> Result<Running, Failure> {
        bring_up(dir, ranges).await?;
        let cluster = dir.join("cluster");
        let of_node = |node: usize, file: &str| cluster.join(format!("node-{node}")).join(file);
        if rarer > 1 {
            // `dev` writes a configuration where there is none, and leaves it alone afterwards.
            stop(dir).await?;
            for node in 1..=NODES {
                let path = of_node(node, "node.toml");
                let slower = fs::read_to_string(&path).map(|config| config + &rare_times(rarer));
                slower.and_then(|config| fs::write(&path, config)).map_err(|error| {
                    Failure::internal(format!("cannot change {}: {error}", path.display()))
                })?;
            }
            bring_up(dir, ranges).await?;
        }
        let pid = |node| fs::read_to_string(of_node(node, "pid")).ok()?.trim().parse().ok();
        let pids: Vec<u32> = (1..=NODES).filter_map(pid).collect();
        if pids.len() != NODES {
            return Err(Failure::internal("a node of the cluster has ended"));
        }
        Ok(Running { pids })
    }

    async fn measure(&self, args: &Idle, ranges: u32) -> Result<Figures, Failure> {
        sleep(args.settle).await;
        let gone = || Failure::internal("a node of the cluster has ended");
        let before = cpu_time(&self.pids).ok_or_else(gone)?;
        sleep(args.seconds).await;
        let after = cpu_time(&self.pids).ok_or_else(gone)?;
        let resident: Option<u64> = self.pids.iter().map(|pid| memory::kib(*pid, "VmRSS")).sum();
        let busy = after.saturating_sub(before).as_secs_f64() / args.seconds.as_secs_f64();
        Ok(Figures {
            ranges,
            resident_kib: resident.ok_or_else(gone)? as f64 / NODES as f64,
            cpu_percent: 100.0 * busy / NODES as f64,
        })
    }
}

impl Measured {
    /// Of each replica that the second cluster has more than the first, by node.
    fn a_replica(&self, figure: fn(&Figures) -> f64) -> f64 {
        let more = f64::from(self.many.ranges) - f64::from(self.one.ranges);
        (figure(&self.many) - figure(&self.one)) / more
    }

    /// CPU time of the second cluster that goes with the rhythm of heartbeats, in percent of a core a
    /// node, from what it is with rarer ones.
    fn heartbeat_percent(&self) -> f64 {
        let saved = self.many.cpu_percent - self.rare.cpu_percent;
        (saved * RARER as f64 / (RARER - 1) as f64).clamp(0.0, self.many.cpu_percent)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let names = [("", self.one), ("", self.many), (", rare heartbeats", self.rare)];
        for (what, figures) in names {
            text.push_str(&format!(
                "{:>5} ranges of data{what}: {:.1} MiB and {:.2} % of a core a node\n",
                figures.ranges,
                figures.resident_kib / 1024.0,
                figures.cpu_percent,
            ));
        }
        text.push_str(&format!(
            "{:>12.0} KiB an idle replica\n{:>12.4} % of a core an idle replica\n\
             {:>12.2} % of a core a node for heartbeats and what goes with them, {:.0} % of all\n",
            self.a_replica(|figures| figures.resident_kib),
            self.a_replica(|figures| figures.cpu_percent),
            self.heartbeat_percent(),
            100.0 * self.heartbeat_percent() / self.many.cpu_percent.max(f64::EPSILON),
        ));
        text
    }

    fn json(&self) -> Value {
        let figures = |of: &Figures| {
            json!({
                "ranges": of.ranges,
                "resident_kib_per_node": of.resident_kib,
                "cpu_percent_per_node": of.cpu_percent,
            })
        };
        json!({
            "op": "idle",
            "one": figures(&self.one),
            "many": figures(&self.many),
            "rare_heartbeats": figures(&self.rare),
            "kib_per_replica": self.a_replica(|figures| figures.resident_kib),
            "cpu_percent_per_replica": self.a_replica(|figures| figures.cpu_percent),
            "heartbeat_cpu_percent_per_node": self.heartbeat_percent(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_costs_the_difference_of_two_clusters() {
        let figures =
            |ranges, resident_kib, cpu_percent| Figures { ranges, resident_kib, cpu_percent };
        let measured = Measured {
            one: figures(1, 40_000.0, 1.0),
            many: figures(101, 60_000.0, 6.0),
            rare: figures(101, 60_000.0, 2.2),
        };
        let json = measured.json();
        assert_eq!(json["kib_per_replica"], 200.0);
        assert_eq!(json["cpu_percent_per_replica"], 0.05);
        assert!(
            (measured.heartbeat_percent() - 4.0).abs() < 0.01,
            "{}",
            measured.heartbeat_percent()
        );
        let text = measured.text();
        assert!(
            text.contains(" 200 KiB an idle replica\n") && text.contains("67 % of all"),
            "{text}"
        );
    }

    #[test]
    fn rare_times_are_a_valid_configuration() {
        let config: Config = toml::from_str(&rare_times(RARER)).expect("known settings");
        assert_eq!(config.raft.heartbeat_ms, RARER * Config::default().raft.heartbeat_ms);
        let found = config.validate().expect_err("it has no node id");
        assert!(!found.key.starts_with("raft."), "{}", found.key);
    }
}
