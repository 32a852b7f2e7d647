//! What operators and outdated nodes do.

use super::striking::Striking;

/// A node is drained of its leaders, and later that is undone.
pub(super) async fn drain(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    if striking.cluster.drain(node, false).await {
        striking.begins(&[node], "is drained of its leaders");
    }
    striking.last().await;
    striking.cluster.drain(node, true).await;
    striking.ends();
}

/// A node is drained of its leaders, and that is undone at once.
pub(super) async fn transfer(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    if striking.cluster.drain(node, false).await {
        striking.begins(&[node], "hands its ranges over to others");
    }
    striking.cluster.drain(node, true).await;
    striking.ends();
}

/// A node takes an old state of the ranges for true.
pub(super) fn stale_routes(striking: &mut Striking) {
    if let Some(node) = striking.cluster.forget_routes(&mut striking.dice) {
        striking.begins(&[node], "takes one old range for all");
    }
}
