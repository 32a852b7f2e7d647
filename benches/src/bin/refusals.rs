//! What it costs that a refusal is remembered: compare-and-sets that are refused, by unary calls with request
//! ids, one after the other and 64 at a time, both ways (`RequestContext.refusal_not_remembered`). Each of the
//! callers has a key of its own, so that no refusal goes into the log entry of another's.
//!
//! `cargo run --release -p quintet-benches --bin refusals -- HOST:PORT`, on a running cluster; it writes 64
//! small keys that begin with `refusals/`. Why: `docs/decisions/2026-11-29-refusals-are-remembered.md`.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use quintet_proto::v1::{self, kv_client::KvClient};
use tokio::time::Instant;
use tonic::transport::Channel;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// How often each way is measured, in turns.
const ROUNDS: usize = 3;
const CALLERS: [usize; 2] = [1, 64];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: refusals HOST:PORT")?;
    println!("{:>7}  {:>14}  {:>10}  {:>9}", "callers", "refusals", "a second", "mean ms");
    for callers in CALLERS {
        for round in 0..ROUNDS * 2 {
            let remembered = round % 2 == 0;
            let (count, took) = measure(&address, callers, remembered).await?;
            let a_second = count as f64 / took.as_secs_f64();
            let way = if remembered { "remembered" } else { "not remembered" };
            let mean_ms = callers as f64 * 1_000.0 / a_second;
            println!("{callers:>7}  {way:>14}  {a_second:>10.0}  {mean_ms:>9.2}");
        }
    }
    Ok(())
}

/// Refusals that this number of callers got, and in what time.
async fn measure(
    address: &str,
    callers: usize,
    remembered: bool,
) -> anyhow::Result<(u64, Duration)> {
    let kv = KvClient::connect(format!("http://{address}")).await?;
    let begun = Instant::now();
    let tasks = (0..callers).map(|caller| tokio::spawn(refusals(kv.clone(), caller, remembered)));
    let tasks: Vec<_> = tasks.collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok((count, begun.elapsed()))
}

async fn refusals(
    mut kv: KvClient<Channel>,
    caller: usize,
    remembered: bool,
) -> anyhow::Result<u64> {
    let key = Bytes::from(format!("refusals/{caller:02}"));
    let put = v1::PutRequest { key, value: Bytes::from_static(b"v"), ..Default::default() };
    kv.put(put.clone()).await?;
    let absent = v1::condition::Kind::Absent(true);
    let client = Bytes::copy_from_slice(&rand::random::<u128>().to_be_bytes());
    let (until, mut sequence) = (Instant::now() + MEASURED, 0);
    while Instant::now() < until {
        sequence += 1;
        let request_id = v1::RequestId { origin_room: 0, client: client.clone(), sequence };
        let refused = v1::PutRequest {
            context: Some(v1::RequestContext {
                request_id: Some(request_id),
                refusal_not_remembered: !remembered,
                ..Default::default()
            }),
            condition: Some(v1::Condition { kind: Some(absent) }),
            ..put.clone()
        };
        let answer = kv.put(refused).await;
        let code = answer.as_ref().err().map(tonic::Status::code);
        ensure!(code == Some(tonic::Code::FailedPrecondition), "not refused: {answer:?}");
    }
    Ok(sequence)
}
