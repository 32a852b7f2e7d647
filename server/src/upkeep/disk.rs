//! Looks at the node's disk again and again, and tells whom it concerns when it is another one.
//!
//! What is seen and what that means is decided in [`crate::storage::disk`]. Here is who learns of it:
//!
//! * the leaders of this node, which move to voters whose disks are well (`cluster/leaders.rs`): the disk is one of
//!   the things that make a voter fit;
//! * the other nodes, with the next ping, which is sent at once, so that no node hands a leader to one that
//!   could not use it;
//! * executors, when the disk stops answering: what they have handed to Raft may wait for ever, so its
//!   callers are told that its outcome is unknown, and repeat it at the next leader;
//! * people: one line in the log for each change, `quintet status`, `/readyz`, metrics.

use std::sync::Arc;

use crate::{
    cluster::{news, state::NodeState},
    placement::disk::Condition,
    storage::disk::LOOK_INTERVAL,
    time::local::{Instant, sleep},
};

/// Looks for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    let mut last = Instant::now();
    let mut hung = false;
    loop {
        sleep(LOOK_INTERVAL).await;
        let host = node_state.host();
        let now = Instant::now();
        let (before, after) = host.disk.look(now.saturating_duration_since(last), || {
            host.log.free_space().tighter(host.data.free_space())
        });
        last = now;
        let hangs = host.disk.hangs();
        if hangs && !hung {
            node_state.replicas().iter().for_each(|replica| replica.shared.stir());
        }
        hung = hangs;
        if before != after {
            tell(&node_state, before, after);
        }
    }
}

fn tell(node_state: &Arc<NodeState>, before: Condition, after: Condition) {
    let node = node_state.peers().me();
    let free_mib = node_state.host().disk.free_bytes() >> 20;
    match after {
        Condition::Hung => tracing::warn!(
            %node,
            "the disk does not answer: a write of the log waits for it; leaders move to other nodes"
        ),
        Condition::NearlyFull => tracing::warn!(
            %node,
            free_mib,
            "the disk is nearly full: leaders move to nodes with space; add disk space"
        ),
        Condition::Well => {
            tracing::info!(%node, free_mib, was = before.name(), "the disk is well again");
        }
    }
    node_state.look_at_leaders();
    let node_state = node_state.clone();
    tokio::spawn(async move { news::tell_all(&node_state).await });
}
