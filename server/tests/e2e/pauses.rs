//! Nodes that stand still for longer than a link may be silent, as on an overloaded machine, and go
//! on as if nothing had been: every link is redialled while its old connection lives.

use std::time::Duration;

use quintet_proto::v1::{self, kv_client::KvClient};

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    details, process, status, wait_for,
};

/// Longer than `raft.link_stall_ms` and an election.
const PAUSE: Duration = Duration::from_millis(1_500);
/// With no other node for twice `raft.election_max_ms` a node is alone.
const ALONE_MS: u64 = 2_000;
/// Each pause leaves behind whatever the one before has left.
const PAUSES: usize = 4;
/// From the end of a pause until a write is acknowledged; an election takes a second.
const WRITABLE_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_stand_still_go_on() {
    let cluster = Cluster::start().await;
    let everyone: Vec<u64> = (1..=5).collect();

    for pause in 0..PAUSES {
        cluster.pause(&everyone, PAUSE).await;
        writable(&cluster, &format!("all/{pause}")).await;
    }
    for pause in 0..PAUSES {
        let leader = cluster.leader().await;
        cluster.pause(&[leader], PAUSE).await;
        writable(&cluster, &format!("leader/{pause}")).await;
    }
    cluster.wait_healthy(HOME_TIMEOUT).await;
    who_is_alone_says_so_at_once(&cluster).await;
    cluster.wait_healthy(HOME_TIMEOUT).await;

    // Connections that nobody reads any more are closed: a link to each other node and one from it
    // are left.
    let ports: Vec<u16> = cluster.internals.iter().map(|address| port(address)).collect();
    for id in everyone {
        wait_for("old connections are closed", HOME_TIMEOUT, async || {
            let mut links = process::connections(cluster.pid(id));
            links.retain(|link| {
                ports.contains(&link.local_port) || ports.contains(&link.remote_port)
            });
            if links.len() == 8 { Ok(()) } else { Err(format!("node {id}: {links:?}")) }
        })
        .await;
    }
}

/// A node that reaches no other let unary calls wait out their time, and named nobody who could serve them.
async fn who_is_alone_says_so_at_once(cluster: &Cluster) {
    let (others, leader) = ([1, 2, 3, 4], cluster.leader().await);
    assert_ne!(leader, 5, "leaders are at home in another city");
    cluster.stand_still(&others);
    wait_for("it is alone", HOME_TIMEOUT, async || {
        let status = status(cluster.address(5)).await?;
        let alone = |node: &v1::NodeStatus| node.id == 5 || !node.live && node.lasted_ms > ALONE_MS;
        if status.nodes.iter().all(alone) { Ok(()) } else { Err(format!("{:?}", status.nodes)) }
    })
    .await;
    let address = format!("http://{}", cluster.address(5));
    let mut kv = KvClient::connect(address).await.expect("a node");
    let context = v1::RequestContext { timeout_ms: 60_000, ..Default::default() };
    let put = v1::PutRequest {
        context: Some(context),
        key: "alone".into(),
        value: "x".into(),
        ..Default::default()
    };
    let refused = tokio::time::timeout(WRITABLE_TIMEOUT, kv.put(put)).await.expect("at once");
    let error = details(&refused.expect_err("nobody is there"));
    assert_eq!((error.code(), error.retry()), (v1::Code::Unavailable, v1::RetryClass::Reroute));
    assert_eq!(error.hint_address, cluster.address(leader), "{error:?}");
    assert!(error.message.contains(&error.hint_address) && !error.maybe_committed, "{error:?}");
    cluster.go_on(&others);
}

fn port(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

async fn writable(cluster: &Cluster, key: &str) {
    let client = client(&cluster.clients).await.with_timeout(WRITABLE_TIMEOUT);
    client.put(key, "x").await.expect("written");
}
