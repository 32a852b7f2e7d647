//! `KV.Scan`, as other languages call it, and batches: many ranges at the same time, one order, one
//! moment, bounded memory.

use std::time::Duration;

use bytes::Bytes;
use quintet_client::Client;
use quintet_proto::v1::{self, kv_client::KvClient};
use tonic::transport::{Channel, Endpoint};

use crate::support::{cluster::Cluster, http, process, wait_for};

/// Over all eight ranges.
const KEYS: u32 = 3_000;
const VALUE_BYTES: usize = 8 << 10;
/// Pages of the whole, of a mebibyte each at most: 24, and one that is begun a range.
const PAGES_MIN: u64 = 24;
/// What is read of a scan that nobody takes: the page under way, one for each of four ranges, and as
/// many again where the transport took some.
const UNREAD_PAGES_MAX: u64 = 10;
/// For requests to end.
const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_and_batches_over_many_ranges() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    fill(&client).await;
    // A node that leads nothing: every page comes from another one.
    let mut kv = kv(cluster.address(5)).await;
    in_order(&mut kv).await;
    limited(&mut kv).await;
    of_one_moment(&mut kv, &client).await;
    a_batch_is_no_row_of_calls(&cluster, &mut kv).await;
    nobody_reads(&cluster).await;
}

async fn kv(address: &str) -> KvClient<Channel> {
    let connected = KvClient::connect(format!("http://{address}")).await.expect("a node");
    connected.max_decoding_message_size(64 << 20)
}

/// Where the first bytes of keys divide the key space.
fn key(n: u32) -> String {
    format!("bench/{:08x}", n * (u32::MAX / KEYS))
}

fn value(n: u32) -> Bytes {
    let mut value = vec![0; VALUE_BYTES];
    value[..4].copy_from_slice(&n.to_be_bytes());
    value.into()
}

async fn fill(client: &Client) {
    for first in (0..KEYS).step_by(500) {
        let items = (first..first + 500).map(|n| (key(n), value(n)));
        for written in client.batch_put(items).await {
            written.expect("written");
        }
    }
}

fn all() -> v1::ScanRequest {
    v1::ScanRequest { prefix: Bytes::from_static(b"bench/"), ..v1::ScanRequest::default() }
}

/// All pages of a scan: their records, and where the last page says that it goes on. Every page but the
/// last says where the next one begins, and all show one moment.
async fn pages(kv: &mut KvClient<Channel>, scan: v1::ScanRequest) -> (Vec<v1::Record>, u64, Bytes) {
    let reverse = scan.reverse;
    let mut stream = kv.scan(scan).await.expect("a stream").into_inner();
    let (mut records, mut at, mut next) = (Vec::new(), 0, None::<Bytes>);
    while let Some(page) = stream.message().await.expect("a page") {
        if let Some(next) = &next {
            assert_eq!(page.at, at, "all pages show one moment");
            for record in &page.records {
                let there = if reverse { record.key < next } else { record.key >= next };
                assert!(there, "{:?} on the page that begins at {next:?}", record.key);
            }
        }
        at = page.at;
        records.extend(page.records);
        next = Some(page.next);
    }
    (records, at, next.expect("a page at least"))
}

fn check(records: &[v1::Record], expected: impl Iterator<Item = u32>) {
    let found: Vec<_> = records.iter().map(|record| record.key.clone()).collect();
    let expected: Vec<_> = expected.collect();
    let keys: Vec<_> = expected.iter().map(|n| Bytes::from(key(*n))).collect();
    assert_eq!(found.len(), keys.len());
    assert!(found == keys, "another order");
    for (record, n) in records.iter().zip(expected) {
        assert_eq!(record.state.as_ref().expect("a state").value, value(n));
    }
}

async fn in_order(kv: &mut KvClient<Channel>) {
    let (records, at, next) = pages(kv, all()).await;
    check(&records, 0..KEYS);
    assert!(next.is_empty(), "{next:?}");
    let (records, _, next) = pages(kv, v1::ScanRequest { reverse: true, ..all() }).await;
    check(&records, (0..KEYS).rev());
    assert!(next.is_empty(), "{next:?}");
    // Of a moment that is known, and between two keys.
    let (start, end) = (Bytes::from(key(700)), Bytes::from(key(2_300)));
    for reverse in [false, true] {
        let span = v1::ScanRequest { start: start.clone(), end: end.clone(), ..Default::default() };
        let (mut records, shown, _) = pages(kv, v1::ScanRequest { reverse, at, ..span }).await;
        assert_eq!(shown, at);
        if reverse {
            records.reverse();
        }
        check(&records, 700..2_300);
    }
    let keys_only = v1::ScanRequest { keys_only: true, ..all() };
    let (records, ..) = pages(kv, keys_only).await;
    assert_eq!(records.len(), KEYS as usize);
    assert!(records.iter().all(|record| record.state.as_ref().is_some_and(|s| s.value.is_empty())));
}

