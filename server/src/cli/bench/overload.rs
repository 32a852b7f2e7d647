//! `quintet bench overload`: far more load than a cluster can serve; how much of its throughput is left, and
//! how much memory that takes.
//!
//! First closed loops find the highest throughput, the best. Then puts *arrive* over many sessions at a rate that
//! is a multiple of it, whatever becomes of the earlier ones (`open_loop.rs`). Reported is what was answered in
//! time, as a share of the best; what was refused, and with which retry-after; what flow control held back at
//! the client's end; and the servers' peak memory beside their stated bound.

use std::{collections::BTreeMap, time::Duration};

use quintet_client::Client;
use quintet_server::{ids::KeyspaceId, storage::keys};
use serde_json::{Value, json};

use super::{
    clients,
    measure::{
        closed_loop::{CONNECTIONS_DEFAULT, Load, Operation},
        cpu::Meter,
        keys::key,
    },
    memory,
    open_loop::{Offer, Offered},
    target::Target,
};
use crate::cli::{connect, duration, exit::Failure, output::note};

/// Most memory of a server with the default configuration and few replicas, in mebibytes: the sum in
/// docs/operations.md.
const MEMORY_BOUND_MB: u64 = 1_152;

/// Flags of `bench overload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Overload {
    /// Clients of the closed loops, one loop after the other; the best throughput counts
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "256,1024",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    clients: Vec<usize>,
    /// Which multiple of the best throughput is offered
    #[arg(long, value_name = "N", default_value = "10", value_parser = factor)]
    factor: f64,
    /// Sessions over which it is offered
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4_000))]
    sessions: usize,
    /// How long each loop is measured
    #[arg(long, value_name = "S", default_value = "10", value_parser = duration::seconds)]
    seconds: Duration,
    /// A put that is answered later than this counts as not done
    #[arg(long, value_name = "S", default_value = "5", value_parser = duration::seconds)]
    patience: Duration,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1_048_576))]
    value_size: usize,
    /// Different keys, chosen evenly
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    keys: usize,
    /// Target: the least share of the best throughput that is left
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    goodput_min: f64,
    /// Target: the most memory of each server, in mebibytes
    #[arg(long, value_name = "MB", default_value_t = MEMORY_BOUND_MB)]
    memory_mb_max: u64,
    #[command(flatten)]
    target: Target,
}

fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1_000.0).contains(&number) {
        Ok(number)
    } else {
        Err("not between 0.1 and 1000".to_owned())
    }
}

/// What came of it.
struct Measured {
    best: f64,
    best_clients: usize,
    /// Asked for, a second.
    rate: f64,
    offered: Offered,
    /// Warming up and waiting for late answers included: what CPU time is of.
    lasted: Duration,
    client_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    /// Most memory that one of the servers ever had, in mebibytes.
    memory_mb: Option<u64>,
    healed: Result<Duration, String>,
}

/// Runs `bench overload`.
pub(super) async fn run(args: Overload) -> Result<(), Failure> {
    let done = measure(&args).await;
    args.target.leave(args.keys, args.value_size, done).await
}

async fn measure(args: &Overload) -> Result<(), Failure> {
    let (addresses, server_pids) = args.target.servers()?;
    let (best, best_clients) = best(args, &addresses, &server_pids).await?;
    let client = connect::connect(addresses, args.target.connect.timeout).await?;
    let rate = best * args.factor;
    note(format!("best: {best:.0} puts/s with {best_clients} clients; offering {rate:.0}"));
    let leaders = leaders(&client, args.keys).await?;
    let offer = Offer {
        sessions: args.sessions,
        rate,
        seconds: args.seconds,
        patience: args.patience,
        value_bytes: args.value_size,
    };
    let meter = Meter::start(&server_pids);
    let offered = offer.run(leaders).await?;
    let (client_cpu, server_cpu) = meter.read();
    let lasted = meter.took();
    let peaks = server_pids.iter().filter_map(|pid| memory::kib(*pid, "VmHWM"));
    let memory_mb = peaks.max().map(|kib| kib / 1024);
    let healed = heals(&client).await;
    let measured = Measured {
        best,
        best_clients,
        rate,
        offered,
        lasted,
        client_cpu,
        server_cpu,
        memory_mb,
        healed,
    };
    args.target.print(|| measured.text(args), || measured.json(args))?;
    match &measured.healed {
        Ok(_) => Ok(()),
        Err(why) => {
            Err(Failure::unavailable(format!("no write is acknowledged afterwards: {why}")))
        }
    }
}

