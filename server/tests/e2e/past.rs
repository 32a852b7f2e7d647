//! Reads of the past, as a user makes them: on every node, of one moment, a little old, and the versions of a key; and
//! the timestamps that such moments are.
//!
//! What holds whatever fails is the simulation's (`past-reads`, `timestamps`). Here is that real nodes do it, that the
//! program shows it, and what it says where something is wrong.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, future::join_all};
use quintet_client::{Client, ScanOptions, Version};
use quintet_proto::v1::{self, kv_client::KvClient};

use crate::support::{channel, client as client_of, cluster::Cluster, command::quintet, wait_for};

/// For closed timestamps to come.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_the_same_moment_and_says_how_old_it_is() {
    let cluster = Cluster::start().await;
    let first = client_of(&cluster.clients).await;
    let old = first.put("k", "old").await.expect("put");
    let new = first.put("k", "new").await.expect("put");
    first.delete("k").await.expect("deleted");
    for address in &cluster.clients {
        let one: Client = client_of(std::slice::from_ref(address)).await;
        let at = async |at: Version| one.snapshot(at).get("k").await.expect("read");
        assert_eq!(at(old).await.map(|found| found.value), Some("old".into()), "{address}");
        assert_eq!(at(new).await.map(|found| found.version), Some(new), "{address}");
        assert_eq!(at(Version(old.0 - 1)).await, None, "{address}");
        let far = Version(new.0 + (3_600_000_000 << 12));
        let to_come = one.snapshot(far).get("k").await.expect_err("it is yet to come");
        assert_eq!(to_come.code(), "invalid_argument", "{to_come}");
        wait_for("the node shows a state of its own", SOON, async || {
            let shown = one.stale(Duration::from_secs(5)).get("k").await.expect("read");
            match shown.at {
                Some(at) if at > new && shown.found.is_none() => {
                    assert!(shown.stale <= Duration::from_secs(6), "{shown:?}");
                    Ok(())
                }
                _ => Err(format!("{shown:?}")),
            }
        })
        .await;
    }
    let versions = first.history("k", 10).await.expect("versions");
    let values: Vec<_> = versions.iter().map(|kept| kept.value.as_deref()).collect();
    assert_eq!(values, [None, Some(&b"new"[..]), Some(b"old")]);
    assert!(versions.iter().all(|kept| kept.request.split('/').count() == 3), "{versions:?}");
    assert_eq!(first.history("k", 1).await.expect("versions"), versions[..1]);

    scans_of_the_past(&cluster, &first, old, new).await;
    timestamps(&cluster, &first).await;
    pages_of_versions(&cluster).await;

    let dir = cluster.dir();
    let node = &cluster.clients[4];
    let then = old.0.to_string();
    let shown = quintet(&dir, &["kv", "get", "k", "--at", &then, "--node", node]).await.done();
    assert_eq!(shown.trim_end(), "old");
    let shown = quintet(&dir, &["kv", "history", "k", "--node", node]).await.done();
    assert!(shown.contains("(removed)") && shown.contains(&then), "{shown}");
    let one = ["kv", "history", "k", "--limit", "1", "--output", "json", "--node", node];
    assert_eq!(quintet(&dir, &one).await.json()["more"], true);
    for (wrong, why) in
        [("-9999999d", "too long ago"), ("0", "no moment"), ("-5", "no length of time")]
    {
        let line =
            quintet(&dir, &["kv", "get", "k", "--at", wrong, "--node", node]).await.refused(2);
        assert!(line.contains(why), "{line}");
    }
    let shown = quintet(&dir, &["time", "servers", "--node", node]).await.done();
    assert_eq!(shown.lines().filter(|line| line.contains(" yes ")).count(), 5, "{shown}");
    let shown = quintet(&dir, &["time", "decode", &then]).await.done();
    assert!(shown.contains(&then), "{shown}");
}

/// Over all ranges, in both directions, and by unary calls of a state that may be a little old.
async fn scans_of_the_past(cluster: &Cluster, client: &Client, old: Version, new: Version) {
    let keys = ["bench/1", "bench/5", "bench/9", "bench/d"];
    for key in keys {
        client.put(key, "there").await.expect("put");
    }
    let then = client.put("k", "last").await.expect("put");
    for key in keys {
        client.delete(key).await.expect("deleted");
    }
    let shown = async |at: Version, backwards: bool| {
        let scan = client.snapshot(at).scan(ScanOptions::all());
        let scan = if backwards { scan.reverse() } else { scan };
        let records = scan.map(|record| record.expect("a record").key).collect::<Vec<_>>().await;
        records.into_iter().map(|key| String::from_utf8(key.to_vec()).expect("UTF-8"))
    };
    let mut all: Vec<_> = keys.into_iter().chain(["k"]).map(str::to_owned).collect();
    assert_eq!(shown(then, false).await.collect::<Vec<_>>(), all);
    all.reverse();
    assert_eq!(shown(then, true).await.collect::<Vec<_>>(), all);
    for at in [old, new] {
        assert_eq!(shown(at, true).await.collect::<Vec<_>>(), ["k"]);
    }
    for id in 1..=5 {
        let mut kv = KvClient::new(channel(cluster.address(id)).await);
        wait_for("a scan shows a state of this node", SOON, async || {
            let scan = v1::ScanRequest { stale_ms: 5_000, ..Default::default() };
            let mut pages = kv.scan(scan).await.expect("a scan").into_inner();
            let (mut keys, mut at) = (Vec::new(), 0);
            while let Some(page) = pages.message().await.expect("a page") {
                keys.extend(page.records.into_iter().map(|record| record.key));
                at = page.at;
            }
            match at > then.0 && keys == ["k"] {
                true => Ok(()),
                false => Err((at, keys)),
            }
        })
        .await;
    }
}

/// From every node: above what was acknowledged before, below what is written later; many at a time.
async fn timestamps(cluster: &Cluster, client: &Client) {
    let mut last = Version(0);
    for address in &cluster.clients {
        let one: Client = client_of(std::slice::from_ref(address)).await;
        let before = client.put("t", "last").await.expect("put");
        let taken: Vec<_> = join_all((0..100).map(|_| one.timestamp())).await;
        let after = client.put("t", "last").await.expect("put");
        for at in taken {
            let at = at.expect("a timestamp");
            assert!(last < before && before < at && at < after, "{last} {before} {at} {after}");
            let shown = one.snapshot(at).get("t").await.expect("read");
            assert_eq!(shown.map(|found| found.version), Some(before), "{address}");
        }
        let mut kv = KvClient::new(channel(address).await);
        let told = kv.timestamp(v1::TimestampRequest::default()).await.expect("a timestamp");
        last = Version(told.into_inner().timestamp);
        assert!(last > after, "{last} {after}");
    }
}

/// A page of versions after the other, by unary calls of a node that does not lead.
async fn pages_of_versions(cluster: &Cluster) {
    let mut kv = KvClient::new(channel(cluster.address(5)).await);
    let (mut values, mut before) = (Vec::new(), 0);
    loop {
        let key = Bytes::from_static(b"k");
        let history = v1::HistoryRequest { key, before, limit: 2, ..Default::default() };
        let page = kv.history(history).await.expect("versions").into_inner();
        before = page.versions.last().map_or(0, |last| last.version);
        assert!(page.versions.len() == 2 || !page.more, "{page:?}");
        values.extend(page.versions.into_iter().map(|version| version.value));
        if !page.more {
            break;
        }
    }
    assert_eq!(values, ["last", "", "new", "old"], "the second is the removal");
}
