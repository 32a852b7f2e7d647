//! Nodes that stand still.

use super::striking::Striking;

/// A node stands still, and then goes on as if nothing had been.
pub(super) async fn node(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    striking.begins(&[node], "stands still");
    striking.cluster.pause(node);
    striking.last().await;
    striking.cluster.resume(node);
    striking.ends();
}
