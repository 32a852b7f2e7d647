//! A majority of the time servers that is lost for good, with their disks; an operator begins time anew.

use std::collections::BTreeMap;

use quintet_server::ids::NodeId;
use tokio::time::sleep;

use super::{
    disk_loss::replace,
    partial::cut,
    placing::{PAUSE, all_are_there, alone, place, place_on_all},
    striking::Striking,
};
use crate::cluster::Cluster;

/// Calls of an operator who believes the first node that he asks: longer than links take to be given up.
const HASTY_CALLS: usize = 25;

/// Time servers are placed on three nodes, two of these lose their disks, and time is recovered without them. Then the
/// nodes are replaced, and all have time servers again.
pub(super) async fn lose(striking: &mut Striking) {
    let cluster = striking.cluster.clone();
    let Some(_alone) = alone(&cluster) else { return };
    if !all_are_there(&cluster).await {
        return;
    }
    let mut nodes = cluster.nodes();
    let mut placed = Vec::new();
    while placed.len() < 3 {
        let Some(node) = striking.dice.pick(&nodes) else { return };
        nodes.retain(|other| *other != node);
        placed.push(node);
    }
    let interruptions = interruptions(&cluster);
    if let Some(servers) = place(striking, &placed).await
        && all_are_there(&cluster).await
    {
        let victims = &placed[..2];
        if striking.dice.one_in(2) {
            declare_lost_in_vain(striking, victims, &servers[..2], &interruptions).await;
        }
        striking.begins(victims, "lose their disks, and with them most time servers");
        cluster.lose_time(&servers[..2], victims);
        for victim in victims {
            cluster.kill(*victim);
            cluster.wipe(*victim);
        }
        let (least, most) = striking.strike.fault.down_s();
        sleep(striking.dice.seconds(least, most)).await;
        while !recovered(striking, victims).await {
            sleep(PAUSE).await;
        }
        for victim in victims {
            cluster.restart(*victim);
        }
        for victim in victims {
            replace(striking, *victim).await;
        }
        striking.ends();
    }
    place_on_all(striking).await;
}

/// How often each node went down or stood still.
fn interruptions(cluster: &Cluster) -> BTreeMap<NodeId, u64> {
    cluster.nodes().into_iter().map(|node| (node, cluster.interruptions(node))).collect()
}

/// The leader of the system range is cut off from two that are there, so that it hears too few time servers, and an
/// operator declares these lost. It must be refused where another one hears one of them: where both were there without
/// an interruption since before time servers were placed.
async fn declare_lost_in_vain(
    striking: &mut Striking,
    victims: &[NodeId],
    servers: &[u64],
    interruptions: &BTreeMap<NodeId, u64>,
) {
    let cluster = striking.cluster.clone();
    let Some(leader) = cluster.system_leader().filter(|leader| !victims.contains(leader)) else {
        return;
    };
    let rules = cluster.net().add(cut(leader, victims.iter().copied()));
    for _ in 0..HASTY_CALLS {
        sleep(PAUSE).await;
        if !cluster.declare_lost(servers.to_vec(), leader).await {
            continue;
        }
        let was_there =
            |node: &NodeId| interruptions.get(node) == Some(&cluster.interruptions(*node));
        let nodes = cluster.nodes();
        let mut others = nodes.iter().filter(|node| **node != leader && !victims.contains(node));
        if victims.iter().any(was_there) && others.any(was_there) {
            cluster.breaks(format!(
                "{leader} alone did not hear {victims:?}, and they are lost for good"
            ));
        }
        break;
    }
    cluster.net().remove(rules);
}

/// Asks one of the others to begin time anew.
async fn recovered(striking: &mut Striking, victims: &[NodeId]) -> bool {
    let mut others = striking.cluster.up();
    others.retain(|node| !victims.contains(node));
    match striking.dice.pick(&others) {
        Some(asked) => striking.cluster.recover_time(asked).await,
        None => false,
    }
}
