//! Leaders at home: each range's leader moves to where its placement policy wants it, and away from
//! a node that is about to stop.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{bootstrap::Bootstrap, reach::Words};
use crate::{
    ids::ReplicaId,
    placement::policy::{self, Candidate},
    planted::{self, Bug},
    range::replica::Replica,
    storage::disk::Condition,
    time::local::{Instant, sleep, timeout},
    trace,
};

/// How often the place of each leader is looked at.
const INTERVAL: Duration = Duration::from_millis(1_000);
/// A follower this far behind takes no leader.
const LAG_MAX: u64 = 200;
/// Nor does one that answered nothing for so long: its node may be up and not hold it any more.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The voters of a range as its leader sees them.
pub(super) fn candidates(bootstrap: &Bootstrap, replica: &Replica) -> Vec<Candidate> {
    let progress = replica.raft.progress();
    let (handovers, now) = (bootstrap.handovers.lock(), Instant::now());
    let may_go = |node| {
        handovers.may_go(replica.range, node, now) || planted::active(Bug::HomeHoweverLonely)
    };
    let clocks = bootstrap.clocks.lock();
    let voters = progress.members.voters().into_iter();
    voters
        .filter_map(|id| {
            let node = progress.members.holder(id)?;
            let address = bootstrap.peers().book().get(node)?;
            let matched = progress.matched(id);
            let caught_up = matched.is_some_and(|index| index + LAG_MAX >= progress.last_index)
                && progress.answered_ago(id).is_some_and(|ago| ago <= SILENCE_MAX);
            Some(Candidate {
                node,
                replica: id.0,
                city: address.city,
                room: address.room,
                disk: bootstrap.disk_of(node).map_or(Condition::Well, |known| known.condition),
                fit: node == bootstrap.peers().me()
                    || (caught_up && bootstrap.peers().is_live(node) && may_go(node)),
                draining: bootstrap.is_draining(node),
                clock_is_wrong: clocks.get(&node).is_some_and(|wrong_by_us| *wrong_by_us != 0),
            })
        })
        .collect()
}

/// Looks after the leaders of this node's ranges for as long as the node runs.
pub(super) async fn run(bootstrap: Arc<Bootstrap>) {
    loop {
        trace::event("timer", format_args!("{} looks after its leaders", bootstrap.peers().me()));
        // At once where the node's disk has become another one.
        timeout(INTERVAL, bootstrap.leaders_look.notified()).await.ok();
        let mut words = Words::default();
        for replica in bootstrap.replicas() {
            see(&bootstrap, &replica);
            if bootstrap.router().leads(replica.range) {
                // A refused transfer is tried again at the next look.
                move_home(&bootstrap, &replica, &mut words).await;
            }
        }
    }
}

/// Notes what has become of handovers of a range.
fn see(bootstrap: &Bootstrap, replica: &Replica) {
    let mut handovers = bootstrap.handovers.lock();
    let failed = handovers.saw(replica.range, replica.leader_node(), Instant::now());
    replica.shared.metrics.handovers_failed.inc_by(failed);
}

/// Hands a leader over to where it belongs, if that is elsewhere. Whether it is, or may be soon.
async fn move_home(bootstrap: &Bootstrap, replica: &Replica, words: &mut Words) -> bool {
    let (me, range) = (bootstrap.peers().me(), replica.range);
    let candidates = candidates(bootstrap, replica);
    // Also one that lags, or to which a handover has just failed: it may be fit in a moment.
    let has_space = |voter: &Candidate| {
        voter.node != me && bootstrap.peers().is_live(voter.node) && voter.could_take_writes()
    };
    let others_have_space = candidates.iter().any(has_space);
    replica.shared.others_have_space.store(others_have_space, Relaxed);
    let Some(home) = policy::leader_home(range, &candidates).filter(|home| home.node != me) else {
        // Alone, at home, or nobody else is fit: there is nowhere to go.
        return false;
    };
    // The careless hand: "it answers me, so it can lead".
    let careless = planted::active(Bug::HomeHoweverLonely);
    let is_under_way = bootstrap.handovers.lock().is_under_way(range, home.node);
    if !careless && !is_under_way && !words.reaches_majority(bootstrap, replica, home.node).await {
        tracing::info!(
            %range, from = %me, to = %home.node,
            "leader does not move: the other node reaches no majority of the range's voters"
        );
        replica.shared.metrics.handovers_failed.inc();
        bootstrap.handovers.lock().fails(range, home.node, Instant::now());
        return true;
    }
    if !is_under_way {
        tracing::info!(%range, from = %me, to = %home.node, "leader moves");
    }
    bootstrap.handovers.lock().begins(range, home.node, Instant::now());
    replica.raft.hand_over_to(ReplicaId(home.replica)).await;
    true
}

/// Moves all leaders away from this node; gives up at `until`.
pub(super) async fn drain(bootstrap: &Bootstrap, until: Instant) {
    bootstrap.set_draining(true);
    super::upkeep::ping_once(bootstrap).await;
    loop {
        let (mut left, mut words) = (false, Words::default());
        for replica in bootstrap.replicas() {
            see(bootstrap, &replica);
            let leads = bootstrap.router().leads(replica.range);
            left |= leads && move_home(bootstrap, &replica, &mut words).await;
        }
        if !left || Instant::now() >= until {
            return;
        }
        sleep(DRAIN_POLL).await;
    }
}
