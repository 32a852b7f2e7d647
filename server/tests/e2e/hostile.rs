//! Whatever connects to a port: the node lives on, does not grow, and serves others.
//!
//! One cluster goes through noise on every port, frames of the right service with undecodable bodies, silence on ten
//! thousand connections, senseless requests, deadlines that have passed, and a client that does not read its answers.
//! After each the same processes must answer, without a panic in the log. Memory is compared after the second round of
//! noise, because the first one brings buffers and threads into being.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use prost::Message;
use quintet_client::Client;
use quintet_proto::{
    internal::v1::{self as internal, peer_client::PeerClient},
    v1::{self, kv_client::KvClient, session_request::Op},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tonic::transport::{Channel, Endpoint};

use crate::silence;
use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    details, http, process, wait_for,
};

/// What a round of garbage may leave behind in memory, the allocator's habits included.
const GROWTH_BYTES_MAX: u64 = 12 << 20;
/// What one client that does not read may hold in memory on all nodes together.
const UNREAD_BYTES_MAX: u64 = 128 << 20;
const CONNECTIONS_A_KIND: usize = 8;
const VALUE_BYTES: usize = 1 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_survive_whatever_connects() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let pids: Vec<_> = (1..=5).map(|id| cluster.pid(id)).collect();
    client.put("before", "x").await.expect("written");

    // The first round brings buffers and threads into being; the second one must find them there.
    let mut random = StdRng::seed_from_u64(1);
    garbage(&cluster, &mut random).await;
    let before = resident(&cluster);
    garbage(&cluster, &mut random).await;
    wait_for("memory is as before", Duration::from_secs(20), async || {
        let grown: Vec<_> = resident(&cluster)
            .iter()
            .zip(&before)
            .map(|(now, before)| now.saturating_sub(*before))
            .collect();
        if grown.iter().all(|grown| *grown <= GROWTH_BYTES_MAX) { Ok(()) } else { Err(grown) }
    })
    .await;
    still_serves(&cluster, &pids).await;

    silence::ten_thousand_connections_that_say_nothing(&cluster).await;
    still_serves(&cluster, &pids).await;

    senseless_requests(&cluster, &client).await;
    out_of_time(&cluster, &client).await;
    still_serves(&cluster, &pids).await;

    let leader = cluster.leader().await;
    for through in [leader, leader % 5 + 1] {
        a_client_that_does_not_read(&cluster, &client, through).await;
    }
    still_serves(&cluster, &pids).await;
}

fn resident(cluster: &Cluster) -> Vec<u64> {
    (1..=5).map(|id| process::resident_bytes(cluster.pid(id))).collect()
}

/// The same processes, no panic, every port answers.
async fn still_serves(cluster: &Cluster, pids: &[u32]) {
    for (id, pid) in (1..).zip(pids) {
        assert_eq!(cluster.pid(id), *pid, "node {id} is another process");
        let log = cluster.log(id);
        let panic = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panic, None, "node {id}");
    }
    for (address, http) in cluster.clients.iter().zip(&cluster.https) {
        let client = client(std::slice::from_ref(address)).await;
        client.put("after", "x").await.expect("written");
        assert_eq!(client.get("after").await.expect("read").expect("there").value, "x");
        assert_eq!(http::page(http, "/livez").await, Ok((200, "ok\n".to_owned())));
    }
    cluster.wait_healthy(HOME_TIMEOUT).await;
}

/// Every kind of garbage on every port of node 1 and node 3.
async fn garbage(cluster: &Cluster, random: &mut StdRng) {
    for node in [0, 2] {
        for address in [&cluster.clients[node], &cluster.internals[node], &cluster.https[node]] {
            for bytes in openings(random) {
                for _ in 0..CONNECTIONS_A_KIND {
                    throw(address, &bytes).await;
                }
            }
        }
        for _ in 0..CONNECTIONS_A_KIND {
            garbage_in_sessions(&cluster.clients[node], random).await;
            garbage_in_links(&cluster.internals[node], random).await;
        }
    }
}

fn noise(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}

/// First bytes of connections that make no sense.
fn openings(random: &mut StdRng) -> Vec<Vec<u8>> {
    let h2 = |rest: &[u8]| [PREFACE, rest].concat();
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    vec![
        Vec::new(),
        noise(random, 10),
        noise(random, 100_000),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"POST /quintet.v1.KV/Put HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n"
            .to_vec(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(20_000)].concat(),
        // A TLS 1.2 hello that announces more than comes.
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(random, 64)].concat(),
        PREFACE[..11].to_vec(),
        h2(&[]),
        // A frame cut short; one of the greatest length; frames of unknown types; headers that are
        // no headers.
        h2(&settings[..5]),
        h2(&[settings, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        h2(&[settings, &[0, 0, 8, 0x55, 0xff, 0x7f, 0xff, 0xff, 0xff], &noise(random, 8)].concat()),
        h2(&[settings, &[0, 0, 32, 1, 4, 0, 0, 0, 1], &noise(random, 32)].concat()),
        h2(&[settings, &noise(random, 50_000)].concat()),
    ]
}

/// Sends bytes, closes the sending side, takes a bit of what comes back.
async fn throw(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("the port is open");
    // The node may close in the middle: that is an answer.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut answer = [0; 4096];
        drop(timeout(Duration::from_millis(20), stream.read(&mut answer)).await);
    }
}

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("connected")
}

