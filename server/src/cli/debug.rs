//! `quintet debug`: looks into a running cluster, one file per command. `debug/descriptor.rs` is what two of them
//! print alike.

mod checksum;
mod descriptor;
mod range;
mod registry;

use super::exit::Failure;

/// Subcommands of `debug`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Compare the replicas of each range: a hash over their state at equal applied indexes.
    ///
    /// Asks every node, again and again until all replicas of a range answer for the same applied
    /// index: on a cluster that takes writes that may never happen. Exits with 1 where replicas differ.
    Checksum(checksum::Checksum),
    /// Show all that each node knows of its replica of a range: descriptor, Raft state, last errors.
    Range(range::Range),
    /// Show what the system range holds: registry of nodes, index of descriptors, settings.
    Registry(registry::Registry),
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Checksum(args) => checksum::run(args).await,
        Command::Range(args) => range::run(args).await,
        Command::Registry(args) => registry::run(args).await,
    }
}
