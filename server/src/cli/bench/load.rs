//! `quintet bench load`: writes many records through the client library's batch writer.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    bulk,
    measure::{
        cpu::Meter,
        keys::key,
        records::{Measured, Values},
    },
    target::Target,
};
use crate::cli::{
    exit::{Exit, Failure},
    output::note,
};

/// How often a load tells how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// Flags of `bench load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Records to write, each with a key of its own
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000_000))]
    records: usize,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=16_777_216))]
    value_size: usize,
    /// Most records under way
    #[arg(long, value_name = "N", default_value_t = 16_384,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    in_flight: usize,
    #[command(flatten)]
    target: Target,
}

/// Runs `bench load`.
pub(super) async fn run(args: Load) -> Result<(), Failure> {
    let done = load(&args).await;
    args.target.leave(args.records, args.value_size, done).await
}

async fn load(args: &Load) -> Result<(), Failure> {
    let (client, server_pids) = bulk::prepare(&args.target).await?;
    let values = Values::new(args.value_size);
    let meter = Meter::start(&server_pids);
    let writer = client.batch_writer().in_flight_max(args.in_flight).start()?;
    let mut noted = Instant::now();
    for index in 0..args.records {
        writer.write(key(index), values.at(index)).await;
        if index % 1_024 == 0 && noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            note(format!("{} of {} records", writer.progress().acknowledged, args.records));
        }
    }
    let summary = writer.finish().await;
    let mut errors = summary.failures.iter().chain(&summary.unknown_outcomes);
    let mut measured = Measured {
        op: "load",
        records: summary.written,
        bytes: summary.bytes,
        errors: summary.failed + summary.unknown,
        error: errors.next().map(|item| format!("{:?}: {}", item.key, item.error)),
        ..Measured::default()
    };
    measured.end(&meter);
    args.target.print(|| bulk::text(&measured), || bulk::json(&measured, summary.unknown))?;
    if summary.is_complete() {
        return Ok(());
    }
    let text =
        format!("{} records failed, {} have an unknown outcome", summary.failed, summary.unknown);
    Err(match summary.unknown {
        0 => Failure::unavailable(text),
        _ => Failure::new(Exit::Unknown, "unknown_outcome", text),
    })
}
