//! What a request asks, as a number: two requests under one id are told apart by it.
//!
//! It is stored with what is remembered of a request, so it is the same on every build, for ever
//! (`storage/format/` pins what is stored).

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3Default as Xxh3;

use crate::range::request::{Condition, DeleteRange, Lifetime, PutMany, WriteKind};

/// Of what a request asks, the same on every build: it is stored.
pub(super) fn hash(key: &[u8], kind: &WriteKind) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key);
    let condition = |hash: &mut Xxh3, condition: &Condition| match condition {
        Condition::Always => hash.update(&[0]),
        Condition::Absent => hash.update(&[1]),
        Condition::Version(version) => {
            hash.update(&[2]);
            hash.update(&version.0.to_be_bytes());
        }
    };
    let lifetime = |hash: &mut Xxh3, ttl: &Option<Duration>| {
        hash.update(&ttl.map_or(0, |ttl| ttl.as_millis()).to_be_bytes());
    };
    match kind {
        WriteKind::Put { value, condition: holds, life } => {
            // One without a life of its own is of another kind, so that stored hashes stay.
            hash.update(&[if *life == Lifetime::AsBefore { 6 } else { 1 }]);
            condition(&mut hash, holds);
            lifetime(&mut hash, &life.ttl());
            hash.update(value);
        }
        WriteKind::Delete { condition: holds } => {
            hash.update(&[2]);
            condition(&mut hash, holds);
        }
        WriteKind::Increment { delta, ttl } => {
            hash.update(&[3]);
            hash.update(&delta.to_be_bytes());
            lifetime(&mut hash, ttl);
        }
        WriteKind::Expire { ttl, condition: holds } => {
            hash.update(&[4]);
            condition(&mut hash, holds);
            lifetime(&mut hash, ttl);
        }
        WriteKind::PutMany(PutMany { items, ttl }) => {
            hash.update(&[5]);
            lifetime(&mut hash, ttl);
            for (key, value) in items {
                hash.update(&(key.len() as u64).to_be_bytes());
                hash.update(key);
                hash.update(&(value.len() as u64).to_be_bytes());
                hash.update(value);
            }
        }
        // Its moment is that of the first attempt, whatever a later one names.
        WriteKind::DeleteRange(DeleteRange { end, moment: _, limit }) => {
            hash.update(&[6]);
            hash.update(&limit.to_be_bytes());
            hash.update(end);
        }
    }
    hash.digest()
}
