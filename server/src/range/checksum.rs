//! A hash over a replica's state, to compare replicas with each other.
//!
//! It is taken from a read snapshot, in steps, beside all other work. What is remembered of requests
//! that are too old to be asked again does not count, nor do versions that nobody can see any more: each
//! node forgets them in its own time.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use super::{
    dedup,
    snapshot::{
        content::{self, Cursor, Step},
        source::Source,
    },
    state::RangeState,
};
use crate::storage::{
    Family,
    engine::Error,
    format::{codec, request::DedupRecord},
    gc::Collectable,
    keys,
};

/// The hash of a state and where it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The applied index: only at equal ones hashes can be compared.
    pub applied_index: u64,
    /// Over every record, the applied record and the descriptor.
    pub hash: u64,
    /// How many records.
    pub records: u64,
}

/// The hash of a replica's state now; `None` where nothing is applied yet, or a raft snapshot is being
/// installed.
pub async fn of(state: &Arc<RangeState>) -> Result<Option<Checksum>, Error> {
    let range = state.descriptor().range;
    let Some(source) = Source::read(state.engine(), range, 0, 0)? else { return Ok(None) };
    let head = source.head();
    let threshold = head.applied.dedup_threshold;
    let (mut hash, mut records, mut failed) = (Xxh3Default::new(), 0, None);
    hash.update(&codec::encode(&head.applied));
    hash.update(&codec::encode(&head.descriptor));
    let mut cursor = Cursor::default();
    let mut versions = Collectable::new();
    loop {
        let step = content::step(
            source.reader(),
            &head.descriptor,
            &mut cursor,
            &mut |family, key, value| {
                if family == Family::Data {
                    let threshold =
                        keys::split_version(key).map(|(key, _)| head.applied.gc.of(key));
                    match versions.is_collectable(key, value, threshold.unwrap_or_default()) {
                        Ok(true) => return true,
                        Ok(false) => {}
                        Err(error) => failed = Some(error),
                    }
                }
                if family == Family::Dedup {
                    match codec::decode::<DedupRecord>(value) {
                        Ok(record) if dedup::is_forgotten(record.first_attempt, threshold) => {
                            return true;
                        }
                        Ok(_) => {}
                        Err(error) => failed = Some(error),
                    }
                }
                records += 1;
                for part in [&[family as u8][..], key, value] {
                    hash.update(&(part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                true
            },
        )?;
        if let Some(error) = failed.take() {
            return Err(error);
        }
        match step {
            Step::End => break,
            Step::More | Step::Stopped => tokio::task::yield_now().await,
        }
    }
    Ok(Some(Checksum { applied_index: source.index(), hash: hash.digest(), records }))
}
