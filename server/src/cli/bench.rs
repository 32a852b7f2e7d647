//! `quintet bench`: loads a running cluster and says what it bears.
//!
//! A closed loop: each of N simulated clients has one operation under way at a time and begins the
//! next when it is answered. Clients share a few connections (instances of the client library), as
//! the tasks of a real program would. `load.rs` runs it, `cpu.rs` and `memory.rs` read what it cost, `target.rs` has the flags that loads share. `bulk.rs`:
//! many records at once. `overload.rs`, `offer.rs`: more than the cluster bears. `idle.rs`: what ranges cost
//! that nobody asks. `clean.rs`: removes what the others left.

mod bulk;
mod clean;
mod cpu;
mod idle;
mod load;
mod memory;
mod offer;
mod overload;
mod target;

pub(crate) use self::load::split_points;

use std::time::Duration;

use serde_json::{Value, json};

use self::{
    load::{Load, Measured},
    target::Target,
};
use super::{
    connect,
    exit::{Exit, Failure},
    note,
};

/// Connections that clients share where nothing else is said.
const CONNECTIONS_DEFAULT: usize = 16;

/// Subcommands of `bench`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Single-key operations in a closed loop, on keys of its own: bench/ and eight hexadecimal
    /// digits, spread evenly
    Kv(Kv),
    /// A bulk load: writes the first N keys of `bench kv`, many under way, each once
    Load(bulk::Load),
    /// One scan over N of these keys
    Scan(bulk::Scan),
    /// Offers a multiple of what the cluster bears, in an open loop, and says what is left of its
    /// throughput
    Overload(overload::Overload),
    /// Removes what the others left in the cluster: all keys that begin with bench/
    Clean(clean::Clean),
    /// Starts local clusters with many ranges and with one, and says what an idle replica costs
    Idle(idle::Idle),
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    /// Writes only
    Put,
    /// Linearizable reads only
    Get,
    /// Every other operation a write
    Mixed,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Mixed => "mixed",
        }
    }
}

/// Flags of `bench kv`.
#[derive(Debug, clap::Args)]
pub(crate) struct Kv {
    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    clients: usize,
    /// How long to measure, after a second of warming up
    #[arg(long, value_name = "S", default_value = "10", value_parser = connect::seconds)]
    seconds: Duration,
    /// What the clients do
    #[arg(long, value_enum, default_value = "mixed")]
    op: Operation,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=16_777_216))]
    value_size: usize,
    /// Connections that the clients share; by default one a client and 16 at most
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    connections: Option<usize>,
    /// Different keys, chosen evenly
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000_000))]
    keys: usize,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::internal(format!("cannot start a runtime: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Kv(args) => {
                let done = run_kv(&args).await;
                args.target.leave(args.keys, args.value_size, done).await
            }
            Command::Load(args) => {
                let done = bulk::load(&args).await;
                args.target.leave(args.records, args.value_size, done).await
            }
            Command::Scan(args) => bulk::scan(args).await,
            Command::Overload(args) => {
                let done = overload::run(&args).await;
                args.target.leave(args.keys, args.value_size, done).await
            }
            Command::Clean(args) => clean::run(args).await,
            Command::Idle(args) => idle::run(args).await,
        }
    });
    runtime.shutdown_background();
    result
}

async fn run_kv(args: &Kv) -> Result<(), Failure> {
    let (addresses, server_pids) = args.target.servers()?;
    let connections = args.connections.unwrap_or(CONNECTIONS_DEFAULT.min(args.clients));
    let load = Load {
        clients: args.clients,
        seconds: args.seconds,
        operation: args.op,
        value_bytes: args.value_size,
        keys: args.keys,
        server_pids,
    };
    let clients = load::connect(&addresses, connections, args.target.connect.timeout).await?;
    if args.op != Operation::Put {
        note(format!("writing {} keys", args.keys));
        load.fill(&clients).await?;
    }
    let measured = load.run(&clients).await?;
    args.target
        .print(|| text(args, connections, &measured), || json(args, connections, &measured))?;
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

fn text(args: &Kv, connections: usize, measured: &Measured) -> String {
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1000.0);
    let latency = &measured.latency;
    let mut text = format!(
        "{} {} B, {} clients on {connections} connections, {:.1} s\n\
         {:>12.0} ops/s\n\
         {:>15} p50\n{:>15} p99\n{:>15} max\n\
         {:>12} errors\n",
        args.op.name(),
        args.value_size,
        args.clients,
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

fn json(args: &Kv, connections: usize, measured: &Measured) -> Value {
    let latency = &measured.latency;
    json!({
        "op": args.op.name(),
        "clients": args.clients,
        "connections": connections,
        "keys": args.keys,
        "value_bytes": args.value_size,
        "seconds": measured.took.as_secs_f64(),
        "operations": latency.len(),
        "ops_per_s": measured.operations_a_second(),
        "p50_us": latency.value_at_quantile(0.5),
        "p99_us": latency.value_at_quantile(0.99),
        "max_us": latency.max(),
        "errors": measured.errors,
        "first_error": measured.error,
        "client_cpu_us_per_op": measured.client_cpu_us_an_operation(),
        "server_cpu_us_per_op": measured.server_cpu_us_an_operation(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::load::new_histogram;

    #[test]
    fn costs_that_nobody_could_read_are_null() {
        let mut latency = new_histogram();
        for us in [100, 200, 300, 400] {
            latency.record(us).expect("in bounds");
        }
        let measured = Measured {
            latency,
            errors: 1,
            error: Some("unavailable: x".to_owned()),
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
        let json = json(&line.kv, 4, &measured);
        assert_eq!(json["ops_per_s"], 2.0);
        assert_eq!(json["client_cpu_us_per_op"], 10.0);
        assert_eq!(json["server_cpu_us_per_op"], Value::Null);
        assert_eq!(json["operations"], 4);
        let text = text(&line.kv, 4, &measured);
        assert!(text.contains(" 2 ops/s\n") && text.contains("10.0 CPU-us"), "{text}");
        assert!(!text.contains("all servers"), "{text}");
    }
}
