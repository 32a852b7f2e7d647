//! The loop of jobs that remove what nobody can ask for any more, in bounded steps: request records and versions.
//!
//! A job walks through its family from a cursor on. While a step finds much to remove the next one follows at once, or
//! the family would grow faster than it shrinks; else the job waits. What could not be removed is removed later.

use std::{sync::Arc, time::Duration};

use super::pause::pause;
use crate::{cluster::state::NodeState, storage};

/// Between two passes.
const INTERVAL: Duration = Duration::from_secs(5);

/// What is collected.
pub(super) trait Collector: Send + 'static {
    /// What it is, for the log and the trace.
    const WHAT: &'static str;

    /// Does a bounded piece of work; whether there is enough to remove for it to go on at once.
    fn step(
        &mut self,
        node_state: &NodeState,
    ) -> impl Future<Output = Result<bool, storage::Error>> + Send;
}

/// Collects for as long as the node runs.
pub(super) async fn run<C: Collector>(node_state: Arc<NodeState>, mut collector: C) {
    loop {
        pause(&node_state, &format!("collects {}", C::WHAT), INTERVAL).await;
        loop {
            match collector.step(&node_state).await {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "{} not collected", C::WHAT);
                    break;
                }
            }
        }
    }
}
