//! What a node remembers of requests: how far back, and that it goes when nobody can ask for it any
//! more (`docs/decisions/2026-11-29-exactly-once.md`).
//!
//! # Invariants
//!
//! * A record goes only after the threshold of its range has passed the request's first attempt on
//!   this node: from then on the request is refused unseen.
//! * Which range a record belongs to is said by its anchor, at the moment of asking: records do not
//!   move when ranges do. A record of no range of this node stays.
//!
//! # On a crash
//!
//! Thresholds are part of the replicated state. What was not removed yet is removed later.

use std::ops::ControlFlow;

use super::{
    collector::Collector,
    thresholds::{Thresholds, settled},
};
use crate::{
    cluster::state::NodeState,
    planted::{self, Bug},
    range::{dedup, state::RangeState},
    size::Size,
    storage::{
        self, Batch, Direction, Engine, Family,
        format::{codec, request::DedupRecord},
        keys,
    },
    time::Timestamp,
};

/// Records that one step looks at: a few milliseconds.
const COLLECT_RECORDS_MAX: Size = Size::new("dedup-collect-records", 5_000, 4);
/// After this many records of a client in a row that have to stay, its others are left for the next
/// time: they are younger still.
const CLIENT_KEPT_MAX: Size = Size::new("dedup-client-kept", 64, 1);

/// Removes what is remembered of requests that are refused by now: by the time of their first
/// attempt, the same that apply refuses by. Each node does so by itself: what is removed can't be
/// asked for any more.
#[derive(Default)]
pub(super) struct RequestRecords {
    cursor: Vec<u8>,
}

impl Collector for RequestRecords {
    const WHAT: &'static str = "dedup records";

    async fn step(&mut self, node_state: &NodeState) -> Result<bool, storage::Error> {
        let collected = collect_step(node_state, &mut self.cursor)?;
        Ok(collected >= COLLECT_RECORDS_MAX.get() / 2)
    }
}

fn collect_step(node_state: &NodeState, cursor: &mut Vec<u8>) -> Result<usize, storage::Error> {
    // The careless hand: "what is done is done".
    let is_early = planted::active(Bug::DedupCollectedEarly);
    let threshold = if is_early { RangeState::newest } else { RangeState::dedup_threshold };
    let collected = settled(node_state, threshold, |replica, thresholds| {
        remove_refused(&**replica.shared.state.engine(), thresholds, cursor)
    });
    collected.unwrap_or(Ok(0))
}

