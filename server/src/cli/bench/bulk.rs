//! What `bench load` and `bench scan` share: a client that knows its routes, and the report.
//!
//! Both use the keys of `bench kv`, the first N of them, so that every range is busy. There is no warm-up except
//! that routes are learnt before, which a program that lives longer than a load has anyway.

use futures::{StreamExt, TryStreamExt, stream};
use quintet_client::Client;
use serde_json::Value;

use super::{
    measure::{keys::key, records::Measured},
    target::Target,
};
use crate::cli::{connect, exit::Failure};

/// Keys that are read before measuring, all over the ranges.
const ROUTES_LEARNT_BY: usize = 512;
/// Keys that are read at a time before measuring.
const READ_IN_FLIGHT: usize = 64;

/// A client that knows the ranges, and the servers' processes.
pub(super) async fn prepare(target: &Target) -> Result<(Client, Vec<u32>), Failure> {
    let (addresses, server_pids) = target.servers()?;
    let client = connect::connect(addresses, target.connect.timeout).await?;
    stream::iter(0..ROUTES_LEARNT_BY)
        .map(|index| client.get(key(index)))
        .buffer_unordered(READ_IN_FLIGHT)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok((client, server_pids))
}

/// The report for people.
pub(super) fn text(measured: &Measured) -> String {
    let mut text = format!(
        "{} of {} records, {:.1} s\n{:>12.0} records/s\n{:>12.1} MB/s\n{:>12} errors\n",
        measured.op,
        measured.records,
        measured.took.as_secs_f64(),
        measured.a_second(measured.records),
        measured.a_second(measured.bytes) / 1e6,
        measured.errors,
    );
    for (cpu, whose) in [(measured.client_cpu, "client"), (measured.server_cpu, "all servers")] {
        if let Some(us) = measured.us_a_record(cpu) {
            text.push_str(&format!("{us:>12.1} CPU-us a record, {whose}\n"));
        }
    }
    if let Some(error) = &measured.error {
        text.push_str(&format!("first error: {error}\n"));
    }
    text
}

/// The report for programs, with how many of the errors have an unknown outcome.
pub(super) fn json(measured: &Measured, unknown: u64) -> Value {
    let mut json = measured.json();
    json["unknown_outcomes"] = unknown.into();
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_in_records_and_megabytes_a_second() {
        let measured = Measured::sample();
        assert_eq!(json(&measured, 3)["unknown_outcomes"], 3);
        let text = text(&measured);
        assert!(text.contains(" 2000 records/s\n") && text.contains(" 0.5 MB/s\n"), "{text}");
        assert!(!text.contains("all servers"), "{text}");
    }
}
