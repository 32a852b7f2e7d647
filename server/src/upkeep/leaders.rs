//! Looks after the places of this node's leaders, once a second, and at once where the node's disk has become
//! another one. Where they belong and how they move: `cluster/leaders.rs`.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster::{
        leaders::{move_home, see},
        reach::Words,
        state::NodeState,
    },
    time::local::timeout,
    trace,
};

/// How often the place of each leader is looked at.
const INTERVAL: Duration = Duration::from_millis(1_000);

/// Looks after the leaders of this node's ranges for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    loop {
        trace::event("timer", format_args!("{} looks after its leaders", node_state.peers().me()));
        // At once where the node's disk has become another one.
        timeout(INTERVAL, node_state.leaders_are_to_be_looked_at()).await.ok();
        let mut words = Words::default();
        for replica in node_state.replicas() {
            see(&node_state, &replica);
            if node_state.router().leads(replica.range) {
                // A refused transfer is tried again at the next look.
                move_home(&node_state, &replica, &mut words).await;
            }
        }
    }
}
