//! What benches leave in a cluster, and removing it.

use serde_json::json;

use super::load::PREFIX;
use crate::cli::{
    connect,
    exit::Failure,
    kv,
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
    let removed = remove(&args.connect).await?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.line(format!("removed {removed} keys below {PREFIX}"))?,
        Format::Json => out.json(&json!({ "deleted": removed, "prefix": PREFIX }))?,
    }
    out.flush()
}

/// Removes all keys of benches; how many there were.
pub(super) async fn remove(connect: &connect::Args) -> Result<u64, Failure> {
    let mut deletion = connect.client().await?.delete_prefix(PREFIX);
    kv::del::to_the_end(&mut deletion).await?;
    Ok(deletion.deleted())
}
