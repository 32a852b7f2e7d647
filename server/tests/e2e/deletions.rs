//! Deletions of prefixes and ranges: unary calls, the client library, the command line, benches; and that
//! their space comes back.

use std::{fs, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use quintet_client::{Client, Error, ScanOptions};
use quintet_proto::v1::{self, kv_client::KvClient};
use tonic::transport::Channel;

use crate::support::{
    client,
    cluster::Cluster,
    command, http,
    node::{Node, configure},
    wait_for,
};

/// More than two pages.
const KEYS: u32 = 2_500;
/// Of the values that fill the disk, and how many there are.
const VALUE_BYTES: usize = 64 << 10;
const VALUES: u32 = 1_200;
/// For versions to be old enough, to be collected, and for the disk to be tidied up.
const SPACE_TIMEOUT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_are_deleted() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let mut kv = KvClient::connect(format!("http://{}", cluster.clients[4])).await.expect("a node");
    repeated_and_resumed(&mut kv, &client).await;
    over_many_ranges(&client).await;
    keys_that_are_no_text(&cluster, &client).await;
    command_line(&cluster, &client).await;
    benches_clean_up(&cluster, &client).await;
}

async fn fill(client: &Client, keys: impl Iterator<Item = String>) {
    let writer = client.batch_writer().start().expect("a writer");
    for key in keys {
        writer.write(key, "v").await;
    }
    let summary = writer.finish().await;
    assert!(summary.is_complete(), "{summary:?}");
}

async fn keys(client: &Client, prefix: &str) -> Vec<String> {
    let options = ScanOptions::prefix(prefix.to_owned()).keys_only();
    let found: Vec<_> = client.scan(options).try_collect().await.expect("scanned");
    found.iter().map(|record| String::from_utf8_lossy(&record.key).into_owned()).collect()
}

/// A call that is repeated under its id, or goes on from where it was, removes nothing that came since.
async fn repeated_and_resumed(kv: &mut KvClient<Channel>, client: &Client) {
    let key = |n: u32| format!("del/{n:04}");
    fill(client, (0..KEYS).map(key).chain(["dek".to_owned(), "dem".to_owned()])).await;
    let answered = kv.get(v1::GetRequest { key: "dek".into(), ..Default::default() }).await;
    let now = answered.expect("read").into_inner().context.expect("a context").cluster_time;
    let id: u128 = rand::random();
    let context = |attempt| v1::RequestContext {
        request_id: Some(v1::RequestId {
            origin_room: 0,
            client: Bytes::copy_from_slice(&id.to_be_bytes()),
            sequence: 1,
        }),
        first_attempt_time: now,
        attempt,
        ..Default::default()
    };
    let named = |attempt| v1::DeleteRangeRequest {
        context: Some(context(attempt)),
        prefix: "del/".into(),
        limit: 1_700,
        ..Default::default()
    };
    let first = kv.delete_range(named(0)).await.expect("deleted").into_inner();
    assert_eq!((first.deleted, &first.next[..]), (1_700, &b"del/1700"[..]));
    assert_eq!(keys(client, "del/").await.len(), 800);
    client.put(key(1), "anew").await.expect("written");
    client.put(key(1_999), "anew").await.expect("written");

    let again = kv.delete_range(named(1)).await.expect("answered").into_inner();
    assert_eq!((again.deleted, again.at, &again.next), (1_700, first.at, &first.next));
    assert_eq!(keys(client, "del/").await.len(), 801, "the repetition did it again");
    // Under the same id something else is refused.
    let other = v1::DeleteRangeRequest { limit: 5, ..named(1) };
    let refused = kv.delete_range(other).await.expect_err("another request");
    assert!(refused.message().contains("another request"), "{refused:?}");

    let rest = v1::DeleteRangeRequest {
        prefix: "del/".into(),
        start: first.next.clone(),
        at: first.at,
        ..Default::default()
    };
    let done = kv.delete_range(rest.clone()).await.expect("deleted").into_inner();
    assert_eq!((done.deleted, done.at, &done.next[..]), (799, first.at, &b""[..]));
    assert_eq!(keys(client, "del/").await, [key(1), key(1_999)], "they are newer");
    // All of it once more, by its moment.
    let whole = v1::DeleteRangeRequest { start: Bytes::new(), ..rest };
    let nothing = kv.delete_range(whole).await.expect("deleted").into_inner();
    assert_eq!((nothing.deleted, &nothing.next[..]), (0, &b""[..]));
    // Without a moment it takes one of its own.
    let anew = v1::DeleteRangeRequest { prefix: "del/".into(), ..Default::default() };
    let anew = kv.delete_range(anew).await.expect("deleted").into_inner();
    assert_eq!((anew.deleted, &anew.next[..]), (2, &b""[..]));
    assert_eq!(keys(client, "de").await, ["dek", "dem"], "others are not touched");
}

