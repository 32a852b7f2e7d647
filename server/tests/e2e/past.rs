//! Reads of the past, as a user makes them: on every node, of one moment, a little old, and the versions of a key.

use std::time::Duration;

use quintet_client::{Client, Version};

use crate::support::{client, cluster::Cluster, command::quintet, wait_for};

/// For closed timestamps to come.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_shows_the_same_moment_and_says_how_old_it_is() {
    let cluster = Cluster::start().await;
    let first = client(&cluster.clients).await;
    let old = first.put("k", "old").await.expect("put");
    let new = first.put("k", "new").await.expect("put");
    first.delete("k").await.expect("deleted");
    for address in &cluster.clients {
        let one: Client = client(std::slice::from_ref(address)).await;
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

    let dir = cluster.dir();
    let node = &cluster.clients[4];
    let then = old.0.to_string();
    let shown = quintet(&dir, &["kv", "get", "k", "--at", &then, "--node", node]).await.done();
    assert_eq!(shown.trim_end(), "old");
    let shown = quintet(&dir, &["kv", "history", "k", "--node", node]).await.done();
    assert!(shown.contains("(removed)") && shown.contains(&then), "{shown}");
    let one = ["kv", "history", "k", "--limit", "1", "--output", "json", "--node", node];
    assert_eq!(quintet(&dir, &one).await.json()["more"], true);
    for (wrong, why) in [("-9999999d", "too long ago"), ("0", "no moment"), ("-5", "no duration")] {
        let line =
            quintet(&dir, &["kv", "get", "k", "--at", wrong, "--node", node]).await.refused(2);
        assert!(line.contains(why), "{line}");
    }
    let shown = quintet(&dir, &["time", "servers", "--node", node]).await.done();
    assert_eq!(shown.lines().filter(|line| line.contains(" yes ")).count(), 5, "{shown}");
    let shown = quintet(&dir, &["time", "decode", &then]).await.done();
    assert!(shown.contains(&then), "{shown}");
}
