//! Loads a running etcd exactly as `quintet bench kv` loads a running Quintet, and prints the same
//! JSON: `script/bench-vs-etcd` sets the two side by side.
//!
//! Equal by construction are: the closed loop, the number of clients and connections (each
//! connection begins with the next endpoint), keys, values, warm-up, what counts as measured, and
//! the way CPU time is read. Both clients speak gRPC over HTTP/2 with the same crates; a Quintet
//! client sends its operations over one long stream, an etcd client has only unary calls. That
//! difference is a part of what is compared.
//!
//! Bulk loads and scans are in `bulk.rs`, with what etcd has for them.
//!
//! Gets are etcd's default, linearizable; puts are answered once a majority has synced them.

mod bulk;
// The same reading of /proc as the other side of the comparison, not one that resembles it.
#[path = "../../../../server/src/cli/bench/cpu.rs"]
mod cpu;
mod load;

use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use serde_json::json;

use self::load::{Load, Measured};

/// Connections that clients share where nothing else is said.
const CONNECTIONS_DEFAULT: usize = 16;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Operation {
    /// Writes only
    Put,
    /// Linearizable reads only
    Get,
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
    /// What the clients do
    #[arg(long, value_enum)]
    op: Operation,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// Connections that the clients share; by default one a client and 16 at most
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
    /// Processes of the members, whose CPU time is told
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
    let connections = args.connections.unwrap_or(CONNECTIONS_DEFAULT.min(args.clients));
    let load = Load {
        clients: args.clients,
        seconds: Duration::try_from_secs_f64(args.seconds)?,
        operation: args.op,
        value_bytes: args.value_size,
        keys: args.keys,
        server_pids: args.server_pids.clone(),
    };
    let clients = load::connect(&args.endpoints, connections).await?;
    let pids = &args.server_pids;
    let bulk = match (args.op, clients.first()) {
        (Operation::Load, _) => {
            let (records, in_flight) = (args.records, args.in_flight);
            Some(bulk::load(&clients, records, args.value_size, in_flight, pids).await?)
        }
        (Operation::Scan, Some(client)) => Some(bulk::scan(client, args.records, pids).await?),
        _ => None,
    };
    if let Some(measured) = bulk {
        println!("{}", measured.json());
        return Ok(());
    }
    if args.op == Operation::Get {
        load.fill(&clients).await?;
    }
    let measured = load.run(&clients).await?;
    println!("{}", json(&args, connections, &measured));
    if measured.latency.is_empty() {
        bail!("not one operation succeeded: {}", measured.error.as_deref().unwrap_or("no answer"));
    }
    Ok(())
}

/// The fields of `quintet bench kv --output json`.
fn json(args: &Args, connections: usize, measured: &Measured) -> serde_json::Value {
    let latency = &measured.latency;
    json!({
        "op": if args.op == Operation::Put { "put" } else { "get" },
        "clients": args.clients,
        "connections": connections,
        "keys": args.keys,
        "value_bytes": args.value_size,
        "seconds": measured.took.as_secs_f64(),
        "operations": latency.len(),
        "ops_per_s": latency.len() as f64 / measured.took.as_secs_f64(),
        "p50_us": latency.value_at_quantile(0.5),
        "p99_us": latency.value_at_quantile(0.99),
        "max_us": latency.max(),
        "errors": measured.errors,
        "first_error": measured.error,
        "client_cpu_us_per_op": measured.us_an_operation(measured.client_cpu),
        "server_cpu_us_per_op": measured.us_an_operation(measured.server_cpu),
    })
}