/// Frames of the right service whose bodies are noise, or end too early.
fn bodies(random: &mut StdRng, hello: &[u8]) -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![noise(random, 1)],
        vec![noise(random, 10_000)],
        vec![Vec::new()],
        vec![hello.to_vec(), noise(random, 1_000)],
        vec![hello[..hello.len() - 1].to_vec()],
        vec![hello.to_vec(), hello.to_vec(), hello.to_vec()],
        // A length that reaches beyond the end.
        vec![vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ]
}

async fn garbage_in_sessions(address: &str, random: &mut StdRng) {
    let hello = v1::SessionRequests {
        hello: Some(v1::SessionHello { cluster_id: String::new(), incarnation: 0 }),
        requests: vec![v1::SessionRequest { id: 1, op: None }; 3],
    };
    let mut kv = KvClient::new(channel(address).await);
    for frames in bodies(random, &hello.encode_to_vec()) {
        let frames = frames.into_iter().map(|body| v1::SessionFrame { body: body.into() });
        let Ok(session) = kv.session(futures::stream::iter(frames)).await else { continue };
        let mut answers = session.into_inner();
        // Answers, then the end or an error: never silence.
        let ended = timeout(Duration::from_secs(5), async {
            while let Ok(Some(_)) = answers.message().await {}
        });
        ended.await.expect("the session ends");
    }
}

async fn garbage_in_links(address: &str, random: &mut StdRng) {
    // A stranger: it has no address that could be dialled, and another cluster's id.
    let hello = internal::PeerBatch {
        hello: Some(internal::Hello {
            node_id: 77,
            cluster_id: "another".to_owned(),
            incarnation: u64::MAX,
            ..internal::Hello::default()
        }),
        known: u64::MAX,
        ..internal::PeerBatch::default()
    };
    let mut peer = PeerClient::new(channel(address).await);
    for frames in bodies(random, &hello.encode_to_vec()) {
        let frames = frames.into_iter().map(|body| internal::PeerFrame { body: body.into() });
        let Ok(link) = peer.link(futures::stream::iter(frames)).await else { continue };
        let mut answers = link.into_inner();
        let ended = timeout(Duration::from_secs(5), async {
            while let Ok(Some(_)) = answers.message().await {}
        });
        ended.await.expect("the link ends");
    }
}

/// Well-formed requests that ask for nonsense get clear errors.
async fn senseless_requests(cluster: &Cluster, client: &Client) {
    let mut kv =
        KvClient::new(channel(&cluster.clients[1]).await).max_encoding_message_size(64 << 20);
    let context = |context: v1::RequestContext| Some(context);
    let put = |context: Option<v1::RequestContext>, key: &[u8]| v1::PutRequest {
        context,
        key: Bytes::copy_from_slice(key),
        value: Bytes::from_static(b"x"),
        condition: None,
        ttl_ms: 0,
        keep_ttl: false,
    };
    let nonsense = [
        put(None, b""),
        put(None, &[b'k'; 8193]),
        put(
            context(v1::RequestContext { keyspace: "none".to_owned(), ..Default::default() }),
            b"k",
        ),
        put(
            context(v1::RequestContext { cluster_id: "none".to_owned(), ..Default::default() }),
            b"k",
        ),
        put(
            context(v1::RequestContext {
                request_id: Some(v1::RequestId {
                    origin_room: u32::MAX,
                    client: Bytes::from_static(b"short"),
                    sequence: u64::MAX,
                }),
                attempt: u32::MAX,
                first_attempt_time: u64::MAX,
                ..Default::default()
            }),
            b"k",
        ),
        v1::PutRequest { value: vec![0; VALUE_BYTES + 1].into(), ..put(None, b"k") },
        v1::PutRequest { condition: Some(v1::Condition { kind: None }), ..put(None, b"k") },
        v1::PutRequest { ttl_ms: u64::MAX, ..put(None, b"k") },
    ];
    for request in nonsense {
        let shown: String = format!("{request:?}").chars().take(300).collect();
        // What is wrong with a repetition says nothing about the copies before it.
        let repeats = request.context.as_ref().is_some_and(|context| context.attempt > 0);
        let status = kv.put(request).await.err().unwrap_or_else(|| panic!("accepted: {shown}"));
        let error = details(&status);
        assert!(!error.message.is_empty(), "{shown}: {error:?}");
        assert_eq!(error.maybe_committed, repeats, "{shown}: {error:?}");
        assert!(error.code() != v1::Code::Unspecified, "{shown}: {error:?}");
    }
    let scan = v1::ScanRequest {
        start: Bytes::from_static(b"z"),
        end: Bytes::from_static(b"a"),
        prefix: Bytes::from_static(b"p"),
        at: u64::MAX,
        limit: u64::MAX,
        ..Default::default()
    };
    let mut scanned = kv.scan(scan).await;
    let failed = match &mut scanned {
        Ok(pages) => pages.get_mut().message().await.err(),
        Err(status) => Some(status.clone()),
    };
    assert!(failed.is_some(), "start, end and prefix together");
    let error = client.put("k", vec![0; VALUE_BYTES + 1]).await.expect_err("too large");
    assert_eq!(error.code(), "invalid_argument");
    client.put("number", i64::MAX.to_string()).await.expect("written");
    let error = client.increment("number", 1).await.expect_err("does not fit");
    assert_eq!(error.code(), "not_a_number");
}

