//! Nodes that stand still for longer than a link may be silent, as on an overloaded machine, and go
//! on as if nothing had been: every link is redialled while its old connection lives.

use std::time::Duration;

use crate::support::{
    client,
    cluster::{Cluster, HOME_TIMEOUT},
    process, wait_for,
};

/// Longer than `raft.link_stall_ms` and an election.
const PAUSE: Duration = Duration::from_millis(1_500);
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

fn port(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

async fn writable(cluster: &Cluster, key: &str) {
    let client = client(&cluster.clients).await.with_timeout(WRITABLE_TIMEOUT);
    client.put(key, "x").await.expect("written");
}
