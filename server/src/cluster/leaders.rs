//! Leaders at home: each range's leader moves to where its placement policy wants it, and away from
//! a node that is about to stop.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;

use super::{news, reach::Words, state::NodeState};
use crate::{
    placement::policy::{self, Candidate},
    planted::{self, Bug},
    range::{raft::types, replica::Replica},
    storage::disk::Condition,
    time::local::{Instant, sleep},
};

/// A follower this far behind takes no leader.
const LAG_MAX: u64 = 200;
/// Nor does one that answered nothing for so long: its node may be up and not hold it any more.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The voters of a range as its leader sees them.
pub(super) fn candidates(node_state: &NodeState, replica: &Replica) -> Vec<Candidate> {
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let membership = metrics.membership_config.membership();
    let (handovers, now) = (node_state.handovers.lock(), Instant::now());
    let may_go = |node| {
        handovers.may_go(replica.range, node, now) || planted::active(Bug::HomeHoweverLonely)
    };
    let clocks = node_state.clocks.lock();
    membership
        .voter_ids()
        .filter_map(|id| {
            let node = membership.get_node(&id)?.node;
            let address = node_state.peers().book().get(node)?;
            let matched = types::matched(&metrics, id);
            let caught_up = matched.is_some_and(|index| index + LAG_MAX >= last)
                && types::has_answered(&metrics, id, SILENCE_MAX);
            Some(Candidate {
                node,
                replica: id,
                city: address.city,
                room: address.room,
                disk: node_state.disk_of(node).map_or(Condition::Well, |known| known.condition),
                fit: node == node_state.peers().me()
                    || (caught_up && node_state.peers().is_live(node) && may_go(node)),
                draining: node_state.is_draining(node),
                clock_is_wrong: clocks.get(&node).is_some_and(|wrong_by_us| *wrong_by_us != 0),
            })
        })
        .collect()
}

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
    let candidates = candidates(node_state, replica);
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
    replica.raft.trigger().transfer_leader(home.replica).await.ok();
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
