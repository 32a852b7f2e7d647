//! Feeds, as their users have them: through nodes that are killed, resumed elsewhere, from too long ago, and by a
//! client that stops reading.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use quintet_client::{Client, Version, WatchPosition, Watched};
use quintet_proto::v1::{self, Code, RetryClass, kv_client::KvClient};
use tonic::{Status, codec::Streaming};

use crate::support::{
    channel, client,
    cluster::{Cluster, HOME_TIMEOUT},
    command::quintet,
    details, http, node, wait_for,
};

/// Writes through the kills.
const WRITES: usize = 10_000;
/// Writes that are under way at the same time.
const WRITERS: usize = 16;
/// For all of them to be written, and to come.
const ALL_TIMEOUT: Duration = Duration::from_secs(240);
/// For a slow client to be noticed (20 s), on machines that are busy.
const SLOW_TIMEOUT: Duration = Duration::from_secs(90);
/// For the gc threshold, which is 10 s behind, to pass.
const COLLECTED_TIMEOUT: Duration = Duration::from_secs(60);
/// What is written to a feed whose client reads nothing: 100 MiB, of which without bounds all would wait.
const SLOW_WRITES: u32 = 400;
const SLOW_VALUE_BYTES: usize = 256 << 10;
/// Of that, what waits in the node at most: a sixteenth of 128 MiB for pages and messages of a connection, and four
/// messages beyond that which were being made.
const WAITING_BYTES_MAX: u64 = (8 + 4 * 2) << 20;

/// What a feed brought: versions and keys, in its order.
type Brought = Vec<(u64, Bytes)>;

/// Reads until this number of changes has come.
async fn brought(watch: &mut quintet_client::Watch, count: usize) -> Brought {
    let mut brought = Vec::with_capacity(count);
    while brought.len() < count {
        let item = watch.next().await.expect("a feed has no end");
        if let Watched::Change(change) = item.expect("it goes on") {
            brought.push((change.written.version.0, change.key));
        }
    }
    brought
}

#[track_caller]
fn check(what: &str, brought: &Brought, written: &BTreeSet<(u64, Bytes)>) {
    let rises = brought.windows(2).position(|pair| pair[0] >= pair[1]);
    assert_eq!(rises, None, "{what}: out of order, or twice");
    let missing = written.iter().filter(|it| brought.binary_search(it).is_err()).count();
    println!("{what}: {} of {}, {missing} missing", brought.len(), written.len());
    assert!(missing == 0 && brought.len() == written.len(), "{what}: {missing} are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_and_nothing_repeated_through_kills() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let start = client.put("feed/", "begins").await.expect("put");

    let mut watch = client.watch_prefix("feed/").after(start);
    let library = tokio::spawn(async move { brought(&mut watch, WRITES).await });
    let (state, from, count) = (cluster.dir(), start.to_string(), WRITES.to_string());
    let nodes = cluster.clients.join(",");
    let command = tokio::spawn(async move {
        let follow = ["kv", "watch", "--prefix", "feed/", "--from", &from, "--count", &count];
        quintet(&state, &[&follow[..], &["--node", &nodes]].concat()).await.done()
    });

    let (done, writer) = (Arc::new(AtomicUsize::new(0)), client.clone());
    let counted = done.clone();
    let writing = tokio::spawn(async move {
        let writes = stream::iter(0..WRITES).map(|number| {
            let (client, done) = (writer.clone(), counted.clone());
            async move {
                // Many versions of a key, and many keys of a moment, in all ranges.
                let key = Bytes::from(format!("feed/{}", number % 500));
                let put = client.put(key.clone(), format!("{number}")).await;
                done.fetch_add(1, Ordering::Relaxed);
                (put.expect("acknowledged").0, key)
            }
        });
        writes.buffer_unordered(WRITERS).collect::<BTreeSet<_>>().await
    });
    // Leaders, one of them the node that the feeds are asked of, while all is written.
    for part in 1..=3 {
        wait_for("a part is written", ALL_TIMEOUT, async || {
            let done = done.load(Ordering::Relaxed);
            if done >= WRITES / 4 * part { Ok(()) } else { Err(done) }
        })
        .await;
        let leader = cluster.leader().await;
        cluster.kill(&[leader]).await;
        let at_kill = done.load(Ordering::Relaxed);
        wait_for("writes go on without it", ALL_TIMEOUT, async || {
            let done = done.load(Ordering::Relaxed);
            if done >= (at_kill + WRITES / 100 * part).min(WRITES) { Ok(()) } else { Err(done) }
        })
        .await;
        cluster.bring_back().await;
    }
    let written = writing.await.expect("all are written");
    assert_eq!(written.len(), WRITES);

    let library = tokio::time::timeout(ALL_TIMEOUT, library).await.expect("in time");
    check("the library", &library.expect("brought"), &written);
    let printed = tokio::time::timeout(ALL_TIMEOUT, command).await.expect("in time");
    let printed = printed.expect("it ends");
    let lines: Brought = printed
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            assert_eq!((fields.len(), fields[1]), (4, "put"), "{line}");
            (fields[0].parse().expect("a version"), Bytes::from(fields[2].to_owned()))
        })
        .collect();
    check("the command", &lines, &written);

    resumed_elsewhere(&cluster, &client, start, &written).await;
    command_line(&cluster, &client, start).await;
}