async fn over_many_ranges(client: &Client) {
    let key = |n: u32| format!("bench/{:08x}", n * (u32::MAX / KEYS));
    fill(client, (0..KEYS).map(key)).await;
    let mut deletion = client.delete_range(key(100)..key(2_400));
    assert!(deletion.step().await.expect("a page"), "there is more");
    // What is written behind the page that is done, before the others come by.
    client.put(key(2_000), "newer").await.expect("written");
    client.put(format!("{}x", key(2_300)), "newer").await.expect("written");
    assert_eq!(deletion.run().await.expect("deleted"), 2_299);
    let left = keys(client, "bench/").await;
    let wanted = (0..100).chain([2_000]).chain(2_400..KEYS).map(key);
    let mut wanted: Vec<_> = wanted.chain([format!("{}x", key(2_300))]).collect();
    wanted.sort();
    assert_eq!(left, wanted);
    assert_eq!(client.delete_prefix("bench/").limit(50).run().await.expect("deleted"), 50);
    assert_eq!(keys(client, "bench/").await, wanted[50..]);
    assert_eq!(client.delete_prefix("bench/").run().await.expect("deleted"), 152);
    for refused in [client.delete_prefix(""), client.delete_range::<&str>(..)] {
        let mut refused = refused;
        assert!(matches!(refused.run().await, Err(Error::InvalidArgument(_))));
    }
}

/// What `scan` prints of a key is taken back for it, as an argument and as a bound.
async fn keys_that_are_no_text(cluster: &Cluster, client: &Client) {
    let run = async |arguments: &[&str]| {
        cluster.quintet(&[&["kv"], arguments, &["--escaped"]].concat()).await
    };
    let odd = [&b"odd/\x00"[..], b"odd/\\x41", b"odd/\xc3\xa4\n", b"odd/\xff\xfe\x01"];
    for key in odd {
        client.put(key, &b"\xff"[..]).await.expect("written");
    }
    let shown = run(&["scan", "--prefix", "odd/", "--keys-only"]).await.done();
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!(shown.len(), odd.len(), "{shown:?}");
    for key in &shown {
        assert_eq!(run(&["scan", "--prefix", key]).await.done(), format!("{key}\t\\xff\n"));
        assert_eq!(run(&["ttl", key]).await.done(), "no expiry\n");
        run(&["put", key, "a\\tb"]).await.done();
        run(&["locate", key]).await.done();
    }
    let upto = ["scan", "--start", shown[1], "--end", shown[3], "--keys-only"];
    assert_eq!(run(&upto).await.done(), format!("{}\n{}\n", shown[1], shown[2]));
    for key in odd {
        let found = client.get(key).await.expect("read").expect("it is there");
        assert_eq!(found.value, "a\tb");
    }
    for key in &shown {
        assert!(run(&["del", key]).await.done().starts_with("removed, version "));
    }
    let line = run(&["get", "odd/\\q"]).await.refused(2);
    assert!(line.contains("begins no escape"), "{line}");
}

