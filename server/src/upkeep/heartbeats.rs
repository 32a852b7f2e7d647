//! Heartbeats of all groups of a node at one moment.
//!
//! Every group could keep its own time; then a node with a hundred ranges would wake a hundred times
//! between two heartbeats, and so would each of its peers. Here one task wakes and every leader of the
//! node sends: what goes to one peer is queued together and leaves in one frame, and what the peer
//! answers comes back in one.
//!
//! A leader that no majority answers any more sends none: it steps down (`range/check_quorum.rs`).

use std::sync::Arc;

use crate::{
    cluster::state::NodeState,
    range::{
        check_quorum::{self, Beat, CheckQuorum},
        elections::RaftTimes,
        replica::Replica,
    },
    trace,
};

/// Sends heartbeats for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>, times: RaftTimes) {
    let mut check = CheckQuorum::new(times);
    loop {
        trace::event("timer", format_args!("{} pulses", node_state.peers().me()));
        crate::time::local::sleep(times.heartbeat).await;
        if node_state.host().disk.hangs() {
            // Nothing can be written here. Leaders are handed over; where that fails, they are to be missed.
            continue;
        }
        let leading: Vec<_> =
            node_state.replicas().into_iter().filter(Replica::is_leader).collect();
        check.keep(|range| leading.iter().any(|replica| replica.range == range));
        // At once: a group that has much to do must not hold up the others'. One that has failed stops
        // the node by itself.
        let beats = leading.iter().map(|replica| {
            let beat = check_quorum::beat(&mut check, replica);
            async move {
                match beat {
                    Beat::Send => replica.raft.heartbeat().await,
                    Beat::Hold => {}
                    // It waits for the disk.
                    Beat::GiveUp => drop(tokio::spawn(check_quorum::step_down(replica.clone()))),
                }
            }
        });
        let beats: Vec<_> = beats.collect();
        drop(futures::future::join_all(beats).await);
    }
}
