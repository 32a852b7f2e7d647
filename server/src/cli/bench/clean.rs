//! `quintet bench clean`: removes what the other commands of `bench` left in a cluster.

use serde_json::json;

use super::{leftovers, measure::keys::PREFIX};
use crate::cli::{
    connect,
    exit::Failure,
    output::{Format, Output},
};

/// Flags of `bench clean`.
#[derive(Debug, clap::Args)]
pub(crate) struct Clean {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// Runs `bench clean`.
pub(super) async fn run(args: Clean) -> Result<(), Failure> {
    let removed = leftovers::remove(&args.connect).await?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.line(format!("removed {removed} keys below {PREFIX}"))?,
        Format::Json => out.json(&json!({ "deleted": removed, "prefix": PREFIX }))?,
    }
    out.flush()
}