/// A feed whose node is killed, gone on with by another process, from where it stood.
async fn resumed_elsewhere(
    cluster: &Cluster,
    all: &Client,
    start: Version,
    written: &BTreeSet<(u64, Bytes)>,
) {
    let (first, other) = (cluster.address(4).to_owned(), cluster.address(5).to_owned());
    let one = client(std::slice::from_ref(&first)).await;
    let mut watch = one.watch_prefix("feed/").after(start);
    let mut seen = brought(&mut watch, WRITES / 3).await;
    let at = watch.position().expect("it stands somewhere").clone();
    cluster.kill(&[4]).await;
    let later = all.put("feed/later", "v").await.expect("put");
    let kept = WatchPosition::new(at.version, at.key);
    let two = client(std::slice::from_ref(&other)).await;
    let mut watch = two.watch_prefix("feed/").from(&kept);
    seen.extend(brought(&mut watch, WRITES - seen.len() + 1).await);
    let mut written = written.clone();
    written.insert((later.0, Bytes::from_static(b"feed/later")));
    check("resumed elsewhere", &seen, &written);
    cluster.bring_back().await;
}

/// What the command prints of removals and values that expire, up to a moment.
async fn command_line(cluster: &Cluster, client: &Client, start: Version) {
    client.put("told/\n", "a\tb").await.expect("put");
    client.delete("told/\n").await.expect("deleted");
    let until = client.put("other", "v").await.expect("put").to_string();
    let (dir, node, from) = (cluster.dir(), cluster.address(5), start.to_string());
    let follow = ["kv", "watch", "--prefix", "told/", "--from", &from, "--until", &until];
    let printed = quintet(&dir, &[&follow[..], &["--node", node]].concat()).await.done();
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split('\t').collect()).collect();
    let (words, versions): (Vec<_>, Vec<_>) =
        lines.iter().map(|line| (&line[1..], line[0].parse::<u64>().expect("a version"))).unzip();
    assert_eq!(words, [&["put", "told/\\n", "a\\tb"][..], &["del", "told/\\n"]], "{printed}");
    assert!(versions[0] > start.0 && versions[0] < versions[1], "{printed}");
    let follow = ["kv", "watch", "told/\\n", "--escaped", "--from", &from, "--count", "2"];
    let json = ["--output", "json", "--node", node];
    let printed = quintet(&dir, &[&follow[..], &json].concat()).await.done();
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["value"], &lines[0]["removed"]), (&"a\tb".into(), &false.into()));
    assert_eq!((&lines[1]["key"], &lines[1]["removed"]), (&"told/\n".into(), &true.into()));
    let ahead = (start.0 + (3_600_000_000 << 12)).to_string();
    let follow = ["kv", "watch", "k", "--from", &ahead, "--node", node];
    let line = quintet(&dir, &follow).await.refused(1);
    assert!(
        line.starts_with("error: invalid_argument: ") && line.contains("yet to come"),
        "{line}"
    );
}