/// The best of closed loops, in operations a second, and with how many clients.
async fn best(
    args: &Overload,
    addresses: &[String],
    server_pids: &[u32],
) -> Result<(f64, usize), Failure> {
    let mut best = (0.0, 0);
    for clients in &args.clients {
        let load = Load {
            clients: *clients,
            connections: CONNECTIONS_DEFAULT.min(*clients),
            seconds: args.seconds,
            operation: Operation::Put,
            value_bytes: args.value_size,
            keys: args.keys,
            server_pids: server_pids.to_vec(),
        };
        let timeout = args.target.connect.timeout;
        let connected = clients::connect(addresses, load.connections, timeout).await?;
        let measured = load.run(&connected).await.map_err(Failure::internal)?;
        let measured = measured.operations_a_second();
        note(format!("{clients} clients in a closed loop: {measured:.0} puts/s"));
        if measured > best.0 {
            best = (measured, *clients);
        }
    }
    if best.1 == 0 {
        return Err(Failure::unavailable("not one put succeeded in a closed loop"));
    }
    Ok(best)
}

/// The keys of the load by the client address of the node that leads their range: an overload shall hit
/// the nodes that do the work, not be spent on forwarding.
async fn leaders(client: &Client, count: usize) -> Result<BTreeMap<String, Vec<usize>>, Failure> {
    let status = client.status().await?;
    let nodes: BTreeMap<u64, String> =
        status.nodes.into_iter().map(|node| (node.id, node.client_address)).collect();
    let mut by_leader: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for index in 0..count {
        let stored = keys::encode(KeyspaceId::DEFAULT, &key(index));
        let holds = |range: &&quintet_client::v1::RangeStatus| {
            range.start[..] <= stored[..] && (range.end.is_empty() || stored[..] < range.end[..])
        };
        let range = status.ranges.iter().find(holds);
        let leader = range.and_then(|range| nodes.get(&range.leader_node));
        let leader = leader.ok_or_else(|| Failure::unavailable("a range has no leader"))?;
        by_leader.entry(leader.clone()).or_default().push(index);
    }
    Ok(by_leader)
}

/// How long it takes until a write is acknowledged again.
async fn heals(client: &Client) -> Result<Duration, String> {
    let began = tokio::time::Instant::now();
    match client.put(key(0), "healed").await {
        Ok(_) => Ok(began.elapsed()),
        Err(error) => Err(error.to_string()),
    }
}

impl Measured {
    fn goodput(&self) -> f64 {
        self.offered.good_a_second() / self.best
    }