/// A deadline that has passed on arrival, or as good as.
async fn out_of_time(cluster: &Cluster, client: &Client) {
    // No time at all: what is there at the first look, or a clear error.
    let hasty = client.with_timeout(Duration::ZERO);
    for _ in 0..100 {
        match hasty.get("before").await {
            Ok(found) => assert_eq!(found.expect("there").value, "x"),
            Err(error) => assert_eq!(error.code(), "deadline_exceeded", "{error}"),
        }
        if let Err(error) = hasty.put("late", "x").await {
            assert!(["deadline_exceeded", "unknown_outcome"].contains(&error.code()), "{error}");
        }
    }
    // As short as a server can be told: it answers in time, or says that it was too late.
    let mut kv = KvClient::new(channel(&cluster.clients[4]).await);
    for _ in 0..100 {
        let context = Some(v1::RequestContext { timeout_ms: 1, ..Default::default() });
        let request =
            v1::GetRequest { context, key: Bytes::from_static(b"before"), ..Default::default() };
        let began = Instant::now();
        if let Err(status) = kv.get(request).await {
            let error = details(&status);
            let codes = [v1::Code::DeadlineExceeded, v1::Code::Unavailable, v1::Code::NotLeader];
            assert!(codes.contains(&error.code()), "{error:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

/// A session that asks for gigabytes and takes nothing: it is not read any further, memory stays
/// bounded on every node, others are served; when it goes, so does its memory.
async fn a_client_that_does_not_read(cluster: &Cluster, client: &Client, through: u64) {
    client.put("large", vec![7; VALUE_BYTES]).await.expect("written");
    let before: u64 = resident(cluster).iter().sum();
    let (mut frames, receiver) = mpsc::channel(0);
    let endpoint = format!("http://{}", cluster.address(through));
    let endpoint = Endpoint::from_shared(endpoint).expect("an address");
    // No more than this comes over the wire unasked.
    let endpoint =
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut kv = KvClient::new(endpoint.connect().await.expect("connected"))
        .max_decoding_message_size(usize::MAX);
    let hello = v1::SessionRequests {
        hello: Some(v1::SessionHello { cluster_id: String::new(), incarnation: 0 }),
        requests: Vec::new(),
    };
    let requests = futures::stream::iter([frame(hello)]).chain(receiver);
    let session = kv.session(requests).await.expect("a session");

    let mut sent = 0_u64;
    let mut most = before;
    let paused = loop {
        assert!(sent < 1_000, "{sent} frames were taken");
        let requests = (0..100).map(|n| large_request(sent * 100 + n)).collect();
        let next = frame(v1::SessionRequests { hello: None, requests });
        match timeout(Duration::from_secs(1), frames.send(next)).await {
            Ok(Ok(())) => sent += 1,
            Ok(Err(_)) => break "closed",
            Err(_) => break "not read any further",
        }
        most = most.max(resident(cluster).iter().sum());
        let began = Instant::now();
        client.put("beside", "x").await.expect("others are served");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    };
    most = most.max(resident(cluster).iter().sum());
    let grown = most.saturating_sub(before);
    assert!(
        grown <= UNREAD_BYTES_MAX,
        "through node {through}: {} MiB for {sent} frames, {paused}",
        grown >> 20
    );
    for address in &cluster.clients {
        let other = crate::support::client(std::slice::from_ref(address)).await;
        other.put("beside", "y").await.expect("others are served");
    }
    drop((session, frames, kv));
}

fn large_request(id: u64) -> v1::SessionRequest {
    let op = if id.is_multiple_of(10) {
        Op::Scan(v1::ScanRequest { prefix: Bytes::from_static(b"large"), ..Default::default() })
    } else {
        Op::Get(v1::GetRequest { key: Bytes::from_static(b"large"), ..Default::default() })
    };
    v1::SessionRequest { id, op: Some(op) }
}

fn frame(requests: v1::SessionRequests) -> v1::SessionFrame {
    v1::SessionFrame { body: requests.encode_to_vec().into() }
}
