//! Whether a node can serve clients now: `/readyz`, the gRPC health service, and a line in the log when it
//! changes.
//!
//! A node serves a range where it leads it, or reaches the node that does, directly or through a relay. That rests on
//! what was confirmed within the time of an election ([`RaftTimes::patience`]), not on what Raft's state names: so a
//! node that no leader reaches, because it advertises a wrong address, is not ready, nor is a leader whose voters are
//! gone. What breaks and is mended in less than that is no reason to send clients elsewhere.
//!
//! [`RaftTimes::patience`]: crate::range::elections::RaftTimes::patience

use std::time::Duration;

use super::{
    disks,
    known_leader::{is_served_around, known_leader},
    state::NodeState,
};
use crate::{
    ids::{NodeId, RangeId},
    peer::Reach,
    range::known::Known,
};

/// Whether the node can serve clients; `Err` says why not.
pub fn ready(node_state: &NodeState) -> Result<(), String> {
    if node_state.cluster().is_none() {
        return Err(node_state.peers().no_cluster().message);
    }
    if node_state.is_being_replaced() {
        let me = node_state.peers().me().0;
        return Err(format!(
            "the replacement of node {me} is not done: 'quintet replace {me}' goes on with it"
        ));
    }
    if node_state.host().disk.hangs() {
        return Err(disks::trouble(&node_state.host().disk).unwrap_or_default());
    }
    let here = Here::of(node_state);
    for replica in node_state.replicas() {
        let known = known_leader(node_state, &replica);
        let around = |leader| is_served_around(node_state, &replica, leader);
        here.serves(replica.range, known, |node| node_state.peers().reach(node), around)?;
    }
    Ok(())
}

/// The node whose readiness is judged.
pub(super) struct Here {
    me: NodeId,
    /// Where the others reach it.
    internal: String,
    patience: Duration,
}

impl Here {
    pub(super) fn of(node_state: &NodeState) -> Here {
        let me = node_state.peers().book().me();
        let patience = node_state.host().times.patience();
        Here { me: me.node, internal: me.internal, patience }
    }

    fn serves(
        &self,
        range: RangeId,
        known: Known,
        reach: impl FnOnce(NodeId) -> Option<Reach>,
        around: impl FnOnce(NodeId) -> bool,
    ) -> Result<(), String> {
        let Some(leader) = known.leader else {
            return Err(format!("range {} has no leader: {}", range.0, self.why_none(known)));
        };
        match reach(leader) {
            _ if leader == self.me => Ok(()),
            Some(reach) if reach.up || reach.lasted <= self.patience || around(leader) => Ok(()),
            Some(Reach { lasted, why, .. }) => Err(format!(
                "range {} is led by node {}, which this node has not reached for {} ({why})",
                range.0,
                leader.0,
                seconds(lasted)
            )),
            None => Err(format!(
                "range {} is led by node {}, whose address is not known",
                range.0, leader.0
            )),
        }
    }

    /// Why no leader is known, in words.
    pub(super) fn why_none(&self, known: Known) -> String {
        match (known.last, known.ago) {
            (Some(node), Some(ago)) if node == self.me => format!(
                "this node led it until {} ago, and hears too few voters since",
                seconds(ago)
            ),
            (Some(node), Some(ago)) if ago > self.patience => format!(
                "node {}, which led it, was heard {} ago, and nobody since; do the others reach this \
                 node at {}?",
                node.0,
                seconds(ago),
                self.internal
            ),
            (Some(_), Some(_)) => "an election is under way".to_owned(),
            _ => format!(
                "none was heard since the node's start; do the others reach this node at {}?",
                self.internal
            ),
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn serves(known: Known, reach: Option<Reach>) -> Result<(), String> {
        let here = Here { me: NodeId(1), internal: "db1:7402".to_owned(), patience: 2 * S };
        here.serves(RangeId(7), known, |_| reach, |_| false)
    }

    fn led_by(node: u64) -> Known {
        Known { leader: Some(NodeId(node)), last: Some(NodeId(node)), ago: Some(S) }
    }

    fn lost(node: u64) -> Known {
        Known { leader: None, last: Some(NodeId(node)), ago: Some(90 * S) }
    }

    fn down(lasted: Duration) -> Option<Reach> {
        Some(Reach { up: false, lasted, why: "connection refused".to_owned() })
    }

    #[test]
    fn a_node_serves_where_it_leads_or_reaches_the_leader() {
        let up = Reach { up: true, lasted: S, why: String::new() };
        assert_eq!(serves(led_by(1), None), Ok(()));
        assert_eq!(serves(led_by(2), Some(up)), Ok(()));
        assert_eq!(serves(led_by(2), down(S)), Ok(()), "mended within an election");
        let why = serves(led_by(2), down(3 * S)).expect_err("not reached");
        assert!(
            why.contains("node 2, which this node has not reached for 3.0 s (connection refused)"),
            "{why}"
        );
    }

    #[test]
    fn a_node_serves_where_another_one_reaches_the_leader() {
        let here = Here { me: NodeId(1), internal: "db1:7402".to_owned(), patience: 2 * S };
        let serves = here.serves(RangeId(7), led_by(2), |_| down(90 * S), |leader| leader.0 == 2);
        assert_eq!(serves, Ok(()));
    }

    #[test]
    fn a_node_that_nobody_reaches_names_the_address_that_it_advertises() {
        let why = serves(lost(2), None).expect_err("no leader");
        assert!(
            why.starts_with("range 7 has no leader: node 2, which led it, was heard 90.0 s ago"),
            "{why}"
        );
        assert!(why.contains("db1:7402"), "{why}");
        let why = serves(Known::default(), None).expect_err("no leader");
        assert!(why.contains("since the node's start") && why.contains("db1:7402"), "{why}");
    }

    #[test]
    fn a_leader_without_voters_does_not_serve() {
        let why = serves(lost(1), None).expect_err("no majority");
        assert!(why.contains("this node led it until 90.0 s ago"), "{why}");
    }
}
