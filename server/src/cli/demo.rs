//! `quintet demo`: what Quintet is there for, shown. Offline, at once and without a cluster: time in here is a number.

mod anomaly;

use super::exit::Failure;

/// Subcommands of `demo`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show how one time server lets the order of commits contradict that of timestamps, and how the oracle does not
    ///
    /// The story of two clients of one resource is told twice, with the same clients and delays, side by side: by one
    /// time server that is asked before a write sets out, and by the oracle of five time servers that nodes run.
    Anomaly(anomaly::Args),
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Anomaly(args) => anomaly::run(&args),
    }
}
