//! Loads a running etcd exactly as `quintet bench` loads a running Quintet, and prints the same JSON:
//! `script/bench-vs-etcd` sets the two side by side.
//!
//! The closed loop, keys, values, warm-up, what counts as measured, the way CPU time is read and the report are
//! one module that both programs compile, `measure`. Here is only what is etcd's: connections, of which each
//! goes to the next endpoint (`connection.rs`), and how it best takes many records (`bulk.rs`).
//!
//! Both clients speak gRPC over HTTP/2 with the same crates; a Quintet client sends its operations over one long
//! stream, an etcd client has only unary calls. That difference is a part of what is compared.
//!
//! Gets are etcd's default, linearizable; puts are answered once a majority has synced them.

mod bulk;
mod connection;
// The same code as the other side of the comparison, not one that resembles it.
#[path = "../../../../server/src/cli/bench/measure/mod.rs"]
mod measure;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;

use self::measure::closed_loop::{CONNECTIONS_DEFAULT, Load, Operation};

/// What to measure.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Measure {
    /// The closed loop, writes only
    Put,
    /// The closed loop, linearizable reads only
    Get,
    /// The closed loop, increments of one key: compare-and-swap until it succeeds
    Increment,
    /// One bulk load
    Load,
    /// One read of a long range
    Scan,
}

/// Loads a running etcd and prints one line of JSON.
#[derive(Debug, Parser)]
struct Args {
    /// Client URLs of the members
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    /// How long to measure, in seconds, after a second of warming up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// What to measure
    #[arg(long, value_enum)]
    op: Measure,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// Connections that the clients share; by default one per client and 16 at most
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Different keys, chosen evenly
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keys: usize,
    /// Records of a load or a scan
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    records: usize,
    /// Transactions of a load under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: usize,
    /// Processes of the members, whose CPU time is reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let counts = [args.clients, args.keys, args.records, args.in_flight];
    if counts.contains(&0) || args.connections == Some(0) {
        bail!("clients, keys, records, in-flight and connections must be at least 1");
    }
    let seconds = Duration::try_from_secs_f64(args.seconds)?;
    let connections = args.connections.unwrap_or(CONNECTIONS_DEFAULT.min(args.clients));
    let opened = connection::connect(&args.endpoints, connections).await?;
    let pids = &args.server_pids;
    let operation = match (args.op, opened.first()) {
        (Measure::Put, _) => Operation::Put,
        (Measure::Get, _) => Operation::Get,
        (Measure::Increment, _) => Operation::Increment,
        (Measure::Load, _) => {
            let (records, in_flight) = (args.records, args.in_flight);
            let report = bulk::load(&opened, records, args.value_size, in_flight, pids).await?;
            println!("{report}");
            return Ok(());
        }
        (Measure::Scan, first) => {
            let first = first.context("no connection")?;
            println!("{}", bulk::scan(first, args.records, pids).await?);
            return Ok(());
        }
    };
    let load = Load {
        clients: args.clients,
        connections,
        seconds,
        operation,
        value_bytes: args.value_size,
        keys: args.keys,
        server_pids: args.server_pids,
    };
    if operation.reads() {
        load.fill(&opened).await?;
    }
    let measured = load.run(&opened).await.map_err(anyhow::Error::msg)?;
    println!("{}", measured.json(&load));
    if measured.latency.is_empty() {
        bail!("not one operation succeeded: {}", measured.error.as_deref().unwrap_or("no answer"));
    }
    Ok(())
}
