//! Nodes that do not reach one another.

use super::Striking;

/// The node that leads the first range of data is cut off from everybody, and goes on.
pub(super) async fn leader(striking: &mut Striking) {
    let Some(leader) = striking.cluster.data_leader() else { return };
    striking.begins(&[leader], "leads and is cut off from everybody");
    striking.cluster.cut_off(leader);
    striking.last().await;
    striking.cluster.mend(leader);
    striking.ends();
}