/// One node with some limits, and a client of it.
async fn one_node(temp: &std::path::Path, limits: &str) -> (node::Node, Client) {
    let config = node::configure(temp, 1, &[]);
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("{text}[limits]\n{limits}\n")).expect("written");
    let node = node::Node::start(&config).await;
    let init = ["cluster", "init", "--nodes", "1", "--node", &node.client];
    quintet(temp, &init).await.done();
    let client = client(std::slice::from_ref(&node.client)).await;
    (node, client)
}

async fn open(
    kv: &mut KvClient<tonic::transport::Channel>,
    watch: v1::WatchRequest,
) -> Result<Streaming<v1::WatchResponse>, Status> {
    kv.watch(watch).await.map(tonic::Response::into_inner)
}

/// Reads a watch to its end; everything that it brought, where it stands, and why it ended.
async fn read_out(mut watch: Streaming<v1::WatchResponse>) -> (Brought, (u64, Bytes), Status) {
    let (mut brought, mut at) = (Vec::new(), (0, Bytes::new()));
    loop {
        match watch.message().await {
            Ok(Some(message)) => {
                let changes = message.changes.into_iter();
                let place = |it: v1::Change| (it.version.expect("a version").version, it.key);
                brought.extend(changes.map(place));
                // As the schema says what a position is.
                at = match brought.last() {
                    Some(last) if last.0 > message.resolved => last.clone(),
                    _ => (message.resolved, Bytes::new()),
                };
            }
            Ok(None) => panic!("a watch ends with an error"),
            Err(status) => return (brought, at, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_too_long_ago_is_refused_and_says_so() {
    let temp = tempfile::tempdir().expect("a directory");
    let limits = "dedup_window_s = 10\nversion_retention_s = 10\nwatches_max = 2";
    let (node, client) = one_node(temp.path(), limits).await;
    let first = client.put("k", "first").await.expect("put");
    client.put("k", "second").await.expect("put");
    let error = wait_for("the moment is out of reach", COLLECTED_TIMEOUT, async || {
        client.put("k", "another").await.expect("put");
        let mut watch = client.watch_key("k").after(first);
        match watch.next().await.expect("something") {
            Ok(item) => match watch.next().await.expect("something") {
                Ok(next) => Err((item, next)),
                Err(error) => Ok(error),
            },
            Err(error) => Ok(error),
        }
    })
    .await;
    assert_eq!(error.code(), "version_collected", "{error}");
    let dir = temp.path();
    let follow = ["kv", "watch", "k", "--from", &first.to_string(), "--node", &node.client];
    let line = quintet(dir, &follow).await.refused(1);
    assert!(line.starts_with("error: version_collected: "), "{line}");
    what_makes_no_sense(&node, first).await;
    a_bound_of_watches(&node).await;
}

async fn what_makes_no_sense(node: &node::Node, past: Version) {
    let mut kv = KvClient::new(channel(&node.client).await);
    let key = || Bytes::from_static(b"k");
    let long = Bytes::from(vec![b'k'; 8 * 1024 + 2]);
    let wrong = [
        v1::WatchRequest { key: key(), prefix: key(), ..Default::default() },
        v1::WatchRequest { start: "b".into(), end: "a".into(), ..Default::default() },
        v1::WatchRequest { start: "b".into(), end: "b".into(), ..Default::default() },
        v1::WatchRequest { start: "b".into(), prefix: "a".into(), ..Default::default() },
        v1::WatchRequest { key: long.clone(), ..Default::default() },
        v1::WatchRequest { prefix: long, ..Default::default() },
        v1::WatchRequest { after_key: key(), ..Default::default() },
        v1::WatchRequest { after: past.0 + (3_600_000_000 << 12), ..Default::default() },
        v1::WatchRequest {
            context: Some(v1::RequestContext { keyspace: "system".into(), ..Default::default() }),
            ..Default::default()
        },
    ];
    for watch in wrong {
        let said = format!("{watch:?}");
        let refused = match open(&mut kv, watch).await {
            Ok(watch) => read_out(watch).await.2,
            Err(refused) => refused,
        };
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{said}: {refused:?}");
        assert_eq!(details(&refused).code(), Code::InvalidArgument, "{said}");
    }
}

async fn a_bound_of_watches(node: &node::Node) {
    let mut kv = KvClient::new(channel(&node.client).await);
    let watch = || v1::WatchRequest { prefix: "w/".into(), ..Default::default() };
    let held = wait_for("there is room for two", HOME_TIMEOUT, async || {
        let first = open(&mut kv, watch()).await?;
        Ok::<_, Status>((first, open(&mut kv, watch()).await?))
    })
    .await;
    let error = details(&open(&mut kv, watch()).await.expect_err("a third one"));
    assert_eq!((error.code(), error.retry()), (Code::Overloaded, RetryClass::Reroute), "{error:?}");
    assert!(error.message.contains("2 watches are open"), "{error:?}");
    drop(held);
    wait_for("there is room again", HOME_TIMEOUT, async || open(&mut kv, watch()).await.map(drop))
        .await;
}

/// A figure of a node, by its name with what comes before the number.
async fn figure(node: &node::Node, name: &str) -> u64 {
    let (_, text) = http::page(&node.http, "/metrics").await.expect("the metrics");
    let figure = text.lines().find_map(|line| line.strip_prefix(name));
    figure.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_told_so_and_goes_on_later() {
    let temp = tempfile::tempdir().expect("a directory");
    let (node, client) = one_node(temp.path(), "watches_max = 8").await;
    let start = client.put("slow/", "begins").await.expect("put");
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.client));
    let connected = endpoint.expect("an address").connect().await.expect("connected");
    let mut kv = KvClient::new(connected);
    let follow = |after: u64, after_key: Bytes| v1::WatchRequest {
        prefix: "slow/".into(),
        after,
        after_key,
        ..Default::default()
    };
    let value = vec![7; SLOW_VALUE_BYTES];
    let watch = open(&mut kv, follow(start.0, Bytes::new())).await.expect("a watch");
    let (mut written, mut waiting) = (BTreeSet::new(), 0);
    for number in 0..SLOW_WRITES {
        // By the node's own count, all answers together: nobody else asks for any.
        waiting = waiting.max(figure(&node, "quintet_answers_waiting_bytes ").await);
        let key = Bytes::from(format!("slow/{}", number % 7));
        let version = client.put(key.clone(), value.clone()).await.expect("put");
        written.insert((version.0, key));
    }
    wait_for("it is noticed", SLOW_TIMEOUT, async || {
        waiting = waiting.max(figure(&node, "quintet_answers_waiting_bytes ").await);
        match figure(&node, "quintet_watches_ended_total{reason=\"slow_consumer\"} ").await {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    println!("a client that reads nothing: {} KiB wait at most", waiting >> 10);
    assert!(waiting <= WAITING_BYTES_MAX, "{} MiB", waiting >> 20);
    assert!(waiting > SLOW_VALUE_BYTES as u64, "the count knows nothing of it: {waiting}");
    // All that was sent before comes whole, and then why there is no more.
    let (mut seen, at, status) = read_out(watch).await;
    assert!(!seen.is_empty() && seen.len() < written.len(), "{}", seen.len());
    let error = details(&status);
    assert_eq!(
        (error.code(), error.retry()),
        (Code::SlowConsumer, RetryClass::Reroute),
        "{error:?}"
    );
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let mut watch = open(&mut kv, follow(at.0, at.1)).await.expect("it goes on");
    while seen.len() < written.len() {
        let message = watch.message().await.expect("it goes on").expect("a message");
        let place = |it: v1::Change| (it.version.expect("a version").version, it.key);
        seen.extend(message.changes.into_iter().map(place));
    }
    check("a slow client", &seen, &written);
}
