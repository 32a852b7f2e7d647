//! A node that loses its disk and is taken back.

use std::time::Duration;

use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep, sleep_until};

use super::striking::Striking;

/// Between two calls to replace a node.
const REPLACE_PAUSE: Duration = Duration::from_millis(100);

/// A node loses its disk and is replaced. Every second time so that its old vote would make a majority of
/// nodes that lack what was acknowledged.
pub(super) async fn lose(striking: &mut Striking) {
    let cluster = striking.cluster.clone();
    let mut nodes = cluster.nodes();
    // One disk after the other: with two gone acknowledged writes may be, too.
    if !cluster.disks_are_whole() || cluster.up().len() < nodes.len() {
        return;
    }
    let Some(victim) = striking.dice.pick(&nodes) else { return };
    nodes.retain(|node| *node != victim);
    striking.begins(&[victim], "loses its disk");
    let (least, most) = striking.strike.fault.down_s();
    let mut returning = None;
    if striking.dice.one_in(2) {
        let behind: Vec<_> = nodes.drain(..nodes.len() / 2).collect();
        for node in &behind {
            cluster.kill(*node);
        }
        sleep(striking.dice.seconds(least, most)).await;
        for node in nodes.iter().chain([&victim]) {
            cluster.kill(*node);
        }
        cluster.wipe(victim);
        for node in behind.iter().chain([&victim]) {
            cluster.restart(*node);
        }
        returning = Some(Instant::now() + striking.dice.seconds(least, most));
    } else {
        cluster.kill(victim);
        cluster.wipe(victim);
        sleep(striking.dice.seconds(least, most)).await;
        cluster.restart(victim);
    }
    let back = async {
        if let Some(at) = returning {
            sleep_until(at).await;
            for node in nodes {
                cluster.restart(node);
            }
        }
    };
    futures::join!(back, replace(striking, victim));
    striking.ends();
}

/// Calls nodes at random to replace one that is back with an empty disk, until that is done.
pub(super) async fn replace(striking: &mut Striking, victim: NodeId) {
    loop {
        if let Some(asked) = striking.dice.pick(&striking.cluster.up())
            && striking.cluster.replace(victim, asked).await.is_ok()
        {
            return;
        }
        sleep(REPLACE_PAUSE).await;
    }
}