async fn command_line(cluster: &Cluster, client: &Client) {
    let run =
        async |arguments: &[&str]| cluster.quintet(&[&["kv", "del"], arguments].concat()).await;
    fill(client, ["a", "b", "c", "d"].map(|key| format!("cli/{key}")).into_iter()).await;
    let would = run(&["--prefix", "cli/", "--dry-run"]).await.done();
    assert_eq!(would, "would remove 4 keys\n");
    assert_eq!(keys(client, "cli/").await.len(), 4, "only said");
    assert_eq!(run(&["--prefix", "cli/", "--limit", "1"]).await.done(), "removed 1 keys\n");
    let json = run(&["--start", "cli/", "--end", "cli/d", "--output", "json"]).await.json();
    assert_eq!(json["deleted"], 2);
    assert!(json["at"].is_string(), "{json}");
    assert_eq!(keys(client, "cli/").await, ["cli/d"]);
    for wrong in [&[][..], &["--prefix", ""], &["k", "--everything"]] {
        run(wrong).await.refused(2);
    }
}

async fn benches_clean_up(cluster: &Cluster, client: &Client) {
    client.put("benchmark", "stays").await.expect("written");
    let load = ["bench", "load", "--records", "300", "--value-size", "10"];
    let outcome = cluster.quintet(&load).await;
    let says = "up to 300 keys below bench/, 1 MB of keys and values, are left in the cluster";
    assert!(outcome.err.contains(says), "{outcome:?}");
    outcome.done();
    assert_eq!(keys(client, "bench/").await.len(), 300);
    let cleaned = cluster.quintet(&["bench", "clean"]).await.done();
    assert_eq!(cleaned, "removed 300 keys below bench/\n");
    let outcome = cluster.quintet(&[&load[..], &["--clean"]].concat()).await;
    assert!(outcome.err.contains("removed 300 keys below bench/"), "{outcome:?}");
    outcome.done();
    assert_eq!(keys(client, "bench").await, ["benchmark"]);
}

/// A deleted range gives its space on the disk back, soon after its versions are out of reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_a_deleted_range_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = configure(dir.path(), 1, &[]);
    let text = fs::read_to_string(&config).expect("a configuration");
    let memory = "\n[limits]\ndedup_window_s = 10\nversion_retention_s = 10\n";
    fs::write(&config, text + memory).expect("written");
    let node = Node::start(&config).await;
    let init = ["cluster", "init", "--nodes", "1", "--node", &node.client];
    command::quintet(dir.path(), &init).await.done();
    let client = client(std::slice::from_ref(&node.client)).await;
    let noise: Bytes = (0..VALUE_BYTES).map(|_| rand::random::<u8>()).collect();
    let writer = client.batch_writer().start().expect("a writer");
    for n in 0..VALUES {
        let cut = usize::try_from(n).expect("small") + 1;
        let value = [noise.slice(cut..), noise.slice(..cut)].concat();
        writer.write(format!("large/{n:04}"), value).await;
    }
    assert!(writer.finish().await.is_complete());
    client.put("small", "stays").await.expect("written");
    // Of what is in table files: the rest is in memory, and would be in them later.
    let used = async || -> Result<u64, String> {
        let (_, page) = http::page(&node.http, "/metrics").await?;
        let figure = |name: &str| {
            let name = format!("quintet_engine{{engine=\"data\",name=\"{name}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&*name)?.parse::<u64>().ok())
        };
        let sum = figure("table_bytes").zip(figure("memtable_bytes"));
        sum.map(|(tables, memory)| tables + memory).ok_or_else(|| "no figures".to_owned())
    };
    let written = u64::from(VALUES) * VALUE_BYTES as u64;
    let before = used().await.expect("figures");
    assert!(before > written / 10 * 9, "{before} bytes of {written}");
    let deleted = client.delete_prefix("large/").run().await.expect("deleted");
    assert_eq!(deleted, u64::from(VALUES));
    wait_for("the space is back", SPACE_TIMEOUT, async || match used().await? {
        left if left < written / 8 => Ok(()),
        left => Err(format!("{left} of {before} bytes are left")),
    })
    .await;
    assert!(client.get("small").await.expect("read").is_some());
    drop(client);
    node.kill().await;
}
