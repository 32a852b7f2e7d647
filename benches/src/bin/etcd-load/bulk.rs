//! Many records at once, the way etcd does it best: it mirrors `server/src/cli/bench/bulk.rs`.
//!
//! A load is transactions of 100 puts, many under way. A scan is a range read, once whole and once in
//! pages; what is told is the faster of the two.

use std::time::Duration;

use anyhow::{Context, bail};
use etcd_client::{GetOptions, KvClient, Txn, TxnOp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{cpu::Meter, load::key};

/// Puts of a transaction; etcd accepts 128.
const TXN_PUTS: usize = 100;
/// How often a transaction that failed is tried again: a busy etcd says `request timed out`, and these puts
/// may be repeated.
const RETRIES_MAX: usize = 5;
/// Records of a page of a range read.
const PAGE_RECORDS: i64 = 10_000;
/// Longest answer that is taken: a whole range.
const ANSWER_BYTES_MAX: usize = 2 << 30;
/// Random bytes that values are cut from; at least twice a value.
const NOISE_BYTES_MIN: usize = 1 << 20;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Measured {
    op: &'static str,
    /// How it was done, where there are two ways.
    way: &'static str,
    records: usize,
    bytes: usize,
    took: Duration,
    client_cpu: Option<Duration>,
    server_cpu: Option<Duration>,
}

/// Writes the first keys, `in_flight` transactions under way.
pub(super) async fn load(
    clients: &[KvClient],
    records: usize,
    value_bytes: usize,
    in_flight: usize,
    server_pids: &[u32],
) -> anyhow::Result<Measured> {
    let length = NOISE_BYTES_MIN.max(2 * value_bytes);
    let noise: Vec<u8> = (0..length).map(|_| rand::random::<u8>()).collect();
    let value = |index: usize| {
        let from = index.wrapping_mul(value_bytes.max(1) + 1) % (length - value_bytes);
        &noise[from..from + value_bytes]
    };
    let meter = Meter::start(server_pids);
    let mut tasks: JoinSet<Result<(), etcd_client::Error>> = JoinSet::new();
    let mut bytes = 0;
    for (from, client) in (0..records).step_by(TXN_PUTS).zip(clients.iter().cycle()) {
        let upto = records.min(from + TXN_PUTS);
        let puts: Vec<_> =
            (from..upto).map(|index| TxnOp::put(key(index), value(index), None)).collect();
        bytes += (from..upto).map(|index| key(index).len() + value_bytes).sum::<usize>();
        if tasks.len() >= in_flight
            && let Some(ended) = tasks.join_next().await
        {
            ended?.context("a transaction failed")?;
        }
        let mut client = client.clone();
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
    Ok(measured("load", "transactions of 100", records, bytes, &meter))
}

/// Reads the first records below `bench/`, whole and in pages: the faster.
pub(super) async fn scan(
    client: &KvClient,
    records: usize,
    server_pids: &[u32],
) -> anyhow::Result<Measured> {
    let mut client = client.clone().max_decoding_message_size(ANSWER_BYTES_MAX);
    let whole = i64::try_from(records)?;
    let mut best: Option<Measured> = None;
    for (way, page) in [("whole", whole), ("in pages", PAGE_RECORDS)] {
        let one = read(&mut client, whole, way, page, server_pids).await?;
        if best.as_ref().is_none_or(|best| one.took < best.took) {
            best = Some(one);
        }
    }
    best.context("nothing was read")
}

async fn read(
    client: &mut KvClient,
    records: i64,
    way: &'static str,
    page: i64,
    server_pids: &[u32],
) -> anyhow::Result<Measured> {
    let meter = Meter::start(server_pids);
    let (mut start, mut bytes, mut left) = (b"bench/".to_vec(), 0, records);
    // all pages at the revision of the first, as one scan is
    let mut revision = 0;
    while left > 0 {
        let options = GetOptions::new()
            .with_range("bench0")
            .with_limit(left.min(page))
            .with_revision(revision);
        let answer = client.get(start, Some(options)).await?;
        revision = answer.header().map_or(0, |header| header.revision());
        if answer.kvs().is_empty() {
            bail!("{left} of {records} records are missing below bench/");
        }
        bytes += answer.kvs().iter().map(|kv| kv.key().len() + kv.value().len()).sum::<usize>();
        left -= i64::try_from(answer.kvs().len())?;
        start = answer.kvs().last().map(|kv| [kv.key(), &[0]].concat()).unwrap_or_default();
    }
    Ok(measured("scan", way, usize::try_from(records)?, bytes, &meter))
}

fn measured(
    op: &'static str,
    way: &'static str,
    records: usize,
    bytes: usize,
    meter: &Meter<'_>,
) -> Measured {
    let took = meter.took();
    let (client_cpu, server_cpu) = meter.read();
    Measured { op, way, records, bytes, took, client_cpu, server_cpu }
}

impl Measured {
    /// The fields of `quintet bench load --output json`, and which way it was done.
    pub(super) fn json(&self) -> Value {
        let seconds = self.took.as_secs_f64();
        let us = |cpu: Option<Duration>| Some(cpu?.as_secs_f64() * 1e6 / self.records as f64);
        json!({
            "op": self.op,
            "way": self.way,
            "clients": 1,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": seconds,
            "ops_per_s": self.records as f64 / seconds,
            "bytes_per_s": self.bytes as f64 / seconds,
            "errors": 0,
            "first_error": Value::Null,
            "client_cpu_us_per_op": us(self.client_cpu),
            "server_cpu_us_per_op": us(self.server_cpu),
        })
    }
}
