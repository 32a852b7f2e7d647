//! Whether the replicas of a range hold the same.

use quintet_server::{
    range::replica::Replica,
    storage::{
        Family,
        codec::{self, DedupRecord},
        gc::Collectable,
        keys,
    },
};

use super::Cluster;
use crate::judge::{
    Violation,
    replicas::{Replica as State, Replicas, Together, compare},
};

impl Cluster {
    /// Whether all replicas of each range are at one applied index; then their states are compared.
    pub fn together(&self) -> Together {
        use openraft::async_runtime::watch::WatchReceiver;
        let nodes = self.machines.keys().map(|node| node.0).collect();
        let replicas = self.replicas();
        let mut states = Replicas::new();
        for (node, replica) in &replicas {
            let metrics = replica.raft.metrics();
            let applied = metrics.borrow_watched().last_applied.map(|at| at.index());
            let state = State { applied, hash: None };
            states.entry(replica.range.0).or_default().insert(node.0, state);
        }
        // Hashing takes long, so only once it can tell something.
        let positions = compare(&states, self.ranges, &nodes);
        if positions != Together::Equal {
            return positions;
        }
        for (node, replica) in &replicas {
            let hash = match state_hash(replica) {
                Ok(hash) => hash,
                Err(why) => {
                    let words = format!("{} of {node} can't be read: {why}", replica.range);
                    return Together::Differ(Violation::new("replicas", words));
                }
            };
            let on = states.entry(replica.range.0).or_default();
            on.entry(node.0).and_modify(|state| state.hash = Some(hash));
        }
        compare(&states, self.ranges, &nodes)
    }
}

/// A hash over a range's versions and remembered requests. Requests that are too old to be asked again
/// do not count, nor do versions that nobody can see any more: each node forgets them in its own time.
fn state_hash(replica: &Replica) -> Result<u64, String> {
    let engine = replica.shared.state.engine();
    let threshold = replica.shared.state.dedup_threshold();
    let gc_threshold = replica.shared.state.gc_threshold();
    let range = replica.shared.state.descriptor();
    let mut versions = Collectable::new();
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    let mut add = |key: &[u8], value: &[u8]| {
        hash.update(&(key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        std::ops::ControlFlow::Continue(())
    };
    let forward = quintet_server::storage::Direction::Forward;
    engine
        .scan(Family::Data, &range.start, &range.end, forward, &mut |key, value| {
            // What can't be decoded counts.
            if versions.is_collectable(key, value, gc_threshold).unwrap_or(false) {
                return std::ops::ControlFlow::Continue(());
            }
            add(key, value)
        })
        .map_err(|error| error.to_string())?;
    engine
        .scan(Family::Dedup, &[], &[], forward, &mut |key, value| {
            let is_ours = keys::dedup_anchor(key).is_some_and(|anchor| range.contains(anchor));
            let is_remembered = codec::decode::<DedupRecord>(value)
                .is_ok_and(|record| record.first_attempt >= threshold);
            if is_ours && is_remembered {
                return add(key, value);
            }
            std::ops::ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())?;
    Ok(hash.digest())
}
