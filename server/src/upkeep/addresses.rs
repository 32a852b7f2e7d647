//! Keeps a copy of the address book on disk: a node that comes back after its peers have all moved finds them by
//! what it wrote last.

use std::{sync::Arc, time::Duration};

use super::pause::pause;
use crate::{
    cluster::{records, state::NodeState},
    storage::Engine,
};

const RETRY: Duration = Duration::from_secs(2);

/// Keeps a copy of the address book on disk.
pub(super) async fn run(node_state: Arc<NodeState>, log: Arc<dyn Engine>) {
    let mut kept = records::addresses(&*log).unwrap_or_default();
    loop {
        let known = node_state.peers().book().all();
        if known != kept {
            match records::keep(&node_state.host().writer, &known).await {
                Ok(()) => kept = known,
                Err(error) => {
                    tracing::warn!(%error, "address book not kept");
                    pause(&node_state, "keeps its address book again", RETRY).await;
                    continue;
                }
            }
        }
        // At once: a node that dies now, and whose peers have all moved, finds them only by this.
        node_state.peers().book().changed().await;
    }
}