/// Looks at a bounded number of records from the cursor on and removes those below their threshold;
/// how many. Records of a client come in the order of its requests, so the old ones come first: what
/// follows them is stepped over, or a pass would take as long as everything remembered is much.
fn remove_refused(
    engine: &dyn Engine,
    thresholds: &Thresholds<Timestamp>,
    cursor: &mut Vec<u8>,
) -> Result<usize, storage::Error> {
    let (mut batch, mut visited) = (Batch::new(), 0);
    let mut start = std::mem::take(cursor);
    loop {
        let (mut next, mut failed) = (None, None);
        let (mut client, mut kept) = (Vec::new(), 0);
        engine.scan(Family::Dedup, &start, &[], Direction::Forward, &mut |key, record| {
            visited += 1;
            if visited > COLLECT_RECORDS_MAX.get() {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            let (Some(of), Some(anchor)) = (keys::dedup_client(key), keys::dedup_anchor(key))
            else {
                failed = Some(storage::Error::Corrupt(format!("dedup key {key:x?} is too short")));
                return ControlFlow::Break(());
            };
            if of != client {
                client = of.to_vec();
                kept = 0;
            }
            let record = match codec::decode::<DedupRecord>(record) {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            if thresholds
                .get(anchor)
                .is_some_and(|threshold| dedup::is_forgotten(record.first_attempt, *threshold))
            {
                batch.delete(Family::Dedup, key.to_vec());
                kept = 0;
            } else {
                kept += 1;
            }
            if kept < CLIENT_KEPT_MAX.get() {
                return ControlFlow::Continue(());
            }
            next = Some(keys::prefix_end(of)).filter(|end| !end.is_empty());
            ControlFlow::Break(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        match next {
            Some(next) if visited > COLLECT_RECORDS_MAX.get() => {
                *cursor = next;
                break;
            }
            Some(next) => start = next,
            None => break,
        }
    }
    let removed = batch.changes.len();
    if removed > 0 {
        engine.write(batch)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::ids::RequestId;
    use crate::{
        ids::{Generation, RangeId, ReplicaId},
        storage::{
            engine::{Durability, Reader},
            format::{descriptor::Descriptor, request::Outcome},
            memory::{MemoryDisk, MemoryEngine, MemorySettings},
        },
        time::Timestamp,
    };

    fn range(start: &[u8], end: &[u8], threshold: u64) -> (Arc<Descriptor>, Timestamp) {
        let descriptor = Descriptor {
            range: RangeId(1),
            start: start.to_vec(),
            end: end.to_vec(),
            generation: Generation(1),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        };
        (Arc::new(descriptor), Timestamp(threshold))
    }

    fn key(anchor: &[u8], sequence: u64) -> Vec<u8> {
        keys::dedup(anchor, RequestId { origin_room: 1, client: 7, sequence })
    }

    #[test]
    fn each_record_goes_by_the_threshold_of_its_own_range() {
        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "data", Durability::Flush, MemorySettings::instant())
                .expect("opened");
        let mut batch = Batch::new();
        let anchors: [&[u8]; 4] = [b"a", b"b", b"m", b"z"];
        for (sequence, anchor) in anchors.iter().cycle().take(20_000).enumerate() {
            // First attempts of 0, 1, 2 … in each range in turn.
            let record = DedupRecord {
                first_attempt: Timestamp(sequence as u64),
                hash: 0,
                at: Timestamp(1),
                outcome: Outcome::Written,
            };
            batch.put(Family::Dedup, key(anchor, sequence as u64), codec::encode(&record));
        }
        engine.write(batch).expect("written");
        // Nobody here holds what lies in [n, y).
        let thresholds = Thresholds::new(
            [range(b"", b"b", 10_000), range(b"b", b"m", 0), range(b"m", b"n", 20_000)].into_iter(),
        );
        let (mut cursor, mut removed, mut steps) = (Vec::new(), 0, 0);
        loop {
            removed += remove_refused(&*engine, &thresholds, &mut cursor).expect("collected");
            steps += 1;
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!((removed, steps), (2_500 + 5_000, 4));
        let mut left = BTreeMap::<Vec<u8>, usize>::new();
        engine
            .scan(Family::Dedup, &[], &[], Direction::Forward, &mut |key, _| {
                *left.entry(keys::dedup_anchor(key).expect("an anchor").to_vec()).or_default() += 1;
                ControlFlow::Continue(())
            })
            .expect("scanned");
        let expected = [(b"a".to_vec(), 2_500), (b"b".to_vec(), 5_000), (b"z".to_vec(), 5_000)];
        assert_eq!(left, BTreeMap::from(expected));
    }

    #[test]
    fn what_is_remembered_of_a_client_is_not_walked_through() {
        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "data", Durability::Flush, MemorySettings::instant())
                .expect("opened");
        let mut batch = Batch::new();
        for client in [7, u128::MAX] {
            for sequence in 0..20_000 {
                let record = DedupRecord {
                    first_attempt: Timestamp(sequence),
                    hash: 0,
                    at: Timestamp(1),
                    outcome: Outcome::Written,
                };
                let key = keys::dedup(b"a", RequestId { origin_room: 1, client, sequence });
                batch.put(Family::Dedup, key, codec::encode(&record));
            }
        }
        engine.write(batch).expect("written");
        let thresholds = Thresholds::new([range(b"", b"", 2_000)].into_iter());
        let mut cursor = Vec::new();
        let removed = remove_refused(&*engine, &thresholds, &mut cursor).expect("collected");
        // One step, though 40,000 are remembered: the old ones of both, and it was once around.
        assert_eq!((removed, cursor.is_empty()), (4_000, true));
    }
}
