//! Around a link that is down: which nodes other nodes reach, as each says in its pings.
//!
//! Where this node does not reach another one, a third node may. Requests are relayed by any such node
//! (`router/relay.rs`: the first to answer shows that it works). Two other things ask here. What the node reports of
//! the cluster: a range whose leader is reached around a broken link has a leader and is served. And what only one node
//! can do for an operator: a drain is handed to a node that reaches the one to be drained.
//!
//! A ping counts for [`SAID_COUNTS`], and while its sender is live; after that the sender reaches no node as far as is
//! known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{ids::NodeId, time::local::Instant};

/// Three pings.
const SAID_COUNTS: Duration = Duration::from_secs(3);

/// What nodes said last of whom they reach.
#[derive(Default)]
pub(super) struct Around(Mutex<BTreeMap<NodeId, (Instant, BTreeSet<NodeId>)>>);

impl Around {
    /// A node said whom it reaches.
    pub(super) fn heard(&self, from: NodeId, reaches: BTreeSet<NodeId>, now: Instant) {
        self.0.lock().insert(from, (now, reaches));
    }

    /// Who said that it reaches a node, lately.
    pub(super) fn who_reaches(&self, node: NodeId, now: Instant) -> Vec<NodeId> {
        let said = self.0.lock();
        let reaches = said.iter().filter(|(_, (at, reached))| {
            now.saturating_duration_since(*at) <= SAID_COUNTS && reached.contains(&node)
        });
        reaches.map(|(from, _)| *from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_long_ago_says_nothing() {
        let (around, begin) = (Around::default(), Instant::now());
        around.heard(NodeId(2), [NodeId(1), NodeId(3)].into(), begin);
        around.heard(NodeId(4), [NodeId(3)].into(), begin);
        assert_eq!(around.who_reaches(NodeId(1), begin + SAID_COUNTS), [NodeId(2)]);
        assert_eq!(around.who_reaches(NodeId(3), begin), [NodeId(2), NodeId(4)]);
        around.heard(NodeId(2), [NodeId(3)].into(), begin);
        assert_eq!(around.who_reaches(NodeId(1), begin), []);
        let later = begin + SAID_COUNTS + Duration::from_millis(1);
        assert_eq!(around.who_reaches(NodeId(3), later), []);
    }
}
