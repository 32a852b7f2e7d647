//! Leaders at home: each range's leader moves to where its placement policy wants it, and away from
//! a node that is about to stop.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{candidates::candidates, news, reach::Words, state::NodeState};
use crate::{
    ids::ReplicaId,
    placement::policy::{self, Candidate},
    planted::{self, Bug},
    range::replica::Replica,
    time::local::{Instant, sleep},
};

const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Notes what has become of handovers of a range.
pub(crate) fn see(node_state: &NodeState, replica: &Replica) {
    let mut handovers = node_state.handovers.lock();
    let failed = handovers.saw(replica.range, replica.leader_node(), Instant::now());
    replica.shared.metrics.handovers_failed.inc_by(failed);
}

/// Hands a leader over to where it belongs, if that is elsewhere. Whether it is, or may be soon.
pub(crate) async fn move_home(
    node_state: &NodeState,
    replica: &Replica,
    words: &mut Words,
) -> bool {
    let (me, range) = (node_state.peers().me(), replica.range);
    let candidates = candidates(node_state, replica, &replica.raft.progress());
    // Also one that lags, or to which a handover has just failed: it may be fit in a moment.
    let has_space = |voter: &Candidate| {
        voter.node != me && node_state.peers().is_live(voter.node) && voter.could_take_writes()
    };
    let others_have_space = candidates.iter().any(has_space);
    replica.shared.others_have_space.store(others_have_space, Relaxed);
    let Some(home) = policy::leader_home(range, &candidates).filter(|home| home.node != me) else {
        // Alone, at home, or nobody else is fit: there is nowhere to go.
        return false;
    };
    // The careless hand: "it answers me, so it can lead".
    let careless = planted::active(Bug::HomeHoweverLonely);
    let is_under_way = node_state.handovers.lock().is_under_way(range, home.node);
    if !careless && !is_under_way && !words.reaches_majority(node_state, replica, home.node).await {
        tracing::info!(
            %range, from = %me, to = %home.node,
            "leader does not move: the other node reaches no majority of the range's voters"
        );
        replica.shared.metrics.handovers_failed.inc();
        node_state.handovers.lock().fails(range, home.node, Instant::now());
        return true;
    }
    if !is_under_way {
        tracing::info!(%range, from = %me, to = %home.node, "leader moves");
    }
    node_state.handovers.lock().begins(range, home.node, Instant::now());
    replica.raft.hand_over_to(ReplicaId(home.replica)).await;
    true
}

/// Moves all leaders away from this node; gives up at `until`.
pub(crate) async fn drain(node_state: &NodeState, until: Instant) {
    node_state.set_draining(true);
    news::tell_all(node_state).await;
    loop {
        let (mut left, mut words) = (false, Words::default());
        for replica in node_state.replicas() {
            see(node_state, &replica);
            let leads = node_state.router().leads(replica.range);
            left |= leads && move_home(node_state, &replica, &mut words).await;
        }
        if !left || Instant::now() >= until {
            return;
        }
        sleep(DRAIN_POLL).await;
    }
}
