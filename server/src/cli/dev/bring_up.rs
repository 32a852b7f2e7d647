//! Starts the nodes of a local cluster and waits until it can serve.
//!
//! Whether the cluster is formed is asked of its nodes, each time: an earlier `dev` may have died between the
//! start of the nodes and that. A node that ends meanwhile ends the start, with the end of its log.

use std::time::Duration;

use quintet_client::v1::{InitClusterRequest, StatusResponse};
use tokio::time::Instant;

use crate::cli::{
    connect,
    dev_cluster::{
        plan::{Cluster, Node},
        process::{self, Running, Started},
    },
    exit::{Exit, Failure},
    output::note,
};

/// Time for a cluster to come up; on a slow machine with cold disks it is a matter of seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one question during the start.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// How long a node may take to say that it belongs to the cluster, when others do already.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of a dead node's log that are shown.
const LOG_TAIL_LINES: usize = 15;

/// Starts the nodes that do not run and waits until the cluster can serve, or one of them ends.
pub(super) async fn bring_up(
    cluster: &Cluster,
    running: &[Running],
    started: &mut Vec<Started>,
    request: InitClusterRequest,
) -> Result<(), Failure> {
    let ids = cluster.nodes().iter().map(|node| node.id);
    let missing: Vec<_> = ids.filter(|id| running.iter().all(|node| node.id != *id)).collect();
    process::wait_for_room(cluster, &missing).await?;
    for id in missing {
        started.push(process::spawn(cluster, id).await?);
    }
    tokio::select! {
        formed = form(cluster, request) => formed,
        failure = first_death(cluster, started) => Err(failure),
    }
}

/// Waits until every node answers, forms the cluster if there is none, waits until it can serve.
async fn form(cluster: &Cluster, request: InitClusterRequest) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut formed = false;
    for node in cluster.nodes() {
        formed |= ask(cluster, node, deadline, "answers", |_| true).await?.initialized;
    }
    if !formed {
        let client = connect::connect(cluster.client_addresses(), START_TIMEOUT).await?;
        let nodes = u32::try_from(cluster.nodes().len()).unwrap_or(u32::MAX);
        client.form_cluster(InitClusterRequest { nodes, ..request }).await?;
    }
    for node in cluster.nodes() {
        // Only a node that answers, and says no, is outside; one that does not answer may belong.
        let patience = Instant::now() + JOIN_TIMEOUT;
        let settled =
            |status: &StatusResponse| status.initialized || (formed && Instant::now() >= patience);
        let status = ask(cluster, node, deadline, "belongs to the cluster", settled).await?;
        if !status.initialized {
            // The others have all that was acknowledged and serve: they must not end for this one.
            note(outside(cluster, node));
            continue;
        }
        let status = ask(cluster, node, deadline, "knows the leaders of all ranges", |status| {
            let led = status.ranges.iter().all(|range| range.leader_node != 0);
            status.replacing || (!status.ranges.is_empty() && led)
        })
        .await?;
        if status.replacing {
            note(format!(
                "node {} lost its disk, and its replacement is not done: `quintet replace {}` goes on with it",
                node.id, node.id
            ));
        }
    }
    Ok(())
}

/// What is said of a node that a formed cluster does not know any more.
fn outside(cluster: &Cluster, node: &Node) -> String {
    format!(
        "node {} belongs to no cluster while the others do: its data directory below {} was \
         emptied or replaced. It takes part in nothing until it is taken back: `quintet replace {}`",
        node.id,
        cluster.dir().display(),
        node.id
    )
}

/// Ends when one of these nodes ends.
async fn first_death(cluster: &Cluster, started: &mut [Started]) -> Failure {
    loop {
        if let Some(failure) = started.iter_mut().find_map(|node| died(cluster, node)) {
            return failure;
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Asks a node until `good` holds of its status.
async fn ask(
    cluster: &Cluster,
    node: &Node,
    deadline: Instant,
    wanted: &str,
    good: impl Fn(&StatusResponse) -> bool,
) -> Result<StatusResponse, Failure> {
    loop {
        let reason = match status_of(node.client.to_string()).await {
            Ok(status) if good(&status) => return Ok(status),
            Ok(_) => "it answers, but is not that far".to_owned(),
            Err(failure) => failure.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::unavailable(format!(
                "there is no sign in time that node {} {wanted} ({reason}); its log is {}",
                node.id,
                cluster.log_path(node.id).display()
            )));
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

async fn status_of(address: String) -> Result<StatusResponse, Failure> {
    let client = connect::connect(vec![address], ASK_TIMEOUT).await?;
    Ok(client.status().await?)
}

/// The failure that a node's end during the start is, with the end of its log.
fn died(cluster: &Cluster, node: &mut Started) -> Option<Failure> {
    let status = node.child.try_wait().ok().flatten()?;
    let path = cluster.log_path(node.id);
    let log = std::fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_TAIL_LINES)) {
        note(format!("node {}: {line}", node.id));
    }
    let last = lines.iter().rev().find_map(|line| line.strip_prefix("error: "));
    Some(Failure::new(
        Exit::Internal,
        "node_failed",
        format!(
            "node {} ended at once ({status}): {}; its log is {}",
            node.id,
            last.unwrap_or("the end of its log is above"),
            path.display()
        ),
    ))
}
