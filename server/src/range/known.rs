//! Who leads a range *now*, as far as a replica can tell, and since when it can't.
//!
//! Raft's state names a leader until there is another one: one that reaches nobody goes on naming itself, and
//! a replica that nobody reaches goes on naming whom it heard last. What people and monitors are shown must
//! not rest on that. A leader is known while it was confirmed within the time after which an election would
//! be under way ([`RaftTimes::patience`]): at the leader by a majority that answered its heartbeats, at a
//! follower by a message of it. Reads and writes rest on none of this: they ask (`leadership.rs`).
//!
//! [`RaftTimes::patience`]: super::elections::RaftTimes::patience

use std::time::Duration;

use parking_lot::Mutex;

use super::raft::{group::Group, progress::Progress};
use crate::{ids::NodeId, time::local::Instant};

/// What a replica can tell of its leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Who leads now; none where that is not known.
    pub leader: Option<NodeId>,
    /// Who led when that was known last.
    pub last: Option<NodeId>,
    /// How long ago that was confirmed; none where it never was since the node's start.
    pub ago: Option<Duration>,
}

impl Known {
    /// From whom a leader was confirmed last, how long ago, and whom Raft names now.
    fn judge(
        confirmed: Option<(NodeId, Duration)>,
        named: Option<NodeId>,
        patience: Duration,
    ) -> Known {
        let Some((node, ago)) = confirmed else {
            return Known { last: named, ..Known::default() };
        };
        // Raft may know better than the last message: an election, or a leader that stepped down.
        let leads = ago <= patience && named == Some(node);
        Known { leader: leads.then_some(node), last: Some(node), ago: Some(ago) }
    }
}

/// When the leader of a range was confirmed last, at one replica.
#[derive(Debug)]
pub struct LeaderHeard {
    me: NodeId,
    patience: Duration,
    last: Mutex<Option<(NodeId, Instant)>>,
}

impl LeaderHeard {
    /// Nothing yet.
    pub(super) fn new(me: NodeId, patience: Duration) -> LeaderHeard {
        LeaderHeard { me, patience, last: Mutex::default() }
    }

    /// A node sent what only the leader sends, and this replica follows it.
    pub fn note(&self, leader: NodeId) {
        *self.last.lock() = Some((leader, Instant::now()));
    }

    /// Who leads now.
    pub fn known(&self, raft: &Group) -> Known {
        let progress = raft.progress();
        let named = progress.leader.and_then(|leader| progress.members.holder(leader));
        let confirmed = confirmed_here(&progress);
        let mut last = self.last.lock();
        if let Some(ago) = confirmed {
            // Kept: who leads no more knows all the same until when it did.
            *last = Instant::now().checked_sub(ago).map(|at| (self.me, at));
        }
        let confirmed = last.map(|(node, at)| (node, at.elapsed()));
        Known::judge(confirmed, named, self.patience)
    }
}

/// How long ago a majority confirmed that this replica leads; none where it does not lead, or was not
/// confirmed yet.
fn confirmed_here(progress: &Progress) -> Option<Duration> {
    if !progress.is_leader() {
        return None;
    }
    if progress.members.voters().into_iter().all(|voter| voter == progress.me) {
        return Some(Duration::ZERO);
    }
    progress.quorum_answered_at.map(|asked_at| asked_at.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_leader_is_known_while_it_is_confirmed() {
        let (one, two) = (NodeId(1), NodeId(2));
        let known = Known::judge(Some((one, S)), Some(one), 2 * S);
        assert_eq!(known, Known { leader: Some(one), last: Some(one), ago: Some(S) });
        // Raft names it for ever; nobody has heard it for three seconds.
        let lost = Known::judge(Some((one, 3 * S)), Some(one), 2 * S);
        assert_eq!(lost, Known { leader: None, last: Some(one), ago: Some(3 * S) });
        // It stepped down, or another is being elected, or was and has not said anything yet.
        assert_eq!(Known::judge(Some((one, S)), None, 2 * S).leader, None);
        assert_eq!(Known::judge(Some((one, S)), Some(two), 2 * S).leader, None);
        // Since the start of the node only its disk has named one.
        let named = Known::judge(None, Some(one), 2 * S);
        assert_eq!(named, Known { leader: None, last: Some(one), ago: None });
    }
}
