//! What the tests stand on.

pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod process;

use std::{fmt::Debug, time::Duration};

use quintet_client::{
    Client,
    v1::{self, RangeStatus, StatusResponse},
};
use tokio::time::Instant;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Between two looks at a condition.
const LOOK_PAUSE: Duration = Duration::from_millis(25);
/// The first range that holds data of users.
pub(crate) const DATA_RANGE: u64 = 2;
/// Ranges of a new cluster, the system range included.
pub(crate) const RANGES: usize = 9;

/// Waits until `look` returns something; fails the test with what it said last.
pub(crate) async fn wait_for<T, Why: Debug>(
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<T, Why>,
) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) if Instant::now() >= deadline => {
                panic!("{what}: not within {timeout:?}; last: {why:?}")
            }
            Err(_) => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

/// A client of these nodes.
pub(crate) async fn client(nodes: &[String]) -> Client {
    let connecting =
        Client::builder().nodes(nodes.iter().cloned()).timeout(Duration::from_secs(20)).connect();
    connecting.await.unwrap_or_else(|error| panic!("no client of {nodes:?}: {error}"))
}

/// The error that the details of a failed call hold.
#[track_caller]
pub(crate) fn details(status: &Status) -> v1::Error {
    assert!(!status.details().is_empty(), "no details: {status:?}");
    quintet_proto::details::error_in(status.details()).expect("an error in the details")
}

/// The cluster as the node at an address sees it.
pub(crate) async fn status(address: &str) -> Result<StatusResponse, String> {
    let connecting = Client::builder().nodes([address]).timeout(Duration::from_secs(2)).connect();
    let client = connecting.await.map_err(|error| error.to_string())?;
    client.status().await.map_err(|error| error.to_string())
}

/// The first range of data in a status.
pub(crate) fn data_range(status: &StatusResponse) -> Result<&RangeStatus, String> {
    let range = status.ranges.iter().find(|range| range.id == DATA_RANGE);
    range.ok_or_else(|| format!("no range {DATA_RANGE} in {status:?}"))
}

/// `Err` unless all five nodes are seen alive and all ranges are led from room a, as many by one node
/// as by the other.
pub(crate) fn healthy(status: &StatusResponse) -> Result<(), String> {
    let live = status.nodes.iter().filter(|node| node.live).count();
    if live != 5 {
        return Err(format!("{live} live nodes"));
    }
    led_at_home(status)?;
    let led = |id| status.ranges.iter().filter(|range| range.leader_node == id).count();
    match led(1).abs_diff(led(2)) {
        0 | 1 => Ok(()),
        _ => Err(format!("node 1 leads {} ranges, node 2 {}", led(1), led(2))),
    }
}

/// `Err` unless all ranges are led from room a.
pub(crate) fn led_at_home(status: &StatusResponse) -> Result<(), String> {
    if status.ranges.len() != RANGES {
        return Err(format!("{} ranges", status.ranges.len()));
    }
    for range in &status.ranges {
        let leader = status.nodes.iter().find(|node| node.id == range.leader_node);
        match leader {
            Some(leader) if leader.room == "a" => {}
            _ => return Err(format!("range {} is led by node {}", range.id, range.leader_node)),
        }
    }
    Ok(())
}

/// A connection without the client library.
pub(crate) async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.timeout(Duration::from_secs(5)).connect().await.expect("connected")
}

/// What the gRPC health service of a node says.
pub(crate) async fn health(address: &str) -> &'static str {
    let mut health = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest { service: "quintet.v1.KV".to_owned() };
    match health.check(request).await {
        Ok(answer) => answer.into_inner().status().as_str_name(),
        // For half a second after its start a node has not said anything yet.
        Err(status) if status.code() == tonic::Code::NotFound => "NOT_FOUND",
        Err(status) => panic!("{status}"),
    }
}
