//! The voters of a range as its leader sees them: what a placement policy needs to know of each to say where the
//! leader belongs (`placement/policy.rs`).

use std::time::Duration;

use super::state::NodeState;
use crate::{
    placement::disk::Condition,
    placement::policy::Candidate,
    planted::{self, Bug},
    range::{raft::progress::Progress, replica::Replica},
    time::local::Instant,
};

/// A follower this far behind takes no leader.
const LAG_MAX: u64 = 200;
/// Nor does one that answered nothing for this long: its node may be up and not hold it any more.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The voters of a range as its leader sees them.
pub(super) fn candidates(
    node_state: &NodeState,
    replica: &Replica,
    progress: &Progress,
) -> Vec<Candidate> {
    let (handovers, now) = (node_state.handovers.lock(), Instant::now());
    let may_go = |node| {
        handovers.may_go(replica.range, node, now) || planted::active(Bug::HomeHoweverLonely)
    };
    let voters = progress.members.voters().into_iter();
    voters
        .filter_map(|id| {
            let node = progress.members.holder(id)?;
            let address = node_state.peers().book().get(node)?;
            let matched = progress.matched(id);
            let caught_up = matched.is_some_and(|index| index + LAG_MAX >= progress.last_index)
                && progress.answered_ago(id).is_some_and(|ago| ago <= SILENCE_MAX);
            Some(Candidate {
                node,
                replica: id.0,
                city: address.city,
                room: address.room,
                disk: node_state.disk_of(node).map_or(Condition::Well, |known| known.condition),
                fit: node == node_state.peers().me()
                    || (caught_up && node_state.peers().is_live(node) && may_go(node)),
                draining: node_state.is_draining(node),
            })
        })
        .collect()
}
