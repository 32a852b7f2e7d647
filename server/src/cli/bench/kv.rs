//! `quintet bench kv`: single-key operations of many clients in a closed loop.
//!
//! The loop itself and the report for programs are `measure/closed_loop.rs`, which the load on etcd compiles too.
//! Here are the flags, and the report for people.

use std::time::Duration;

use quintet_client::Client;

use super::{
    clients::{self, Reader, Reads},
    measure::closed_loop::{CONNECTIONS_DEFAULT, Load, Measured, Operation},
    served::{Counted, Served},
    target::Target,
};
use crate::cli::{
    duration,
    exit::{Exit, Failure},
    output::note,
};

/// Flags of `bench kv`.
#[derive(Debug, clap::Args)]
pub(crate) struct Kv {
    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    clients: usize,
    /// How long to measure, after a second of warming up
    #[arg(long, value_name = "S", default_value = "10", value_parser = duration::seconds)]
    seconds: Duration,
    /// What the clients do
    #[arg(long, value_enum, default_value = "mixed")]
    op: Operation,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=16_777_216))]
    value_size: usize,
    /// Connections that the clients share; by default one per client and 16 at most
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    connections: Option<usize>,
    /// Different keys, chosen evenly
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000_000))]
    keys: usize,
    /// Read a state that is at most so old, as in 500ms, from the nodes that are asked
    #[arg(long, value_name = "MS|DURATION", value_parser = stale)]
    stale: Option<Duration>,
    /// Read the newest state from the replicas of the nodes that are asked, leaders or not
    #[arg(long, conflicts_with = "stale")]
    follower: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs `bench kv`.
pub(super) async fn run(args: Kv) -> Result<(), Failure> {
    if !args.op.reads() && args.reads() != Reads::Leader {
        return Err(Failure::usage("--stale and --follower are for reads: --op get, or mixed"));
    }
    let done = measure(&args).await;
    match args.op {
        Operation::Put | Operation::Get | Operation::Mixed => {
            args.target.leave(args.keys, args.value_size, done).await
        }
        Operation::Increment => args.target.leave(1, 0, done).await,
        // It leaves nothing.
        Operation::Timestamp => done,
    }
}

async fn measure(args: &Kv) -> Result<(), Failure> {
    let (addresses, server_pids) = args.target.servers()?;
    let load = args.load(server_pids);
    let clients =
        clients::connect(&addresses, load.connections, args.target.connect.timeout).await?;
    if load.operation.reads() {
        note(format!("writing {} keys", load.keys));
        load.fill(&clients).await?;
    }
    let reads = args.reads();
    let readers: Vec<_> =
        clients.iter().map(|client| Reader { client: client.clone(), reads }).collect();
    // Every connection is one of its own: the first will do for asking.
    let asks = clients.first().filter(|_| reads != Reads::Leader);
    let before = counted(asks).await;
    let measured = load.run(&readers).await.map_err(Failure::internal)?;
    let served = before.zip(counted(asks).await).map(|(before, after)| before.until(&after));
    args.target.print(
        || text(&load, &measured) + &served.as_ref().map(Served::text).unwrap_or_default(),
        || {
            let mut json = measured.json(&load);
            json["reads"] = load.operation.reads().then(|| reads.name()).into();
            if let Some(served) = &served {
                json["served"] = served.json();
            }
            json
        },
    )?;
    if measured.latency.is_empty() {
        let reason = measured.error.unwrap_or_else(|| "nothing was answered".to_owned());
        return Err(Failure::new(
            Exit::Unavailable,
            "unavailable",
            format!("not one operation succeeded: {reason}"),
        ));
    }
    Ok(())
}

/// What nodes have served by now, where somebody wants to know.
async fn counted(asks: Option<&Client>) -> Option<Counted> {
    match asks {
        Some(client) => Some(Counted::now(client).await),
        None => None,
    }
}

/// A number is of milliseconds.
fn stale(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("1 ms is the least; leave it out for the newest state".to_owned()),
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => duration::parse(text, "length of time").map_err(|failure| failure.to_string()),
    }
}

impl Kv {
    fn reads(&self) -> Reads {
        match (self.follower, self.stale) {
            (true, _) => Reads::Follower,
            (false, Some(max)) => Reads::Stale(max),
            (false, None) => Reads::Leader,
        }
    }

    fn load(&self, server_pids: Vec<u32>) -> Load {
        Load {
            clients: self.clients,
            connections: self.connections.unwrap_or(CONNECTIONS_DEFAULT.min(self.clients)),
            seconds: self.seconds,
            operation: self.op,
            value_bytes: self.value_size,
            keys: self.keys,
            server_pids,
        }
    }
}

fn text(load: &Load, measured: &Measured) -> String {
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1000.0);
    let latency = &measured.latency;
    let values = match load.operation {
        Operation::Put | Operation::Get | Operation::Mixed => format!(" {} B", load.value_bytes),
        // Numbers.
        Operation::Increment | Operation::Timestamp => String::new(),
    };
    let mut text = format!(
        "{}{values}, {} clients on {} connections, {:.1} s\n\
         {:>12.0} ops/s\n\
         {:>15} p50\n{:>15} p99\n{:>15} max\n\
         {:>12} errors\n",
        load.operation.name(),
        load.clients,
        load.connections,
        measured.took.as_secs_f64(),
        measured.operations_a_second(),
        ms(latency.value_at_quantile(0.5)),
        ms(latency.value_at_quantile(0.99)),
        ms(latency.max()),
        measured.errors,
    );
    let mut cost = |cost: Option<f64>, whose: &str| {
        if let Some(us) = cost {
            text.push_str(&format!("{us:>12.1} CPU-us an operation, {whose}\n"));
        }
    };
    cost(measured.client_cpu_us_an_operation(), "client");
    cost(measured.server_cpu_us_an_operation(), "all servers");
    if let Some(error) = &measured.error {
        text.push_str(&format!("first error: {error}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::bench::measure::latency;

    #[test]
    fn costs_that_nobody_could_read_are_null() {
        let mut histogram = latency::histogram();
        for us in [100, 200, 300, 400] {
            latency::record(&mut histogram, Duration::from_micros(us));
        }
        let measured = Measured {
            latency: histogram,
            errors: 1,
            error: Some("unavailable: x".to_owned()),
            gap: Duration::from_micros(400),
            took: Duration::from_secs(2),
            client_cpu: Some(Duration::from_micros(40)),
            server_cpu: None,
        };
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            kv: Kv,
        }
        let line = <Line as clap::Parser>::parse_from(["x", "--op", "put", "--clients", "4"]);
        let load = line.kv.load(Vec::new());
        let json = measured.json(&load);
        assert_eq!(json["ops_per_s"], 2.0);
        assert_eq!(json["client_cpu_us_per_op"], 10.0);
        assert_eq!(json["server_cpu_us_per_op"], Value::Null);
        assert_eq!((&json["operations"], &json["connections"]), (&4.into(), &4.into()));
        let text = text(&load, &measured);
        assert!(text.contains(" 2 ops/s\n") && text.contains("10.0 CPU-us"), "{text}");
        assert!(!text.contains("all servers"), "{text}");
    }
}
