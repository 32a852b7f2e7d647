//! `quintet bench scan`: one scan over many records.

use futures::TryStreamExt;
use quintet_client::ScanOptions;

use super::{
    bulk,
    measure::{cpu::Meter, keys::PREFIX, records::Measured},
    target::Target,
};
use crate::cli::exit::Failure;

/// Flags of `bench scan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    /// Records to read; `bench load` or `bench kv` must have written as many
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000_000))]
    records: usize,
    #[command(flatten)]
    target: Target,
}

/// Runs `bench scan`.
pub(super) async fn run(args: Scan) -> Result<(), Failure> {
    let (client, server_pids) = bulk::prepare(&args.target).await?;
    let meter = Meter::start(&server_pids);
    let mut measured = Measured { op: "scan", ..Measured::default() };
    // not `limit`, with which a scan reads one page at a time
    let mut scan = client.scan(ScanOptions::prefix(PREFIX));
    while measured.records < args.records as u64 {
        match scan.try_next().await {
            Ok(Some(record)) => {
                measured.records += 1;
                measured.bytes += (record.key.len() + record.value.len()) as u64;
            }
            Ok(None) => break,
            Err(error) => return Err(error.into()),
        }
    }
    measured.end(&meter);
    args.target.print(|| bulk::text(&measured), || bulk::json(&measured, 0))?;
    if measured.records < args.records as u64 {
        return Err(Failure::absent(format!(
            "there are only {} records below {PREFIX}; `quintet bench load --records {}` writes them",
            measured.records, args.records
        )));
    }
    Ok(())
}
