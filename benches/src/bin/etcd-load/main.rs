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
#[path = "../../flags.rs"]
mod flags;
// The same code as the other side of the comparison, not one that resembles it.
#[path = "../../../../server/src/cli/bench/measure/mod.rs"]
mod measure;

use anyhow::{Context, bail};
use clap::Parser;

use self::{
    flags::{Flags, print},
    measure::closed_loop::Operation,
};

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
    #[command(flatten)]
    flags: Flags,
    /// What to measure
    #[arg(long, value_enum)]
    op: Measure,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// Different keys, chosen evenly
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keys: usize,
    /// Records of a load or a scan
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    records: usize,
    /// Transactions of a load under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { flags, op, value_size, keys, records, in_flight } = Args::parse();
    if [keys, records, in_flight].contains(&0) {
        bail!("keys, records and in-flight must be at least 1");
    }
    let opened = connection::connect(&flags.endpoints, flags.connections()?).await?;
    let pids = &flags.server_pids;
    let operation = match (op, opened.first()) {
        (Measure::Put, _) => Operation::Put,
        (Measure::Get, _) => Operation::Get,
        (Measure::Increment, _) => Operation::Increment,
        (Measure::Load, _) => {
            println!("{}", bulk::load(&opened, records, value_size, in_flight, pids).await?);
            return Ok(());
        }
        (Measure::Scan, first) => {
            let first = first.context("no connection")?;
            println!("{}", bulk::scan(first, records, pids).await?);
            return Ok(());
        }
    };
    let load = flags.load(operation, value_size, keys)?;
    if operation.reads() {
        load.fill(&opened).await?;
    }
    let measured = load.run(&opened).await.map_err(anyhow::Error::msg)?;
    print(&measured, &measured.json(&load))
}
