//! Leaders at home: each range's leader moves to where its placement policy wants it, and away from
//! a node that is about to stop.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;

use super::bootstrap::Bootstrap;
use crate::{
    placement::policy::{self, Candidate},
    range::{raft::types, replica::Replica},
    time::local::{Instant, sleep},
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
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let membership = metrics.membership_config.membership();
    let draining = bootstrap.draining.lock();
    membership
        .voter_ids()
        .filter_map(|id| {
            let node = membership.get_node(&id)?.node;
            let address = bootstrap.peers().book().get(node)?;
            let matched = types::matched(&metrics, id);
            let caught_up = matched.is_some_and(|index| index + LAG_MAX >= last)
                && types::has_answered(&metrics, id, SILENCE_MAX);
            Some(Candidate {
                node,
                replica: id,
                city: address.city,
                room: address.room,
                fit: node == bootstrap.peers().me()
                    || (caught_up && bootstrap.peers().is_live(node)),
                draining: draining.get(&node).copied().unwrap_or(false),
            })
        })
        .collect()
}

/// Looks after the leaders of this node's ranges for as long as the node runs.
pub(super) async fn run(bootstrap: Arc<Bootstrap>) {
    loop {
        trace::event("timer", format_args!("{} looks after its leaders", bootstrap.peers().me()));
        sleep(INTERVAL).await;
        for replica in bootstrap.replicas() {
            move_home(&bootstrap, &replica).await;
        }
    }
}

async fn move_home(bootstrap: &Bootstrap, replica: &Replica) {
    if !replica.is_leader() {
        return;
    }
    let me = bootstrap.peers().me();
    let candidates = candidates(bootstrap, replica);
    let Some(home) = policy::leader_home(replica.range, &candidates) else { return };
    if home.node == me {
        return;
    }
    tracing::info!(range = %replica.range, from = %me, to = %home.node, "leader moves home");
    // A refused transfer is tried again at the next look.
    replica.raft.trigger().transfer_leader(home.replica).await.ok();
}

/// Moves all leaders away from this node; gives up at `until`.
pub(super) async fn drain(bootstrap: &Bootstrap, until: Instant) {
    let me = bootstrap.peers().me();
    bootstrap.set_draining(true);
    super::upkeep::ping_once(bootstrap).await;
    loop {
        let mut left = false;
        for replica in bootstrap.replicas().into_iter().filter(Replica::is_leader) {
            let candidates = candidates(bootstrap, &replica);
            // Alone, or nobody else is fit: there is nowhere to go.
            let elsewhere =
                policy::leader_home(replica.range, &candidates).filter(|home| home.node != me);
            if let Some(home) = elsewhere {
                left = true;
                replica.raft.trigger().transfer_leader(home.replica).await.ok();
            }
        }
        if !left || Instant::now() >= until {
            return;
        }
        sleep(DRAIN_POLL).await;
    }
}
