//! `quintet bench`: measures a running cluster.
//!
//! One file per command: `kv.rs`, `load.rs`, `scan.rs`, `overload.rs`, `clean.rs`, `idle.rs`. Below them:
//!
//! ```text
//! target.rs      flags that commands on a running cluster share
//! clients.rs     connections of the closed loop: instances of the client library
//! open_loop.rs   puts that arrive at a rate, for `overload`
//! bulk.rs        what `load` and `scan` share
//! leftovers.rs   what commands leave in the cluster, and its removal
//! memory.rs      memory of the servers' processes
//! measure/       the closed loop, keys, CPU time, reports: the loads on others in benches/ compile it too
//! ```

mod bulk;
mod clean;
mod clients;
mod idle;
mod kv;
mod leftovers;
mod load;
pub(crate) mod measure;
mod memory;
mod open_loop;
mod overload;
mod scan;
mod served;
mod target;

use super::exit::Failure;

/// Subcommands of `bench`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Single-key operations in a closed loop, on keys of its own: bench/ and eight hexadecimal
    /// digits, spread evenly
    Kv(kv::Kv),
    /// A bulk load: writes the first N keys of `bench kv` in large batches, each key once
    Load(load::Load),
    /// One scan over N of these keys
    Scan(scan::Scan),
    /// Offers several times the highest throughput of the cluster, in an open loop, and reports how
    /// much of that throughput is left
    Overload(overload::Overload),
    /// Removes what the others left in the cluster: all keys that begin with bench/
    Clean(clean::Clean),
    /// Starts local clusters with many ranges and with one, and reports what an idle replica costs
    Idle(idle::Idle),
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::internal(format!("cannot start a runtime: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Kv(args) => kv::run(args).await,
            Command::Load(args) => load::run(args).await,
            Command::Scan(args) => scan::run(args).await,
            Command::Overload(args) => overload::run(args).await,
            Command::Clean(args) => clean::run(args).await,
            Command::Idle(args) => idle::run(args).await,
        }
    });
    runtime.shutdown_background();
    result
}
