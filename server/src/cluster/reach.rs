//! Whom a node reaches at the moment: asked of it before a leader is handed over to it.
//!
//! A leader knows whether *it* reaches another voter. Whether that one can lead depends on whom the other one
//! reaches: it needs the votes, and later the acknowledgements, of a majority. So the other node is asked,
//! and asks all nodes in turn, each of which has to confirm it by an answer. A few messages for each
//! handover, and no state that could be out of date.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use super::state::NodeState;
use crate::{
    ids::NodeId,
    peer::ask,
    range::{members::Members, replica::Replica},
    time::local::Instant,
};

/// Who does not answer within this is not reached: what a candidate's voters would take too long for.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// For the node that asks the others: their time, and the way to it and back.
const WORD_TIMEOUT: Duration = Duration::from_millis(1_000);

/// The nodes that answer this one now, itself among them.
pub(crate) async fn reached(node_state: &NodeState) -> BTreeSet<NodeId> {
    let peers = node_state.peers();
    let asked = peers.book().nodes().into_iter().filter(|node| *node != peers.me());
    let answers = asked.map(|node| async move {
        peers.ask_within(node, None, ask::Echo, ANSWER_TIMEOUT).await.ok().map(|()| node)
    });
    let answers = futures::future::join_all(answers).await;
    answers.into_iter().flatten().chain([peers.me()]).collect()
}

/// What nodes have said whom they reach, each asked once.
#[derive(Default)]
pub(crate) struct Words(BTreeMap<NodeId, BTreeSet<NodeId>>);

impl Words {
    /// Whether a node reaches a majority of a range's voters, as it says and as they confirm.
    pub(crate) async fn reaches_majority(
        &mut self,
        node_state: &NodeState,
        replica: &Replica,
        node: NodeId,
    ) -> bool {
        let reached = match self.0.entry(node) {
            Entry::Occupied(said) => said.into_mut(),
            Entry::Vacant(unasked) => unasked.insert(word_of(node_state, node).await),
        };
        is_majority(&replica.members(), reached)
    }
}

/// Whom another node reaches; nobody where it does not say so.
async fn word_of(node_state: &NodeState, node: NodeId) -> BTreeSet<NodeId> {
    node_state.peers().ask_within(node, None, ask::Reach, WORD_TIMEOUT).await.unwrap_or_default()
}

impl NodeState {
    /// Whom this node reaches, for others to know.
    pub(crate) fn reaches(&self) -> Vec<u64> {
        let peers = self.peers();
        let nodes = peers.book().nodes().into_iter();
        nodes.filter(|node| peers.is_live(*node)).map(|node| node.0).collect()
    }

    /// A node said whom it reaches.
    pub(crate) fn heard_reaches(&self, from: NodeId, reaches: Vec<u64>) {
        // Only nodes that this one knows: a peer can't make the set grow.
        let known: BTreeSet<_> = self.peers().book().nodes().into_iter().collect();
        let reaches = reaches.into_iter().map(NodeId).filter(|node| known.contains(node));
        self.around.heard(from, reaches.collect(), Instant::now());
    }

    /// One of the nodes that this one hears, and one of these that it reaches; each is asked. `Err`: one that does not
    /// say whom it reaches.
    pub(crate) async fn reached_by_another(
        &self,
        nodes: &BTreeSet<NodeId>,
    ) -> Result<Option<(NodeId, NodeId)>, NodeId> {
        let peers = self.peers();
        let others = peers.book().nodes().into_iter();
        let others = others.filter(|by| *by != peers.me() && peers.is_live(*by));
        let words = others.map(|by| async move { (by, word_of(self, by).await) });
        let mut found = None;
        for (by, reached) in futures::future::join_all(words).await {
            // It reaches itself.
            if reached.is_empty() {
                return Err(by);
            }
            let reached = nodes.iter().find(|node| **node != by && reached.contains(node));
            found = found.or(reached.map(|node| (by, *node)));
        }
        Ok(found)
    }

    /// Of these nodes one that reaches another which this one does not reach; none where this one does.
    pub(crate) fn way_around(
        &self,
        to: NodeId,
        by: impl IntoIterator<Item = NodeId>,
    ) -> Option<NodeId> {
        if self.peers().is_live(to) {
            return None;
        }
        let reaching = self.around.who_reaches(to, Instant::now());
        by.into_iter().find(|node| reaching.contains(node) && self.peers().is_live(*node))
    }
}

/// Whether nodes hold a majority of the voters, of both halves where the membership is joint.
fn is_majority(members: &Members, nodes: &BTreeSet<NodeId>) -> bool {
    members.is_majority(|voter| members.holder(voter).is_some_and(|node| nodes.contains(&node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ReplicaId;

    /// Replicas 11.. are held by nodes 1..
    fn membership(configs: &[&[u64]]) -> Members {
        let sets =
            configs.iter().map(|config| config.iter().map(|id| ReplicaId(10 + id)).collect());
        let holders = configs.concat().into_iter().map(|id| (ReplicaId(10 + id), NodeId(id)));
        Members { at: None, configs: sets.collect(), holders: holders.collect() }
    }

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Regression: node 1 was taken for fit because node 2, which led, saw it.
    #[test]
    fn who_reaches_the_leader_alone_reaches_no_majority() {
        let five = membership(&[&[1, 2, 3, 4, 5]]);
        assert!(!is_majority(&five, &nodes(&[1, 2])));
        assert!(is_majority(&five, &nodes(&[1, 2, 5])));
        assert!(!is_majority(&five, &nodes(&[1, 2, 6, 7, 8])), "strangers have no vote");
        assert!(!is_majority(&five, &nodes(&[])));
    }

    #[test]
    fn both_halves_of_a_joint_membership_count() {
        let joint = membership(&[&[1, 2, 3], &[1, 4, 5]]);
        assert!(!is_majority(&joint, &nodes(&[1, 2, 3])));
        assert!(is_majority(&joint, &nodes(&[1, 2, 4])));
    }
}
