//! The set of time servers shrinks to what is left of a lost room, and grows back.

use std::time::Duration;

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    status, wait_for,
};

/// For a change of the set, on a machine that is busy.
const CHANGED_TIMEOUT: Duration = Duration::from_secs(30);
/// For a write that can't be done.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_set_shrinks_to_the_survivors_of_a_room_and_grows_back() {
    let cluster = Cluster::start().await;
    what_is_refused(&cluster).await;
    let first = epoch(&cluster, 3, 5).await;
    let survivors = client(&cluster.clients[2..]).await;
    let before = survivors.put("k", "1").await.expect("put");

    cluster.kill(&[1, 2]).await;
    survivors_lead(&cluster).await;
    let near = ["--node", cluster.address(3)];
    let line = cluster.quintet(&[&["time", "place", "1,2,3"], &near[..]].concat()).await.refused(1);
    assert!(line.contains("a majority is needed"), "{line}");
    let placed = cluster.quintet(&[&["time", "place", "3,4,5"], &near[..]].concat()).await.done();
    assert!(placed.starts_with("time servers come to nodes 3, 4, 5 alone"), "{placed}");
    let shrunk = epoch(&cluster, 3, 3).await;
    assert!(shrunk > first, "{shrunk} after {first}");
    wait_for("the node says so", CHANGED_TIMEOUT, async || {
        let shown = cluster.quintet(&[&["time", "servers"], &near[..]].concat()).await.done();
        if shown.contains("on nodes 3, 4, 5 alone") { Ok(()) } else { Err(shown) }
    })
    .await;
    let meanwhile = survivors.put("k", "2").await.expect("put");
    assert!(meanwhile > before);

    cluster.bring_back().await;
    cluster.wait_healthy(HOME_TIMEOUT).await;
    cluster.quintet(&["time", "place", "--all"]).await.done();
    for id in 1..=5 {
        assert!(epoch(&cluster, id, 5).await > shrunk);
    }
    assert!(survivors.put("k", "3").await.expect("put") > meanwhile);
}

/// Ranges have a majority and time has none: nothing is written, states of before are shown, and it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_time_nothing_is_written_and_what_was_is_read() {
    let cluster = Cluster::start().await;
    cluster.quintet(&["time", "place", "1,2,3"]).await.done();
    let first = epoch(&cluster, 3, 3).await;
    let others = client(&cluster.clients[2..]).await;
    let before = others.put("k", "1").await.expect("put");

    cluster.kill(&[1, 2]).await;
    // Ranges are led elsewhere, and gets of the newest state need no timestamp.
    let found = others.get("k").await.expect("served").expect("it is there");
    assert_eq!(found.version, before);
    let refused = others.with_timeout(SOON).put("k", "2").await.expect_err("there is no time");
    assert!(
        !refused.maybe_committed() && refused.to_string().contains("time servers"),
        "{refused}"
    );
    let shown = others.stale(CHANGED_TIMEOUT * 10).get("k").await.expect("shown");
    assert_eq!(shown.found.map(|found| found.version), Some(before));
    let then = others.snapshot(before).get("k").await.expect("shown");
    assert_eq!(then.map(|found| found.version), Some(before));

    cluster.bring_back().await;
    wait_for("it is written again", HOME_TIMEOUT, async || others.put("k", "2").await).await;
    assert_eq!(epoch(&cluster, 3, 3).await, first, "the same servers are back");
}

/// Waits until nobody believes any more that nodes 1 and 2 are up, or lead the system range.
async fn survivors_lead(cluster: &Cluster) {
    wait_for("they lead, and the others are down", CHANGED_TIMEOUT, async || {
        let seen = status(cluster.address(3)).await?;
        let up = seen.nodes.iter().filter(|node| node.live).count();
        let led = seen.ranges.iter().any(|range| range.id == 1 && range.leader_node > 2);
        if up == 3 && led { Ok(()) } else { Err(format!("{up} are up, led: {led}")) }
    })
    .await;
}

/// The epoch, once a node knows of a set of that size.
async fn epoch(cluster: &Cluster, id: u64, servers: usize) -> u64 {
    let asked = ["time", "servers", "--output", "json", "--node", cluster.address(id)];
    wait_for("the set is of that size", CHANGED_TIMEOUT, async || {
        let outcome = cluster.quintet(&asked).await;
        let shown: serde_json::Value =
            serde_json::from_str(&outcome.out).map_err(|error| error.to_string())?;
        let found = shown["servers"].as_array().map_or(0, Vec::len);
        match (found == servers && shown["changes_begun"] == 0, shown["epoch"].as_u64()) {
            (true, Some(epoch)) => Ok(epoch),
            _ => Err(shown.to_string()),
        }
    })
    .await
}

async fn what_is_refused(cluster: &Cluster) {
    for (nodes, why) in [
        ("3", "3 at least are needed"),
        ("1,2", "name an odd number"),
        ("1,1,2", "a node is named twice"),
        ("1,2,9", "there is no node 9"),
    ] {
        let line = cluster.quintet(&["time", "place", nodes]).await.refused(1);
        assert!(line.starts_with("error: invalid_argument: ") && line.contains(why), "{line}");
    }
    cluster.quintet(&["time", "place"]).await.refused(2);
    cluster.quintet(&["time", "place", "1", "--all"]).await.refused(2);
}
