//! Whether the replicas of a range hold the same.

use std::collections::{BTreeMap, BTreeSet};

use quintet_server::{
    ids::{NodeId, RangeId},
    range::replica::Replica,
    storage::{
        Family,
        codec::{self, DedupRecord},
        gc::Collectable,
        keys,
    },
};

use super::Cluster;

impl Cluster {
    /// Whether all replicas of each range are at one applied index; then their states must be equal.
    /// `Err` says which are not.
    pub fn replicas_equal(&self) -> Result<bool, String> {
        use openraft::async_runtime::watch::WatchReceiver;
        let mut by_range: BTreeMap<RangeId, Vec<(NodeId, Option<u64>, Replica)>> = BTreeMap::new();
        for (node, replica) in self.replicas() {
            let metrics = replica.raft.metrics();
            let index = metrics.borrow_watched().last_applied.map(|at| at.index());
            by_range.entry(replica.range).or_default().push((node, index, replica));
        }
        if by_range.len() < self.ranges {
            return Ok(false);
        }
        for replicas in by_range.values() {
            let indexes: BTreeSet<_> = replicas.iter().map(|(_, index, _)| *index).collect();
            if indexes.len() > 1 || replicas.len() < self.machines.len() {
                return Ok(false);
            }
        }
        for (range, replicas) in by_range {
            let mut states = BTreeMap::new();
            for (node, _, replica) in &replicas {
                states.insert(*node, state_hash(replica)?);
            }
            if states.values().collect::<BTreeSet<_>>().len() > 1 {
                return Err(format!(
                    "replicas of {range} at the same applied index differ: {states:x?}"
                ));
            }
        }
        Ok(true)
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
