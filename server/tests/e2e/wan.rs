//! `quintet dev --wan`: rooms and cities are apart, also for a node that comes back, until that is switched off.
//!
//! A busy machine makes any request slow, so the quickest of several is looked at.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{PutRequest, kv_client::KvClient};
use tokio::time::Instant;

use crate::support::{
    channel,
    cluster::{Cluster, HOME_TIMEOUT},
};

/// There and back, as `--wan` has it.
const ROOMS: Duration = Duration::from_millis(1);
const CITIES: Duration = Duration::from_millis(30);
/// Of how many writes the quickest counts.
const WRITES: usize = 30;

/// The quickest of some writes that a node takes and the leader's node, in room a, does.
async fn quickest(cluster: &Cluster, by: u64) -> Duration {
    let mut kv = KvClient::new(channel(cluster.address(by)).await);
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let mut quickest = Duration::MAX;
    for _ in 0..WRITES {
        let begun = Instant::now();
        let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
        kv.put(put).await.expect("written");
        quickest = quickest.min(begun.elapsed());
    }
    quickest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_and_cities_are_apart_until_that_is_switched_off() {
    let cluster = Cluster::start_with(&["--wan"]).await;
    cluster.wait_healthy(HOME_TIMEOUT).await;
    // For a timestamp and for the log another room is asked; the fifth copy is in the other city, and is not waited
    // for.
    let near = quickest(&cluster, 1).await;
    assert!(near >= 2 * ROOMS && near < CITIES, "{near:?}");
    // There and back to the leader, which asks another room twice.
    let far = quickest(&cluster, 5).await;
    assert!(far >= CITIES + 2 * ROOMS, "{far:?}");

    cluster.kill(&[5]).await;
    cluster.bring_back().await;
    cluster.wait_healthy(HOME_TIMEOUT).await;
    let far = quickest(&cluster, 5).await;
    assert!(far >= CITIES + 2 * ROOMS, "{far:?}");

    let dir = cluster.dir();
    let dir = dir.to_str().expect("a path in UTF-8");
    let off = ["dev", "--detach", "--wan=off", "--dir", dir];
    let line = cluster.quintet(&off).await.refused(2);
    assert!(line.contains("dev stop --dir"), "{line}");
    cluster.quintet(&["dev", "stop", "--dir", dir]).await.done();
    cluster.quintet(&off).await.done();
    cluster.wait_healthy(HOME_TIMEOUT).await;
    let far = quickest(&cluster, 5).await;
    assert!(far < CITIES, "{far:?}");
}
