//! Nodes that are killed: one, all one after the other, a room, a city, a majority, all at once.

use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep, sleep_until};

use super::striking::Striking;

/// Between two looks at whether a node is back.
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// One node; a majority stays up.
pub(super) async fn node(striking: &mut Striking) {
    let Some(victim) = striking.single() else { return };
    together(striking, &[victim], "is killed").await;
}

/// All nodes of a room.
pub(super) async fn room(striking: &mut Striking) {
    let (_, nodes) = striking.room();
    together(striking, &nodes, "are lost with their room").await;
}

/// All nodes of a city.
pub(super) async fn city(striking: &mut Striking) {
    let (_, nodes) = striking.city();
    together(striking, &nodes, "are lost with their city").await;
}

/// As many nodes as make a majority.
pub(super) async fn majority(striking: &mut Striking) {
    let mut left = striking.cluster.nodes();
    let mut victims = Vec::new();
    for _ in 0..left.len() / 2 + 1 {
        let Some(victim) = striking.dice.pick(&left) else { return };
        left.retain(|node| *node != victim);
        victims.push(victim);
    }
    together(striking, &victims, "are lost, a majority of all").await;
}

async fn together(striking: &mut Striking, victims: &[NodeId], words: &str) {
    striking.begins(victims, words);
    for victim in victims {
        striking.cluster.kill(*victim);
    }
    striking.last().await;
    for victim in victims {
        striking.cluster.restart(*victim);
    }
    striking.ends();
}

/// All nodes at once; each comes back after a time of its own.
pub(super) async fn power(striking: &mut Striking) {
    let victims = striking.cluster.nodes();
    striking.begins(&victims, "lose power at the same moment");
    let (least, most) = striking.strike.fault.down_s();
    let now = Instant::now();
    let mut back: Vec<_> =
        victims.iter().map(|node| (now + striking.dice.seconds(least, most), *node)).collect();
    back.sort();
    for victim in victims {
        striking.cluster.kill(victim);
    }
    for (at, node) in back {
        sleep_until(at).await;
        striking.cluster.restart(node);
    }
    striking.ends();
}

/// All nodes, each once the one before it is back and knows all leaders. One such round at a time.
pub(super) async fn rolling(striking: &mut Striking) {
    let cluster = striking.cluster.clone();
    let Some(_alone) = cluster.alone(striking.strike.fault.kind) else { return };
    for node in cluster.nodes() {
        striking.begins(&[node], "is restarted, one after the other");
        striking.cluster.kill(node);
        striking.last().await;
        striking.cluster.restart(node);
        while !striking.cluster.is_ready(node) {
            sleep(LOOK_PAUSE).await;
        }
        striking.ends();
        // As an operator does who looks at the cluster before he goes on.
        let pause = striking.dice.seconds(0.5, 6.0);
        sleep(pause).await;
    }
}
