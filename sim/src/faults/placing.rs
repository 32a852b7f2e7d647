//! Time servers where a strike wants them, as an operator has them placed.

use std::time::Duration;

use quintet_server::ids::NodeId;
use tokio::time::sleep;

use super::striking::Striking;
use crate::{
    cluster::{Alone, Cluster},
    scenario::Kind,
};

/// Between two calls of the operator.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// How often is looked whether all nodes are there, or time servers are where they were placed, before that is given
/// up.
const LOOKS_MAX: usize = 50;

/// Strikes that have time servers placed happen one at a time, of whichever kind: none else may while this is held.
pub(super) fn alone(cluster: &Cluster) -> Option<Alone<'_>> {
    cluster.alone(Kind::TimeLoss)
}

/// Waits until all nodes are up and have their disks; not for ever.
pub(super) async fn all_are_there(cluster: &Cluster) -> bool {
    for _ in 0..LOOKS_MAX {
        if cluster.disks_are_whole() && cluster.up().len() == cluster.nodes().len() {
            return true;
        }
        sleep(PAUSE).await;
    }
    false
}

/// Has time servers on all nodes.
pub(super) async fn place_on_all(striking: &mut Striking) {
    while !asked_to_place(striking, &[]).await {
        sleep(PAUSE).await;
    }
}

/// Has time servers on these nodes alone; what they are called, in the same order.
pub(super) async fn place(striking: &mut Striking, nodes: &[NodeId]) -> Option<Vec<u64>> {
    for _ in 0..LOOKS_MAX {
        asked_to_place(striking, nodes).await;
        sleep(PAUSE).await;
        let asked = striking.dice.pick(&striking.cluster.up())?;
        let Some(seen) = striking.cluster.time_servers(asked).await else { continue };
        let on = |node: &NodeId| seen.servers.iter().find(|server| server.node_id == node.0);
        let servers: Option<Vec<_>> = nodes.iter().map(|node| Some(on(node)?.server_id)).collect();
        if seen.changes_begun == 0 && seen.servers.len() == nodes.len() && servers.is_some() {
            return servers;
        }
    }
    None
}

async fn asked_to_place(striking: &mut Striking, nodes: &[NodeId]) -> bool {
    match striking.dice.pick(&striking.cluster.up()) {
        Some(asked) => striking.cluster.place_time_servers(nodes, asked).await,
        None => false,
    }
}
