//! Keeps the set of time servers what it should be, where this node leads the system range: `cluster/oracle/change.rs`.

use std::{sync::Arc, time::Duration};

use super::pause::pause;
use crate::cluster::{oracle::change::Changes, state::NodeState};

const INTERVAL: Duration = Duration::from_millis(200);

/// Looks at the set of time servers for as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    let mut changes = Changes::default();
    loop {
        pause(&node_state, "looks at the time servers", INTERVAL).await;
        changes.look(&node_state).await;
    }
}
