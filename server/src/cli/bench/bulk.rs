//! Many records at once: a load through the client library's batch writer, and one long scan.
//!
//! Both on the keys of `bench kv`, the first N of them, so that every range is busy. Time is that from
//! the first record to the last: there is no warming up, except that routes are learnt before, which a
//! program that lives longer than a load has anyway.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use quintet_client::{Client, ScanOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cpu::Meter,
    load::{PREFIX, key},
    target::Target,
};
use crate::cli::{
    connect,
    exit::{Exit, Failure},
    note,
};

/// Keys that are read before measuring, all over the ranges.
const ROUTES_LEARNT_BY: usize = 512;
/// Keys that are read at a time before measuring.
const READ_IN_FLIGHT: usize = 64;
/// Random bytes that values are cut from; at least twice a value.
const NOISE_BYTES_MIN: usize = 1 << 20;
/// How often a load tells how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// Flags of `bench load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Records to write, each with a key of its own
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000_000))]
    pub(super) records: usize,
    /// Size of values
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=16_777_216))]
    pub(super) value_size: usize,
    /// Most records under way
    #[arg(long, value_name = "N", default_value_t = 16_384,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    in_flight: usize,
    #[command(flatten)]
    pub(super) target: Target,
}

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

/// What came of it.
#[derive(Debug, Default)]
struct Measured {
    op: &'static str,
    records: u64,
    /// Of keys and values.
    bytes: u64,
    took: Duration,
    errors: u64,
    /// The first of the errors.
    error: Option<String>,
    /// Of an unknown outcome among them.
    unknown: u64,
    client_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
}

impl Measured {
    /// Fills in what passed since.
    fn end(&mut self, meter: &Meter<'_>) {
        self.took = meter.took();
        (self.client_cpu, self.server_cpu) = meter.read();
    }
}

/// A client that knows the ranges, and the servers' processes.
async fn prepare(target: &Target) -> Result<(Client, Vec<u32>), Failure> {
    let (addresses, server_pids) = target.servers()?;
    let client = connect::connect(addresses, target.connect.timeout).await?;
    stream::iter(0..ROUTES_LEARNT_BY)
        .map(|index| client.get(key(index)))
        .buffer_unordered(READ_IN_FLIGHT)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok((client, server_pids))
}

/// Runs `bench load`.
pub(super) async fn load(args: &Load) -> Result<(), Failure> {
    let (client, server_pids) = prepare(&args.target).await?;
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
        unknown: summary.unknown,
        error: errors.next().map(|item| format!("{:?}: {}", item.key, item.error)),
        ..Measured::default()
    };
    measured.end(&meter);
    args.target.print(|| measured.text(), || measured.json())?;
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

/// Runs `bench scan`.
pub(super) async fn scan(args: Scan) -> Result<(), Failure> {
    let (client, server_pids) = prepare(&args.target).await?;
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
    args.target.print(|| measured.text(), || measured.json())?;
    if measured.records < args.records as u64 {
        return Err(Failure::absent(format!(
            "there are only {} records below {PREFIX}; `quintet bench load --records {}` writes them",
            measured.records, args.records
        )));
    }
    Ok(())
}

impl Measured {
    fn a_second(&self, number: u64) -> f64 {
        number as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn us_a_record(&self, cpu: Option<Duration>) -> Option<f64> {
        (self.records > 0).then_some(cpu?.as_secs_f64() * 1e6 / self.records as f64)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} of {} records, {:.1} s\n{:>12.0} records/s\n{:>12.1} MB/s\n{:>12} errors\n",
            self.op,
            self.records,
            self.took.as_secs_f64(),
            self.a_second(self.records),
            self.a_second(self.bytes) / 1e6,
            self.errors,
        );
        for (cpu, whose) in [(self.client_cpu, "client"), (self.server_cpu, "all servers")] {
            if let Some(us) = self.us_a_record(cpu) {
                text.push_str(&format!("{us:>12.1} CPU-us a record, {whose}\n"));
            }
        }
        if let Some(error) = &self.error {
            text.push_str(&format!("first error: {error}\n"));
        }
        text
    }

    /// The names of `bench kv`, where they mean the same: an operation is a record.
    fn json(&self) -> Value {
        json!({
            "op": self.op,
            "clients": 1,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "ops_per_s": self.a_second(self.records),
            "bytes_per_s": self.a_second(self.bytes),
            "errors": self.errors,
            "unknown_outcomes": self.unknown,
            "first_error": self.error,
            "client_cpu_us_per_op": self.us_a_record(self.client_cpu),
            "server_cpu_us_per_op": self.us_a_record(self.server_cpu),
        })
    }
}

/// Values that differ and are random, so that compression does not make them smaller than they are;
/// cut from one piece, so that making them costs nothing.
struct Values {
    noise: Bytes,
    bytes: usize,
}

impl Values {
    fn new(bytes: usize) -> Values {
        let length = NOISE_BYTES_MIN.max(2 * bytes);
        Values { noise: (0..length).map(|_| rand::random::<u8>()).collect(), bytes }
    }

    fn at(&self, index: usize) -> Bytes {
        let places = self.noise.len() - self.bytes;
        let from = index.wrapping_mul(self.bytes.max(1) + 1) % places;
        self.noise.slice(from..from + self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        for bytes in [0, 1, 256, NOISE_BYTES_MIN, 3 * NOISE_BYTES_MIN] {
            let values = Values::new(bytes);
            for index in [0, 1, 4_095, 1_000_000_000] {
                assert_eq!(values.at(index).len(), bytes);
            }
            if bytes >= 256 {
                assert_ne!(values.at(1), values.at(2));
            }
        }
    }

    #[test]
    fn an_operation_is_a_record() {
        let measured = Measured {
            op: "load",
            records: 4_000,
            bytes: 1_000_000,
            took: Duration::from_secs(2),
            client_cpu: Some(Duration::from_millis(40)),
            ..Measured::default()
        };
        let json = measured.json();
        assert_eq!(
            (&json["ops_per_s"], &json["bytes_per_s"]),
            (&json!(2_000.0), &json!(500_000.0))
        );
        assert_eq!(json["client_cpu_us_per_op"], 10.0);
        assert_eq!(json["server_cpu_us_per_op"], Value::Null);
        let text = measured.text();
        assert!(text.contains(" 2000 records/s\n") && text.contains(" 0.5 MB/s\n"), "{text}");
        assert!(!text.contains("all servers"), "{text}");
    }
}
