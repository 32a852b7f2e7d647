//! Answers that are larger than what is read of them: a node's memory stays within its documented bound,
//! others are served, and who takes nothing is left without the rest.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use prost::Message;
use quintet_proto::v1::{self, Code, get_result::Result as Item, kv_client::KvClient};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, interval, timeout},
};
use tonic::transport::Endpoint;

use crate::support::{client, cluster::Cluster, http, process, wait_for};

/// `docs/operations.md` says so.
const DOCUMENTED_BYTES_MAX: u64 = 1_152 << 20;
/// Of it, what answers may take on one node: 128 MiB that wait, 32 MiB for other nodes, the links to
/// them, and what the allocator keeps of all that.
const GROWTH_BYTES_MAX: u64 = 384 << 20;
/// What gRPC's clients read unless told otherwise.
const READABLE_BYTES_MAX: usize = 4 << 20;
const VALUE_BYTES: usize = (1 << 20) - 16;
/// For what is let go after 30 s.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_bounded() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client.put("large", vec![7; VALUE_BYTES]).await.expect("written");
    let leader = cluster.leader().await;
    for through in [leader, leader % 5 + 1] {
        batches_of_large_values(&cluster, through).await;
    }
    connections_that_read_nothing(&cluster, leader).await;
}

/// Runs something while the memory of all nodes is looked at; the most that one had.
async fn peak<T>(cluster: &Cluster, what: impl Future<Output = T>) -> (u64, u64, T) {
    let resident =
        || (1..=5).map(|id| process::resident_bytes(cluster.pid(id))).max().expect("nodes");
    let before = resident();
    let mut most = before;
    let mut looks = interval(Duration::from_millis(20));
    let mut what = std::pin::pin!(what);
    loop {
        tokio::select! {
            done = &mut what => return (before, most.max(resident()), done),
            _ = looks.tick() => most = most.max(resident()),
        }
    }
}

fn check_memory(what: &str, before: u64, most: u64) {
    let grown = most.saturating_sub(before);
    println!("{what}: {} MiB, {} MiB at most", before >> 20, most >> 20);
    assert!(
        most <= DOCUMENTED_BYTES_MAX && grown <= GROWTH_BYTES_MAX,
        "{what}: {} MiB",
        most >> 20
    );
}

/// Thirty batches at the same time, each of which names a large value a hundred times.
async fn batches_of_large_values(cluster: &Cluster, through: u64) {
    let address = cluster.address(through);
    let batch = async |_| {
        let mut kv = KvClient::connect(format!("http://{address}")).await.expect("a node");
        let context = Some(v1::RequestContext { timeout_ms: 30_000, ..Default::default() });
        let keys = vec![Bytes::from_static(b"large"); 100];
        // Read as every client does that is not told otherwise.
        let answer = kv
            .batch_get(v1::BatchGetRequest { context, keys, ..Default::default() })
            .await
            .expect("readable");
        let answer = answer.into_inner();
        assert!(answer.encoded_len() <= READABLE_BYTES_MAX, "{}", answer.encoded_len());
        assert_eq!(answer.items.len(), 100);
        let mut values = 0;
        for item in answer.items {
            match item.result.expect("a result") {
                Item::State(state) => {
                    assert_eq!(state.value.len(), VALUE_BYTES);
                    values += 1;
                }
                Item::Error(error) => {
                    assert_eq!(error.code(), Code::Overloaded, "{error:?}");
                    assert_eq!(error.retry(), v1::RetryClass::Reroute, "{error:?}");
                }
            }
        }
        values
    };
    let (before, most, values) = peak(cluster, join_all((0..30).map(batch))).await;
    check_memory(&format!("batches through node {through}"), before, most);
    assert!(values.iter().all(|values| (1..=3).contains(values)), "{values:?}");
}

/// The opening of a connection with windows of two gigabytes, and two hundred requests for a large value.
fn requests() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u32, body: &[u8]| {
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        bytes.extend_from_slice(&length[1..]);
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(body);
    };
    let window = i32::MAX.to_be_bytes();
    frame(4, 0, 0, &[&[0, 4], &window[..]].concat());
    frame(8, 0, 0, &(i32::MAX - 65_535).to_be_bytes());
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    // HPACK: entries of its static table, the rest spelt out.
    let head = [
        vec![0x83, 0x86, 0x04],
        text("/quintet.v1.KV/Get"),
        vec![0x01],
        text("node"),
        vec![0x0f, 0x10],
        text("application/grpc"),
        vec![0x00],
        text("te"),
        text("trailers"),
    ]
    .concat();
    let get =
        v1::GetRequest { key: Bytes::from_static(b"large"), ..Default::default() }.encode_to_vec();
    let length = u32::try_from(get.len()).expect("short").to_be_bytes();
    let message = [&[0], &length[..], &get].concat();
    for n in 0..200 {
        frame(1, 4, 2 * n + 1, &head);
        frame(0, 1, 2 * n + 1, &message);
    }
    bytes
}

/// The value of a figure of a node.
async fn figure(cluster: &Cluster, id: u64, name: &str) -> Result<f64, String> {
    let at = usize::try_from(id).expect("a small id") - 1;
    let (_, text) = http::page(&cluster.https[at], "/metrics").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).ok_or(text)
}

async fn connections_that_read_nothing(cluster: &Cluster, through: u64) {
    let bytes = requests();
    let asked = async {
        let mut connections = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(cluster.address(through)).await.expect("connected");
            timeout(Duration::from_secs(5), stream.write_all(&bytes))
                .await
                .expect("in time")
                .expect("sent");
            connections.push(stream);
        }
        // Until all that there is room for has been read for them.
        wait_for("answers wait", LET_GO_TIMEOUT, async || {
            let waiting = figure(cluster, through, "quintet_answers_waiting_bytes").await?;
            if waiting >= 40.0 * VALUE_BYTES as f64 { Ok(()) } else { Err(waiting.to_string()) }
        })
        .await;
        // Others are served meanwhile, large values included.
        let address = cluster.address(through).to_owned();
        let other = client(std::slice::from_ref(&address)).await;
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut kv = KvClient::new(endpoint.connect().await.expect("connected"));
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(
                other.get("large").await.expect("read").expect("there").value.len(),
                VALUE_BYTES
            );
            let get = v1::GetRequest { key: Bytes::from_static(b"large"), ..Default::default() };
            let state = kv.get(get).await.expect("read").into_inner().state.expect("there");
            assert_eq!(state.value.len(), VALUE_BYTES);
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
        // Nobody takes them: they are let go, though the connections stay.
        wait_for("they are let go", LET_GO_TIMEOUT, async || {
            let gone = figure(cluster, through, "quintet_answers_let_go_total").await?;
            let waiting = figure(cluster, through, "quintet_answers_waiting_bytes").await?;
            let is_done = gone >= 40.0 && waiting < VALUE_BYTES as f64;
            if is_done { Ok(()) } else { Err(format!("{gone} let go, {waiting} bytes wait")) }
        })
        .await;
        connections
    };
    let (before, most, connections) = peak(cluster, asked).await;
    check_memory("connections that read nothing", before, most);
    drop(connections);
}
