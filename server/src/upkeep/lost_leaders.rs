//! Ranges whose leader's process has ended: their replicas need not wait until it has been silent for long.
//!
//! A follower believes in its leader for an election timeout after it heard it, and then waits for another one
//! before it stands for election itself (`range/elections.rs`): right where silence is all that there is.
//! Where a connection is closed and the next one refused, the process is gone, and its followers know it
//! within a few round trips (`peer/departures.rs`). Then each replica on this node that followed it
//!
//! * lets it go: votes for others are not refused any more for its sake;
//! * stands for election in its turn, the turns being those of [`policy::succession`] without the nodes that
//!   are gone: the first at once, the others one after the other. A replica asks first whether it would be
//!   elected (openraft's pre-vote), and asks again: others may learn of the end a little later.
//!
//! # Invariants
//!
//! * Each replica goes by what its own node has seen. A majority has to be of that opinion before anybody is
//!   elected: one node that is mistaken disturbs no other.
//! * Only the leadership that was there when the process ended is given up: a vote for a later one ends it.
//! * After [`PATIENCE`] openraft's own timers have the word again, which run all the time.
//!
//! # On a crash
//!
//! Nothing is kept.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    cluster::state::NodeState,
    ids::RangeId,
    placement::policy,
    range::{
        check_quorum,
        elections::{self, RaftTimes},
        raft::progress::Vote,
    },
    time::local::{Instant, sleep},
};

/// How often a replica whose turn it is asks whether it would be elected.
const STEP: Duration = Duration::from_millis(100);
/// The part of the shortest election timeout that a turn takes: time for two rounds of votes, and for the first
/// heartbeat, between cities.
const TURN_PARTS: u32 = 2;
/// For how long a replica stands for election outside openraft's own turns.
const PATIENCE: Duration = Duration::from_secs(2);

/// A leadership that has ended.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// The vote for it.
    vote: Vote,
    since: Instant,
}

/// Looks after such ranges for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>, times: RaftTimes) {
    let mut lost: BTreeMap<RangeId, Lost> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            departed = node_state.peers().departed() => {
                for replica in node_state.replicas() {
                    let led_there = replica.leader_node().filter(|node| departed.contains(node));
                    let Some(node) = led_there else { continue };
                    tracing::info!(range = %replica.range, %node, "the leader's process has ended");
                    let vote = check_quorum::release(&replica).await;
                    lost.insert(replica.range, Lost { vote, since: Instant::now() });
                }
            }
            () = sleep(STEP), if !lost.is_empty() => {}
        }
        let now = Instant::now();
        let mut left = BTreeMap::new();
        for (range, of) in std::mem::take(&mut lost) {
            let Some(replica) = node_state.router().replica(range) else { continue };
            let is_over = replica.raft.vote() != of.vote || now >= of.since + PATIENCE;
            if is_over {
                continue;
            }
            if now >= of.since + turn(times) * place(&node_state, range) {
                // Where it is refused it asks again.
                replica.raft.stand_for_election().await;
            }
            left.insert(range, of);
        }
        lost = left;
    }
}

fn turn(times: RaftTimes) -> Duration {
    times.election_min / TURN_PARTS
}

/// How many nodes that are there stand before this one.
fn place(node_state: &NodeState, range: RangeId) -> u32 {
    let peers = node_state.peers();
    let mut candidates = elections::candidates(peers.book());
    candidates.retain(|candidate| !peers.is_gone(candidate.node));
    let order = policy::succession(range, candidates);
    let place = order.iter().position(|node| *node == peers.me()).unwrap_or(order.len());
    u32::try_from(place).unwrap_or(u32::MAX)
}
