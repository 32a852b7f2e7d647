//! Who leads a range now, as this node can tell: by its own replica, by what others said, and around links
//! that are down.

use crate::{
    cluster::state::NodeState,
    ids::NodeId,
    range::{known::Known, replica::Replica},
};

/// Who leads a range now, also where this node's replica can't know. A group that a hung disk froze goes on
/// calling itself leader, and takes no notice of another one, which tells of itself in its pings; and a leader
/// that this node does not reach, nor it this node, is one all the same where others do.
pub(super) fn known_leader(node_state: &NodeState, replica: &Replica) -> Known {
    let (known, me) = (replica.known_leader(), node_state.peers().me());
    let router = node_state.router();
    let leads = |node: &NodeId| *node != me || router.leads(replica.range);
    let leader = known.leader.filter(leads).or_else(|| {
        let named = router.leader_of(replica.range).filter(|node| *node != me)?;
        let is_newer = replica.leader_node() != Some(named) && node_state.peers().is_live(named);
        (is_newer || is_served_around(node_state, replica, named)).then_some(named)
    });
    Known { leader, ..known }
}

/// Whether this node does not reach a range's leader, and one that has a replica of the range does.
pub(super) fn is_served_around(node_state: &NodeState, replica: &Replica, leader: NodeId) -> bool {
    let holders = replica.shared.state.descriptor();
    let holders = holders.replicas.iter().map(|(_, node)| *node);
    node_state.way_around(leader, holders.filter(|node| *node != leader)).is_some()
}