/// A limit is kept to the record, whether a page satisfies it or many do; the last page says where what
/// is left begins.
async fn limited(kv: &mut KvClient<Channel>) {
    for limit in [1, 10, 999, 1_000, 1_001, 2_500, KEYS] {
        for reverse in [false, true] {
            let scan = v1::ScanRequest { limit: limit.into(), reverse, ..all() };
            let (records, at, next) = pages(kv, scan).await;
            let first = move |n: u32| if reverse { KEYS - 1 - n } else { n };
            check(&records, (0..limit).map(first));
            if limit == KEYS {
                continue;
            }
            assert!(!next.is_empty(), "it goes on behind {limit}");
            let bounds = match reverse {
                false => v1::ScanRequest { start: next, ..all() },
                true => v1::ScanRequest { end: next, ..all() },
            };
            let (rest, ..) = pages(kv, v1::ScanRequest { reverse, at, limit: 5, ..bounds }).await;
            check(&rest, (limit..KEYS.min(limit + 5)).map(first));
        }
    }
    let (records, ..) = pages(kv, v1::ScanRequest { limit: u64::MAX, ..all() }).await;
    check(&records, 0..KEYS);
}

/// What is written after the first page is on none of the later ones.
async fn of_one_moment(kv: &mut KvClient<Channel>, client: &Client) {
    let mut stream = kv.scan(all()).await.expect("a stream").into_inner();
    let first = stream.message().await.expect("a page").expect("not the end");
    for n in [KEYS / 2, KEYS - 1] {
        client.put(key(n), "later").await.expect("written");
    }
    client.put("bench/zzz", "later").await.expect("written");
    let mut records = first.records;
    while let Some(page) = stream.message().await.expect("a page") {
        records.extend(page.records);
    }
    check(&records, 0..KEYS);
    for n in [KEYS / 2, KEYS - 1] {
        client.put(key(n), value(n)).await.expect("written");
    }
    client.delete("bench/zzz").await.expect("removed");
}

/// Sum of a figure over all nodes.
async fn figure(cluster: &Cluster, beginning: &str) -> u64 {
    let mut sum = 0.0;
    for address in &cluster.https {
        let (_, page) = http::page(address, "/metrics").await.expect("a page");
        let lines = page.lines().filter(|line| line.starts_with(beginning));
        sum += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
    }
    sum as u64
}

/// Its items are under way together: leaders confirm many of them at once.
async fn a_batch_is_no_row_of_calls(cluster: &Cluster, kv: &mut KvClient<Channel>) {
    use v1::get_result::Result as Item;
    let confirmations = "quintet_read_confirmations_total";
    let before = figure(cluster, confirmations).await;
    // What does not fit into 4 MiB is asked for again.
    let (mut left, mut calls): (Vec<_>, _) = ((0..1_000).map(|n| n * 3).collect(), 0);
    while !left.is_empty() {
        let keys = left.iter().map(|n| Bytes::from(key(*n))).collect();
        let found = kv.batch_get(v1::BatchGetRequest { keys, ..Default::default() }).await;
        let items = found.expect("a batch").into_inner().items;
        assert_eq!(items.len(), left.len());
        let mut again = Vec::new();
        for (n, item) in left.iter().zip(items) {
            match item.result.expect("a result") {
                Item::State(state) => assert_eq!(state.value, value(*n)),
                Item::Error(error) => {
                    assert_eq!(error.code(), v1::Code::Overloaded, "{error:?}");
                    again.push(*n);
                }
            }
        }
        assert!(again.len() < left.len(), "one at least is answered");
        (left, calls) = (again, calls + 1);
    }
    assert!(calls <= 10, "{calls} calls for 1,000 items");
    let rounds = figure(cluster, confirmations).await - before;
    assert!(rounds < 500, "{rounds} rounds for 1,000 items");
}

/// A scan whose pages nobody takes is read ahead, and not far; when the client has gone nothing more of
/// it is read.
async fn nobody_reads(cluster: &Cluster) {
    let scans = "quintet_operations_total{operation=\"scan\"";
    let before = figure(cluster, scans).await;
    let resident = process::resident_bytes(cluster.pid(5));
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address(5)));
    let endpoint = endpoint.expect("an address").initial_stream_window_size(65_535);
    let channel = endpoint.initial_connection_window_size(65_535).connect().await;
    let mut kv = KvClient::new(channel.expect("connected")).max_decoding_message_size(64 << 20);
    let stream = kv.scan(all()).await.expect("a stream");
    let read = wait_for("ranges are read ahead", TIMEOUT, async || {
        let read = figure(cluster, scans).await - before;
        if read >= 4 { Ok(read) } else { Err(read) }
    })
    .await;
    assert!(read <= UNREAD_PAGES_MAX, "{read} pages for nobody");
    let grown = process::resident_bytes(cluster.pid(5)).saturating_sub(resident);
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    drop((stream, kv));
    wait_for("nothing is under way", TIMEOUT, async || {
        match figure(cluster, "quintet_requests_in_flight ").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    let read = figure(cluster, scans).await - before;
    assert!(read <= UNREAD_PAGES_MAX && UNREAD_PAGES_MAX < PAGES_MIN, "{read} pages for nobody");
}
