//! Whom a request is sent to, and what its caller is told where that one is lost.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Router;
use crate::{
    error::OpError,
    ids::NodeId,
    planted::{self, Bug},
    storage::format::descriptor::Descriptor,
};

/// Whose turn it is to relay.
#[derive(Default)]
pub(super) struct Turns(AtomicUsize);

impl Turns {
    /// One of these nodes, each in turn: one that does not reach the leader either is not asked again and
    /// again.
    pub(super) fn next(&self, of: &[NodeId]) -> Option<NodeId> {
        let turn = self.0.fetch_add(1, Relaxed);
        of.get(turn.checked_rem(of.len())?).copied()
    }
}

/// Whom to ask for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) node: NodeId,
    /// It is to pass the request on.
    pub(super) relay: bool,
}

impl Router {
    /// The way to a range's leader, where one is known: straight to it, or around the link that is down.
    pub(super) fn way(&self, route: &Descriptor, leader: Option<NodeId>) -> Option<Way> {
        let straight = leader.map(|node| Way { node, relay: false });
        // The careless hand: "it will come up again".
        if leader.is_some_and(|leader| self.peers.is_live(leader))
            || planted::active(Bug::CutGatewayGivesUp)
        {
            return straight;
        }
        let me = self.peers.me();
        let holders = route.replicas.iter().map(|(_, node)| *node);
        let others = holders.filter(|node| *node != me && Some(*node) != leader);
        let others: Vec<_> = others.filter(|node| self.peers.is_live(*node)).collect();
        let around = self.relays.next(&others).map(|node| Way { node, relay: true });
        around.or(straight)
    }
}

/// The link to a leader is down, and nothing was sent.
pub(super) fn lost_sight_of(leader: NodeId, address: Option<String>) -> OpError {
    let at = address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let message = format!(
        "this node does not reach the leader, node {}{at}, nor a node that does; ask there, or try again",
        leader.0
    );
    OpError { hint: address, ..OpError::unavailable(message) }
}

/// The link to a leader broke behind a request.
pub(super) fn lost(may_have_acted: bool) -> OpError {
    if may_have_acted {
        OpError::ambiguous("the link to the leader broke; ask again with the same id")
    } else {
        OpError::unavailable("the leader can't be reached at the moment; try again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_take_turns() {
        let turns = Turns::default();
        let of = [NodeId(2), NodeId(5)];
        let asked: Vec<_> = (0..4).filter_map(|_| turns.next(&of)).map(|node| node.0).collect();
        assert_eq!(asked, [2, 5, 2, 5]);
        assert_eq!(turns.next(&[]), None);
    }
}
