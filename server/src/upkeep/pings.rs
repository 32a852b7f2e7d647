//! Once a second: looks at the node's own clock, tells every other node what this one's leaders know, takes over
//! routes and figures, and says in the log when the node begins or ceases to serve clients.
//!
//! A node that meets strangers only, where its seeds say its cluster is, stops here: it goes on in no other.

use std::{sync::Arc, time::Duration};

use super::{clocks::Clock, pause::pause};
use crate::{
    cluster::{figures, news, readiness, state::NodeState},
    storage,
};

const INTERVAL: Duration = Duration::from_millis(1_000);
/// A node that has met only strangers after this many pings stops.
const ASTRAY_PINGS: u32 = 3;

/// Tells every peer what this node's leaders know.
pub(super) async fn run(node_state: Arc<NodeState>) {
    let mut pings = 0_u32;
    let (mut was_ready, mut clock) = (None, Clock::default());
    loop {
        pause(&node_state, "pings", INTERVAL).await;
        clock.look(&node_state);
        news::tell_all(&node_state).await;
        node_state.router().refresh_routes();
        pings = pings.saturating_add(1);
        // By then its own cluster has had time to answer.
        if let Some(why) = node_state.peers().astray().filter(|_| pings >= ASTRAY_PINGS) {
            (node_state.host().failed)(storage::Error::Open(why));
        }
        figures::refresh(&node_state);
        let ready = readiness::ready(&node_state);
        if was_ready != Some(ready.is_ok()) {
            match &ready {
                Ok(()) => tracing::info!("the node can serve clients"),
                Err(why) => tracing::warn!(why, "the node can't serve clients"),
            }
            was_ready = Some(ready.is_ok());
        }
    }
}
