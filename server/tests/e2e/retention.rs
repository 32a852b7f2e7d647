//! For how long versions are kept, by prefix; and moments that are held for longer than that.
//!
//! What is collected is told by the refusal to read it: a test waits for that, and never for a time.

use std::time::Duration;

use bytes::Bytes;
use quintet_client::{Client, ScanOptions, Version};
use quintet_proto::v1::{self, kv_client::KvClient};

use crate::support::{channel, client, cluster::Cluster, details, wait_for};

/// For a threshold, which is 10 s behind, to pass a moment, on a machine that is busy.
const COLLECTED_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than versions of `short/` are kept, and than holds last that nobody renews.
const HELD_FOR: Duration = Duration::from_secs(75);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_kept_as_long_as_is_set_and_as_they_are_held() {
    let cluster = Cluster::start().await;
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    cluster.configure("\n[limits]\ndedup_window_s = 10\n");
    cluster.bring_back().await;
    let client = cluster.client().await;

    what_is_refused(&cluster, &client).await;
    settings(&cluster).await;
    let overwritten = async |key: &str| {
        let old = client.put(key, "old").await.expect("put");
        client.put(key, "new").await.expect("put");
        old
    };
    let (short, usual) = (overwritten("short/k").await, overwritten("k").await);
    wait_collected(&client, "short/k", short).await;
    assert_eq!(value_at(&client, "k", usual).await, "old", "it has the usual retention");
    let lines = cluster.quintet(&["debug", "range", &range_of(&client, "short/k").await]).await;
    assert!(lines.done().contains("1 spans other"), "a threshold of its own");

    what_is_held(&cluster, &client).await;

    cluster.quintet(&["retention", "unset", "short/"]).await.done();
    let listed = cluster.quintet(&["retention", "list", "--output", "json"]).await.json();
    assert_eq!(listed["settings"], serde_json::json!([]));
    // What is gone stays refused.
    let gone = client.snapshot(short).get("short/k").await.expect_err("it is collected");
    assert_eq!(gone.code(), "version_collected");
}

async fn value_at(client: &Client, key: &'static str, at: Version) -> Bytes {
    client.snapshot(at).get(key).await.expect("read").expect("it was there").value
}

async fn wait_collected(client: &Client, key: &'static str, at: Version) {
    wait_for("the moment is collected", COLLECTED_TIMEOUT, async || {
        match client.snapshot(at).get(key).await {
            Err(error) if error.code() == "version_collected" => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

async fn range_of(client: &Client, key: &'static str) -> String {
    client.locate(key).await.expect("located").id.to_string()
}

async fn settings(cluster: &Cluster) {
    let set = cluster.quintet(&["retention", "set", "short/", "10s"]).await.done();
    assert_eq!(set, "versions of keys that begin with 'short/' are kept for 10s\n");
    // Again, and by another node: nothing changes.
    let again = ["retention", "set", "short/", "10s", "--node", cluster.address(5)];
    cluster.quintet(&again).await.done();
    let listed = cluster.quintet(&["retention", "list"]).await.done();
    assert!(listed.contains("'short/'") && listed.contains(" 1d"), "{listed}");
    let listed = cluster.quintet(&["retention", "list", "--output", "json"]).await.json();
    assert_eq!(listed["default_s"], 86_400);
    let expected =
        serde_json::json!({"keyspace": "default", "prefix": "short/", "retention_s": 10});
    assert_eq!(listed["settings"], serde_json::json!([expected]));
}

async fn what_is_refused(cluster: &Cluster, client: &Client) {
    for n in 0..64 {
        client.set_retention(format!("p{n}/"), Some(Duration::from_secs(60))).await.expect("set");
    }
    let line = cluster.quintet(&["retention", "set", "p64/", "1m"]).await.refused(1);
    assert!(line.contains("unset one"), "{line}");
    client.set_retention("p0/", Some(Duration::from_secs(70))).await.expect("one that is there");
    for n in 0..64 {
        client.set_retention(format!("p{n}/"), None).await.expect("unset");
    }
    let nothing = client.snapshot(Version(1)).hold(ScanOptions::range("b".."a")).await;
    assert_eq!(nothing.expect_err("no keys").code(), "invalid_argument");
    let long = "p".repeat(257);
    for (arguments, code, why) in [
        (["set", "p", "9s"], 1, "10 s at least"),
        (["set", "p", "31d"], 1, "at most"),
        (["set", &long, "1h"], 1, "256 are allowed"),
        (["set", "p", "10"], 2, "no unit"),
        (["set", "p", "1500ms"], 2, "whole seconds"),
    ] {
        let line = cluster.quintet(&[&["retention"], &arguments[..]].concat()).await.refused(code);
        assert!(line.contains(why), "{arguments:?}: {line}");
    }
    let mut kv = KvClient::new(channel(cluster.address(2)).await);
    let far = u64::MAX >> 1;
    for (request, code) in [
        (v1::HoldSnapshotRequest { at: far, ..Default::default() }, v1::Code::InvalidArgument),
        (
            v1::HoldSnapshotRequest {
                start: Bytes::from_static(b"b"),
                end: Bytes::from_static(b"a"),
                ..Default::default()
            },
            v1::Code::InvalidArgument,
        ),
    ] {
        let refused = kv.hold_snapshot(request.clone()).await.expect_err("refused");
        assert_eq!(details(&refused).code(), code, "{request:?}: {refused}");
    }
}

/// A moment is held while the node that holds it dies, and for longer than a range keeps a hold by itself.
async fn what_is_held(cluster: &Cluster, client: &Client) {
    let old = client.put("short/held", "old").await.expect("put");
    let keys = ScanOptions::prefix("short/");
    // By two clients: one whose first node dies, one whose does not.
    let held = client.snapshot(old).hold(keys.clone()).await.expect("held");
    let other = self::client(&cluster.clients[1..]).await;
    let other_held = other.snapshot(old).hold(keys.clone()).await.expect("held");
    let not_held = client.put("short/held", "new").await.expect("put");
    client.put("short/held", "newest").await.expect("put");
    cluster.kill(&[1]).await;
    let (began, mut looks) = (tokio::time::Instant::now(), 0);
    let mut next_look = tokio::time::interval(Duration::from_millis(500));
    while began.elapsed() < HELD_FOR {
        next_look.tick().await;
        let found = held.get("short/held").await.expect("it is held").expect("it was there");
        assert_eq!(found.value, "old", "after {:?}", began.elapsed());
        assert_eq!(value_at(&other, "short/held", old).await, "old");
        assert!(!held.is_lost() && !other_held.is_lost());
        looks += 1;
    }
    assert!(looks > 20, "{looks} looks");
    // What is held keeps what came after it, too; it goes when nobody holds it any more.
    assert_eq!(value_at(client, "short/held", not_held).await, "new");
    drop(held);
    assert_eq!(value_at(&other, "short/held", old).await, "old", "the other one holds it");
    drop(other_held);
    cluster.bring_back().await;
    wait_collected(client, "short/held", old).await;
    let late = client.snapshot(old).hold(keys).await.expect_err("it is gone");
    assert_eq!(late.code(), "version_collected");
}
