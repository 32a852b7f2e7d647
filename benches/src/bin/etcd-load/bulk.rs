//! Many records at once, the way etcd does it best, beside `quintet bench load` and `quintet bench scan`.
//!
//! A load is transactions of 100 puts, many under way. A scan is a range read, once whole and once in
//! pages; what is told is the faster of the two.

use anyhow::{Context, bail};
use etcd_client::{GetOptions, KvClient, Txn, TxnOp};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    connection::Connection,
    measure::{
        cpu::Meter,
        keys::{PREFIX, key},
        records::{Measured, Values},
    },
};

/// Puts of a transaction; etcd accepts 128.
const TXN_PUTS: usize = 100;
/// How often a transaction that failed is tried again: a busy etcd says `request timed out`, and these puts
/// may be repeated.
const RETRIES_MAX: usize = 5;
/// Records of a page of a range read.
const PAGE_RECORDS: i64 = 10_000;
/// Longest answer that is taken: a whole range.
const ANSWER_BYTES_MAX: usize = 2 << 30;
/// The first key above all that begin with [`PREFIX`].
const PREFIX_END: &str = "bench0";

/// Writes the first keys, `in_flight` transactions under way; returns the report.
pub(super) async fn load(
    connections: &[Connection],
    records: usize,
    value_bytes: usize,
    in_flight: usize,
    server_pids: &[u32],
) -> anyhow::Result<Value> {
    let values = Values::new(value_bytes);
    let meter = Meter::start(server_pids);
    let mut tasks: JoinSet<Result<(), etcd_client::Error>> = JoinSet::new();
    let mut measured = Measured { op: "load", records: records as u64, ..Measured::default() };
    for (from, connection) in (0..records).step_by(TXN_PUTS).zip(connections.iter().cycle()) {
        let upto = records.min(from + TXN_PUTS);
        let puts: Vec<_> =
            (from..upto).map(|index| TxnOp::put(key(index), values.at(index), None)).collect();
        let bytes: usize = (from..upto).map(|index| key(index).len() + value_bytes).sum();
        measured.bytes += bytes as u64;
        if tasks.len() >= in_flight
            && let Some(ended) = tasks.join_next().await
        {
            ended?.context("a transaction failed")?;
        }
        let mut client = connection.0.clone();
        tasks.spawn(async move {
            let mut tries = 0;
            loop {
                match client.txn(Txn::new().and_then(puts.clone())).await {
                    Err(_) if tries < RETRIES_MAX => tries += 1,
                    ended => return ended.map(drop),
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?.context("a transaction failed")?;
    }
    measured.end(&meter);
    Ok(json(&measured, "transactions of 100"))
}

/// Reads the first records below `bench/`, whole and in pages; returns the report of the faster.
pub(super) async fn scan(
    connection: &Connection,
    records: usize,
    server_pids: &[u32],
) -> anyhow::Result<Value> {
    let mut client = connection.0.clone().max_decoding_message_size(ANSWER_BYTES_MAX);
    let count = i64::try_from(records)?;
    let whole = read(&mut client, count, count, server_pids).await?;
    let paged = read(&mut client, count, PAGE_RECORDS, server_pids).await?;
    Ok(match paged.took < whole.took {
        true => json(&paged, "in pages"),
        false => json(&whole, "whole"),
    })
}

async fn read(
    client: &mut KvClient,
    records: i64,
    page: i64,
    server_pids: &[u32],
) -> anyhow::Result<Measured> {
    let meter = Meter::start(server_pids);
    let (mut start, mut left) = (PREFIX.as_bytes().to_vec(), records);
    let mut measured =
        Measured { op: "scan", records: u64::try_from(records)?, ..Measured::default() };
    // all pages at the revision of the first, as one scan is
    let mut revision = 0;
    while left > 0 {
        let options = GetOptions::new()
            .with_range(PREFIX_END)
            .with_limit(left.min(page))
            .with_revision(revision);
        let answer = client.get(start, Some(options)).await?;
        revision = answer.header().map_or(0, |header| header.revision());
        if answer.kvs().is_empty() {
            bail!("{left} of {records} records are missing below {PREFIX}");
        }
        let bytes = answer.kvs().iter().map(|kv| kv.key().len() + kv.value().len());
        measured.bytes += bytes.sum::<usize>() as u64;
        left -= i64::try_from(answer.kvs().len())?;
        start = answer.kvs().last().map(|kv| [kv.key(), &[0]].concat()).unwrap_or_default();
    }
    measured.end(&meter);
    Ok(measured)
}

/// The report of `quintet bench load` and `scan`, and which way it was done.
fn json(measured: &Measured, way: &str) -> Value {
    let mut json = measured.json();
    json["way"] = way.into();
    json
}
