//! Keeps the system range true to what the node knows, where it leads that range, and learns from it elsewhere.
//! What the records are: `cluster/registry.rs`.

use std::sync::Arc;

use super::pause::pause;
use crate::{
    cluster::{
        registry::{self, INTERVAL, Name, Registry},
        retention::Settings,
        state::NodeState,
    },
    ids::{RequestId, SYSTEM_RANGE},
    range::request::{OpResult, ReplySink},
    request::place::Place,
    storage::{self},
    time::local::Instant,
};

/// Keeps the system range true to what the node knows, where it leads it, and learns from it elsewhere, for
/// as long as the node runs.
pub(super) async fn run(node_state: Arc<NodeState>) {
    let client = node_state.draw_client();
    let mut sequence = 0;
    loop {
        pause(&node_state, "keeps the registry", INTERVAL).await;
        let Some(replica) = node_state.router().replica(SYSTEM_RANGE) else { continue };
        let as_of = replica.closed_age().and_then(|(_, age)| Instant::now().checked_sub(age));
        let registry = match Registry::read(&replica) {
            Ok(registry) => registry,
            Err(error) => {
                tracing::warn!(%error, "the registry can't be read");
                continue;
            }
        };
        if let Some(why) = registry.refusal() {
            (node_state.host().failed)(storage::Error::Open(why));
            return;
        }
        let me = node_state.peers().me();
        for (_, node) in registry.nodes.values().filter(|(_, node)| node.node != me) {
            node_state.peers().book().learn(node.clone());
        }
        let routes = node_state.router().routes();
        for (_, range) in registry.ranges.values() {
            let known = routes.find(Place::Key(&range.start));
            if known.is_none_or(|known| known.generation < range.generation) {
                routes.learn(&Arc::new(range.clone()));
            }
        }
        let set = registry.retention.iter();
        let set = set.map(|((keyspace, prefix), (_, seconds))| (*keyspace, &prefix[..], *seconds));
        node_state.set_retention_settings(Settings::new(set, as_of));
        let to_drain = registry.to_drain();
        node_state.set_to_drain(to_drain.clone());
        if replica.is_leader() {
            for node in to_drain {
                if node_state.tell_drained(node).await {
                    registry::order_drain(&node_state, node, false).await.ok();
                }
            }
            let ranges = node_state.replicas();
            let ranges = ranges.iter().map(|replica| replica.shared.state.descriptor());
            let ranges: Vec<_> = ranges.map(|descriptor| (*descriptor).clone()).collect();
            let news = registry.news(&node_state.peers().book().all(), &ranges);
            for (name, value, instead_of) in news {
                sequence += 1;
                let request = RequestId { origin_room: 0, client, sequence };
                // What becomes of it shows in the next round.
                let sink = Arc::new(Unheard(name.clone()));
                let value = Some(value);
                registry::write(&node_state, &replica, request, &name, value, instead_of, sink);
            }
        }
    }
}

/// Nobody waits for the answer.
struct Unheard(Name);

impl ReplySink for Unheard {
    fn answer(&self, _id: u64, result: OpResult) {
        match result {
            Ok(_) => tracing::debug!(record = self.0.key(), "registry written"),
            Err(error) => {
                tracing::debug!(record = self.0.key(), why = %error.message, "registry not written");
            }
        }
    }
}
