//! The pause between two rounds of a background job.

use std::time::Duration;

use crate::{cluster::state::NodeState, time::local::sleep, trace};

/// Waits, and says in the trace of a simulated run what for.
pub(super) async fn pause(node_state: &NodeState, what: &str, how_long: Duration) {
    trace::event("timer", format_args!("{} {what} in {how_long:?}", node_state.peers().me()));
    sleep(how_long).await;
}
