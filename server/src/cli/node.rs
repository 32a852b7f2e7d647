//! Flags of commands that are about one node: `drain`, `undrain`, `replace`.

use super::{connect, output::Format};

/// Which node, and of which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node, by its id
    #[arg(value_name = "NODE")]
    pub(super) id: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) connect: connect::Args,
}
