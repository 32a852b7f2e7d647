//! The set of time servers shrinks to what is left of a lost room, and grows back; where a majority is away nothing is
//! written; where it is lost for good an operator begins time anew.
//!
//! What a node believes of the others changes some moments after they went: tests wait for that, by what it shows.

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

    // Every survivor can show it by itself.
    for address in &cluster.clients[2..] {
        let one = client(std::slice::from_ref(address)).await;
        wait_for("the write is closed", CHANGED_TIMEOUT, async || {
            match one.stale(CHANGED_TIMEOUT).get("k").await {
                Ok(shown) if shown.found.is_some() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
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

/// Most time servers are lost with their disks: an operator begins time anew, in two steps, and nobody comes back with
/// what was declared lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_most_are_lost_for_good_time_is_begun_anew() {
    let cluster = Cluster::start().await;
    cluster.quintet(&["time", "place", "1,2,3"]).await.done();
    let first = epoch(&cluster, 3, 3).await;
    let line = cluster.quintet(&["recover", "time"]).await.done();
    assert!(line.ends_with("time is not lost, and nothing is to be done\n"), "{line}");
    let lost = servers_on(&cluster, &[1, 2]).await;
    let early = cluster.quintet(&["recover", "time", "--lost", &lost]).await.refused(1);
    assert!(early.contains("is heard: it is not lost"), "{early}");
    cluster.quintet(&["recover", "time", "--lost", "no-server"]).await.refused(2);

    let others = client(&cluster.clients[2..]).await;
    let before = others.put("k", "1").await.expect("put");
    cluster.kill(&[1, 2]).await;
    cluster.wipe(1);
    let near = ["--node", cluster.address(3)];
    let one = lost.split(',').next().expect("a server");
    survivors_lead(&cluster).await;
    let asked = [&["recover", "time", "--lost", one], &near[..]].concat();
    let missed = cluster.quintet(&asked).await.refused(1);
    assert!(missed.contains("is not heard and not named"), "{missed}");
    let plan = cluster.quintet(&[&["recover", "time"], &near[..]].concat()).await.done();
    assert!(plan.contains("nodes 1, 2 are not heard"), "{plan}");
    let second = plan.lines().last().expect("a line").trim().strip_prefix("quintet ");
    let second: Vec<_> = second.expect("a command").split(' ').collect();
    for _ in 0..2 {
        let done = cluster.quintet(&[&second[..], &near[..]].concat()).await.done();
        assert!(
            done.starts_with("time begins anew, with time servers on nodes 3, 4, 5\n"),
            "{done}"
        );
    }
    assert!(epoch(&cluster, 3, 3).await > first);
    assert!(others.put("k", "2").await.expect("put") > before);

    // Node 2 has the disk that was declared lost. It never becomes ready, and is stopped again.
    cluster.bring_back_in_vain().await;
    wait_for("it is turned away", CHANGED_TIMEOUT, async || {
        let log = cluster.log(2);
        if log.contains("was declared lost") { Ok(()) } else { Err(log) }
    })
    .await;
    let seen = status(cluster.address(3)).await.expect("status");
    assert!(!seen.nodes.iter().any(|node| node.id == 2 && node.live), "{seen:?}");
    cluster.wipe(2);
    cluster.bring_back().await;
    for node in ["1", "2"] {
        cluster.quintet(&["replace", node]).await.done();
    }
    cluster.wait_healthy(HOME_TIMEOUT).await;
    cluster.quintet(&["time", "place", "--all"]).await.done();
    epoch(&cluster, 1, 5).await;
    assert_eq!(others.get("k").await.expect("get").expect("there").value, "2");
}

/// The time servers of these nodes, as `recover time` takes them.
async fn servers_on(cluster: &Cluster, nodes: &[u64]) -> String {
    let shown = cluster.quintet(&["recover", "time", "--output", "json"]).await.json();
    let servers = shown["servers"].as_array().expect("servers").iter();
    let on = servers.filter(|it| it["node"].as_u64().is_some_and(|node| nodes.contains(&node)));
    on.filter_map(|it| it["server"].as_str()).collect::<Vec<_>>().join(",")
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
