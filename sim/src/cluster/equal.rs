//! Whether the replicas of a range hold the same: all versions of keys, and all that is remembered of requests.
//!
//! States are hashed only once all replicas stand at one applied index; [`crate::judge::replicas`] compares them.
//! Where two differ the first record that they do not share is looked for: a hash tells nobody what to look at.

use std::{collections::BTreeMap, ops::ControlFlow};

use quintet_server::{
    ids::{NodeId, RangeId},
    range::replica::Replica,
    storage::{
        Family,
        format::{codec, request::DedupRecord},
        gc::Collectable,
        keys,
    },
};

use super::Cluster;
use crate::judge::{
    Violation,
    replicas::{Replica as State, Replicas, Stored, Together, compare, first_difference},
};

impl Cluster {
    /// Whether all replicas of each range are at one applied index; then their states are compared.
    pub fn together(&self) -> Together {
        let nodes = self.machines.keys().map(|node| node.0).collect();
        let replicas = self.replicas();
        let mut states = Replicas::new();
        for (node, replica) in &replicas {
            let applied = replica.raft.progress().applied.map(|at| at.index);
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

/// A record that two replicas of a range, at one applied index, do not share.
pub struct Difference {
    /// Where it is, and what each of the two has.
    pub words: String,
    /// The user's key, where it is a version of one.
    pub key: Option<String>,
    /// That version.
    pub version: Option<u64>,
}

impl Cluster {
    /// The first record that replicas of a range at one index do not share, if any two differ.
    pub fn difference(&self) -> Option<Difference> {
        let mut seen: BTreeMap<(RangeId, Option<u64>), (NodeId, Vec<Stored>)> = BTreeMap::new();
        for (node, replica) in self.replicas() {
            let applied = replica.raft.progress().applied.map(|at| at.index);
            let mut records = Vec::new();
            state(&replica, &mut |family, key, value| {
                records.push(([&[family as u8], key].concat(), value.to_vec()));
            })
            .ok()?;
            let place = (replica.range, applied);
            let (first, of_first) = seen.entry(place).or_insert((node, records.clone()));
            let Some((one, other)) = first_difference(of_first, &records) else { continue };
            return Some(told(replica.range, (*first, one), (node, other)));
        }
        None
    }
}

fn told(
    range: RangeId,
    (first, one): (NodeId, Option<&Stored>),
    (second, other): (NodeId, Option<&Stored>),
) -> Difference {
    let stored = one.or(other).map_or(&[][..], |(key, _)| key);
    let (family, stored) = stored.split_first().unwrap_or((&0, &[]));
    let version = keys::split_version(stored).filter(|_| *family == Family::Data as u8);
    let (key, version, what) = match version {
        Some((encoded, at)) => {
            let key = keys::decode(encoded).map(|(_, key, _)| key).unwrap_or_default();
            let key = String::from_utf8_lossy(&key).into_owned();
            let what = format!("key {key:?} at version {}", at.0);
            (Some(key), Some(at.0), what)
        }
        None => (None, None, format!("the remembered request {:x?}", stored)),
    };
    let has = |record: Option<&Stored>| match record {
        None => "nothing".to_owned(),
        Some((_, value)) => format!("{:?}", String::from_utf8_lossy(value)),
    };
    let words = format!(
        "the first record of {range} that differs is {what}: {first} has {}, {second} has {}",
        has(one),
        has(other)
    );
    Difference { words, key, version }
}

/// A hash over a range's versions and remembered requests.
fn state_hash(replica: &Replica) -> Result<u64, String> {
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    state(replica, &mut |_, key, value| {
        hash.update(&(key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
    })?;
    Ok(hash.digest())
}

/// Takes a record.
type Take<'a> = dyn FnMut(Family, &[u8], &[u8]) + 'a;

/// A range's versions and remembered requests, in order. Requests that are too old to be asked again do
/// not count, nor do versions that nobody can see any more: each node forgets them in its own time.
fn state(replica: &Replica, add: &mut Take<'_>) -> Result<(), String> {
    let engine = replica.shared.state.engine();
    let threshold = replica.shared.state.dedup_threshold();
    let gc = replica.shared.state.gc_thresholds();
    let range = replica.shared.state.descriptor();
    let mut versions = Collectable::new();
    let forward = quintet_server::storage::Direction::Forward;
    engine
        .scan(Family::Data, &range.start, &range.end, forward, &mut |key, value| {
            // What can't be decoded counts.
            let threshold = keys::split_version(key).map(|(key, _)| gc.of(key)).unwrap_or_default();
            if !versions.is_collectable(key, value, threshold).unwrap_or(false) {
                add(Family::Data, key, value);
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())?;
    engine
        .scan(Family::Dedup, &[], &[], forward, &mut |key, value| {
            let is_ours = keys::dedup_anchor(key).is_some_and(|anchor| range.contains(anchor));
            let is_remembered = codec::decode::<DedupRecord>(value)
                .is_ok_and(|record| record.first_attempt >= threshold);
            if is_ours && is_remembered {
                add(Family::Dedup, key, value);
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())
}