    fn text(&self, args: &Overload) -> String {
        let Offered { latency, took, arrived, .. } = &self.offered;
        let seconds = took.as_secs_f64();
        let rate = |number: u64| number as f64 / seconds;
        let met = |met: bool| if met { "met" } else { "MISSED" };
        let mut text = format!(
            "puts of {} B: best {:.0} ops/s ({} clients), {:.0} a second arrived over {} sessions\n\
             {:>12.0} ops/s in time\n\
             {:>12.0} refusals/s as overloaded, to come again after {} to {} ms\n\
             {:>12.0} a second held back by flow control\n\
             {:>12.0} a second too late, {} unanswered, {} other errors\n\
             {:>15.2} ms p50, {:.2} ms p99 of those in time\n",
            args.value_size,
            self.best,
            self.best_clients,
            rate(*arrived),
            args.sessions,
            self.offered.good_a_second(),
            rate(self.offered.refused),
            self.offered.retry_after_ms.map_or(0, |(least, _)| least),
            self.offered.retry_after_ms.map_or(0, |(_, most)| most),
            rate(self.offered.held_back),
            rate(self.offered.late),
            self.offered.unanswered,
            self.offered.errors,
            latency.value_at_quantile(0.5) as f64 / 1e3,
            latency.value_at_quantile(0.99) as f64 / 1e3,
        );
        for (cpu, whose) in [(self.client_cpu, "client"), (self.server_cpu, "all servers")] {
            if let Some(cpu) = cpu {
                let cores = cpu.as_secs_f64() / self.lasted.as_secs_f64().max(f64::EPSILON);
                text.push_str(&format!("{cores:>15.2} cores, {whose}\n"));
            }
        }
        if let Some(error) = &self.offered.error {
            text.push_str(&format!("first error: {error}\n"));
        }
        if let Ok(took) = &self.healed {
            text.push_str(&format!("{:>12} ms until a write afterwards\n", took.as_millis()));
        }
        let (goodput, least) = (self.goodput(), args.goodput_min);
        text.push_str(&format!(
            "{:6} {goodput:.2} of the best, target {least:.2}\n",
            met(goodput >= least)
        ));
        if let Some(mb) = self.memory_mb {
            let most = args.memory_mb_max;
            text.push_str(&format!(
                "{:6} {mb} MiB at most in a server, bound {most} MiB\n",
                met(mb <= most)
            ));
        }
        text
    }

    fn json(&self, args: &Overload) -> Value {
        let Offered { latency, took, arrived, .. } = &self.offered;
        json!({
            "op": "overload",
            "best_ops_per_s": self.best,
            "best_clients": self.best_clients,
            "sessions": args.sessions,
            "asked_per_s": self.rate,
            "arrived": arrived,
            "seconds": took.as_secs_f64(),
            "ops_per_s": self.offered.good_a_second(),
            "goodput_ratio": self.goodput(),
            "target_met": self.goodput() >= args.goodput_min,
            "refused": self.offered.refused,
            "retry_after_ms_min": self.offered.retry_after_ms.map(|(least, _)| least),
            "retry_after_ms_max": self.offered.retry_after_ms.map(|(_, most)| most),
            "held_back": self.offered.held_back,
            "late": self.offered.late,
            "unanswered": self.offered.unanswered,
            "errors": self.offered.errors,
            "first_error": self.offered.error,
            "p50_us": latency.value_at_quantile(0.5),
            "p99_us": latency.value_at_quantile(0.99),
            "client_cpu_s": self.client_cpu.map(|cpu| cpu.as_secs_f64()),
            "server_cpu_s": self.server_cpu.map(|cpu| cpu.as_secs_f64()),
            "memory_mb_peak": self.memory_mb,
            "memory_mb_max": args.memory_mb_max,
            "memory_met": self.memory_mb.map(|mb| mb <= args.memory_mb_max),
            "healed_ms": self.healed.as_ref().ok().map(Duration::as_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::measure::latency;

    #[test]
    fn goodput_is_a_share_of_the_best() {
        let mut histogram = latency::histogram();
        for us in [1_000; 1_700] {
            latency::record(&mut histogram, Duration::from_micros(us));
        }
        let offered = Offered {
            latency: histogram,
            took: Duration::from_secs(2),
            arrived: 20_000,
            refused: 5,
            retry_after_ms: Some((50, 50)),
            ..Offered::new()
        };
        let measured = Measured {
            best: 1_000.0,
            best_clients: 256,
            rate: 10_000.0,
            offered,
            lasted: Duration::from_secs(2),
            client_cpu: None,
            server_cpu: None,
            memory_mb: Some(2_000),
            healed: Ok(Duration::from_millis(3)),
        };
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Overload,
        }
        let line = <Line as clap::Parser>::parse_from(["x"]);
        let json = measured.json(&line.args);
        assert_eq!(json["goodput_ratio"], 0.85);
        assert_eq!((&json["target_met"], &json["memory_met"]), (&json!(true), &json!(false)));
        let text = measured.text(&line.args);
        assert!(text.contains("met    0.85 of the best, target 0.80"), "{text}");
        assert!(text.contains("MISSED 2000 MiB at most"), "{text}");
    }
}
