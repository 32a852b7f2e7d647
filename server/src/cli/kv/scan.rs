//! `quintet kv scan`: prints keys and values in order.

use std::{ffi::OsString, ops::Bound};

use futures::TryStreamExt;
use quintet_client::{Record, ScanOptions};

use super::{
    common::Common,
    print::{expiring, object},
};
use crate::cli::{
    exit::Failure,
    output::{Format, Output, escape},
};

/// Flags of `kv scan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,
    /// First key, inclusive
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Last key, exclusive
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// At most this many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) async fn run(args: Scan) -> Result<(), Failure> {
    let (format, keys_only) = (args.common.output, args.keys_only);
    let bound = |key: Option<OsString>| key.map(|key| args.common.bytes(key)).transpose();
    let mut options = match bound(args.prefix)? {
        Some(prefix) => ScanOptions::prefix(prefix),
        None => ScanOptions::range((
            bound(args.start)?.map_or(Bound::Unbounded, Bound::Included),
            bound(args.end)?.map_or(Bound::Unbounded, Bound::Excluded),
        )),
    };
    if let Some(limit) = args.limit {
        options = options.limit(limit);
    }
    if args.reverse {
        options = options.reverse();
    }
    if keys_only {
        options = options.keys_only();
    }
    let client = args.common.client().await?;
    let mut records = client.scan(options);
    let mut out = Output::new();
    while let Some(record) = records.try_next().await? {
        print_record(&mut out, format, keys_only, &record)?;
    }
    out.flush()
}

fn print_record(
    out: &mut Output,
    format: Format,
    keys_only: bool,
    record: &Record,
) -> Result<(), Failure> {
    let value = (!keys_only).then_some(&record.value[..]);
    match (format, value) {
        (Format::Json, value) => {
            let object = object(&record.key, value, record.version);
            out.json(&expiring(object, record.expires_at).into())
        }
        (Format::Text, None) => out.line(escape(&record.key)),
        (Format::Text, Some(value)) => {
            out.line(format!("{}\t{}", escape(&record.key), escape(value)))
        }
    }
}
