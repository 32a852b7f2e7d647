//! Reads beside the leaders, as a user makes them: the newest state from followers, states that are a little old from
//! whichever node, and what becomes of both where a leader stands still.

use std::time::Duration;

use quintet_client::{Client, ScanOptions};

use futures::StreamExt;

use crate::support::{client, cluster::Cluster, command::quintet, http::figure, wait_for};

/// For closed timestamps to come.
const SOON: Duration = Duration::from_secs(20);

async fn sum(cluster: &Cluster, name: &str) -> f64 {
    let mut sum = 0.0;
    for address in &cluster.https {
        sum += figure(address, name).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_served_beside_the_leaders() {
    let cluster = Cluster::start().await;
    let mut at_nodes = Vec::new();
    for address in &cluster.clients {
        at_nodes.push(client(std::slice::from_ref(address)).await);
    }
    followers_show_what_was_just_written(&cluster, &at_nodes).await;
    states_a_little_old_come_from_every_node(&cluster, &at_nodes).await;
    by_the_command_line(&cluster).await;
    a_leader_that_stands_still_is_no_answer_from_the_past(&cluster, &at_nodes).await;
}

async fn followers_show_what_was_just_written(cluster: &Cluster, at_nodes: &[Client]) {
    for (round, writer) in at_nodes.iter().enumerate() {
        for key in ["bench/1", "bench/9", "k"] {
            let value = format!("{round}");
            let version = writer.put(key, &value).await.expect("put");
            for (reader, one) in at_nodes.iter().enumerate() {
                let found = one.from_follower().get(key).await.expect("read").expect("there");
                let at = format!("{key} of round {round} at node {}", reader + 1);
                assert_eq!((found.value, found.version), (value.clone().into(), version), "{at}");
            }
        }
        // A key that expires: a round decides.
        writer.put_with("t", "t", quintet_client::PutOptions::new().ttl(SOON)).await.expect("put");
        for one in at_nodes {
            assert!(one.from_follower().get("t").await.expect("read").is_some());
            let records = one.from_follower().scan(ScanOptions::prefix("bench/"));
            let values: Vec<_> =
                records.map(|record| record.expect("a record").value).collect().await;
            assert_eq!(values, [format!("{round}"), format!("{round}")]);
        }
        writer.delete("t").await.expect("deleted");
        for one in at_nodes {
            assert_eq!(one.from_follower().get("t").await.expect("read"), None);
        }
    }
    // Of five nodes one leads.
    let served = sum(cluster, "quintet_follower_reads_total").await;
    assert!(served >= 100.0, "{served}");
    assert!(sum(cluster, "quintet_follower_reads_forwarded_total").await >= 25.0);
}

async fn states_a_little_old_come_from_every_node(cluster: &Cluster, at_nodes: &[Client]) {
    let version = at_nodes[0].put("k", "stale").await.expect("put");
    let before = sum(cluster, "quintet_reads_without_leading_total").await;
    for one in at_nodes {
        wait_for("the node shows a state of its own", SOON, async || {
            let shown = one.stale(Duration::from_secs(2)).get("k").await.expect("read");
            let is_new = shown.at.is_some_and(|at| at > version);
            match is_new && shown.stale <= Duration::from_secs(2) {
                true => Ok(()),
                false => Err(format!("{shown:?}")),
            }
        })
        .await;
    }
    let after = sum(cluster, "quintet_reads_without_leading_total").await;
    assert!(after >= before + 4.0, "{before} {after}");
}

async fn by_the_command_line(cluster: &Cluster) {
    let (dir, node) = (cluster.dir(), &cluster.clients[4]);
    let shown = quintet(&dir, &["kv", "get", "k", "--follower", "--node", node]).await.done();
    assert_eq!(shown.trim_end(), "stale");
    let both = ["kv", "get", "k", "--follower", "--stale", "1s", "--node", node];
    quintet(&dir, &both).await.refused(2);
    let nodes = cluster.clients.join(",");
    for how in [&["--stale", "2000"][..], &["--follower"]] {
        let load =
            ["bench", "kv", "--op", "get", "--clients", "10", "--keys", "100", "--seconds", "2"];
        let more = ["--output", "json", "--clean", "--node", &nodes];
        let told = quintet(&dir, &[&load[..], how, &more].concat()).await.json();
        let served = told["served"].as_array().expect("nodes").clone();
        let of = |name: &str| served.iter().filter_map(|node| node[name].as_u64()).sum::<u64>();
        assert_eq!(served.len(), 5, "{told}");
        assert!(of("reads") > 0 && 2 * of("without_leading") > of("reads"), "{told}");
    }
}

async fn a_leader_that_stands_still_is_no_answer_from_the_past(
    cluster: &Cluster,
    at_nodes: &[Client],
) {
    let leader = cluster.leader().await;
    let others: Vec<_> = (1..=5).zip(at_nodes).filter(|(id, _)| *id != leader).collect();
    let version = at_nodes[0].put("k", "last").await.expect("put");
    cluster.stand_still(&[leader]);
    for (_, one) in &others {
        let hurried = one.with_timeout(Duration::from_millis(300));
        match hurried.from_follower().get("k").await {
            Ok(found) => assert_eq!(found.map(|found| found.version), Some(version)),
            Err(error) => {
                let code = error.code();
                assert!(["deadline_exceeded", "unavailable"].contains(&code), "{error}");
            }
        }
    }
    for (id, one) in &others {
        let found = one.from_follower().get("k").await.expect("another one leads by then");
        assert_eq!(found.map(|found| found.version), Some(version), "node {id}");
    }
    cluster.go_on(&[leader]);
}
