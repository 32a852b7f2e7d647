//! Removes versions that no read can see any more: how far back reads reach, and what is removed behind that.
//!
//! The leader of a range moves its gc thresholds (`gc_thresholds.rs`); every node then removes by
//! itself, in bounded steps, what the rule of `storage/gc.rs` allows.
//!
//! What is removed in one piece, with nothing between that stays, is a deleted range: there the engine is asked for the
//! space ([`Engine::reclaim`]), which it would otherwise give back at some later compaction.
//!
//! # Invariants
//!
//! * Only what is collectable at the threshold that is applied on this node goes. A read that finds
//!   the threshold at or below its moment afterwards has missed nothing (`range/reads/serve.rs`).
//! * A base that says "absent" goes in the same batch as the last of what is older, or later.
//!
//! # On a crash
//!
//! Thresholds are part of the replicated state, and a batch that removes is written after the one
//! that moved the threshold: where it survives, the threshold does. What was not removed yet is
//! removed later.

use std::ops::ControlFlow;

use super::{
    collector::Collector,
    thresholds::{Thresholds, settled},
};
use crate::{
    cluster::state::NodeState,
    planted::{self, Bug},
    range::state::RangeState,
    size::Size,
    storage::{
        self, Batch, Direction, Engine, Family,
        format::gc::GcThresholds,
        gc::{Collectable, Fate},
        keys,
    },
    time::Timestamp,
};

/// Versions that one step looks at: a few milliseconds.
const STEP_VERSIONS_MAX: Size = Size::new("gc-step-versions", 5_000, 8);
/// Where at least one in this many could go, the next step follows at once: garbage must not grow
/// faster than it goes. Else a step has been for nothing, and may wait.
const GO_ON_SHARE: usize = 8;
/// After this many versions of a key that are above the threshold the rest of these is jumped over.
const KEPT_IN_A_ROW_MAX: Size = Size::new("gc-kept-in-a-row", 16, 2);

/// Bytes of a piece of which the engine is asked for the space: to get it costs writing tables anew.
const RECLAIMED_BYTES_MIN: usize = 8 << 20;

/// Removes what nobody can see any more.
#[derive(Default)]
pub(super) struct Versions {
    cursor: Vec<u8>,
    piece: Piece,
}

impl Collector for Versions {
    const WHAT: &'static str = "versions";

    async fn step(&mut self, node_state: &NodeState) -> Result<bool, storage::Error> {
        let step = collect_step(node_state, &mut self.cursor, &mut self.piece)?;
        let goes_on = step.is_worth_it() && !self.cursor.is_empty();
        reclaim(node_state, step.pieces).await;
        Ok(goes_on)
    }
}

/// Asks for the space of what went in one piece.
async fn reclaim(node_state: &NodeState, pieces: Vec<Piece>) {
    let Some(replica) = node_state.replicas().into_iter().next() else { return };
    let engine = replica.shared.state.engine();
    for Piece { from, upto, bytes } in pieces {
        tracing::debug!(bytes, "asking for the space of what was collected");
        if let Err(error) = engine.reclaim(Family::Data, &from, &upto).await {
            tracing::warn!(%error, "space of what was collected not given back");
        }
    }
}

fn collect_step(
    node_state: &NodeState,
    cursor: &mut Vec<u8>,
    piece: &mut Piece,
) -> Result<Step, storage::Error> {
    let collected = settled(node_state, RangeState::gc_thresholds, |replica, thresholds| {
        let engine = &**replica.shared.state.engine();
        let at = (cursor, piece);
        let step = remove_collectable(engine, thresholds, at, STEP_VERSIONS_MAX.get())?;
        replica.shared.metrics.versions_collected.inc_by(step.removed as u64);
        Ok(step)
    });
    collected.unwrap_or_else(|| Ok(Step::default()))
}

/// Stored keys in a row that were removed, from the first to the last, with none between that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Piece {
    from: Vec<u8>,
    upto: Vec<u8>,
    bytes: usize,
}

impl Piece {
    fn add(&mut self, stored: &[u8], bytes: usize) {
        if self.bytes == 0 {
            self.from = stored.to_vec();
        }
        self.upto = stored.to_vec();
        self.bytes += bytes;
    }

    /// What is removed behind it belongs to another one.
    fn end(&mut self, pieces: &mut Vec<Piece>) {
        let ended = std::mem::take(self);
        if ended.bytes >= RECLAIMED_BYTES_MIN {
            pieces.push(ended);
        }
    }
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    visited: usize,
    removed: usize,
    /// Those that are worth asking for their space.
    pieces: Vec<Piece>,
}

impl Step {
    fn is_worth_it(&self) -> bool {
        self.removed * GO_ON_SHARE >= self.visited
    }
}

/// Where a key's versions are being followed.
#[derive(Default)]
struct Follower {
    rule: Collectable,
    key: Vec<u8>,
    /// Threshold of the key's range.
    threshold: Timestamp,
    /// Its base, which says "absent" and goes with the last of what is older.
    base: Option<Vec<u8>>,
    kept_in_a_row: usize,
    /// Only with [`Bug::BaseCollectedFirst`]: the key's base is gone, the rest is left for the next time.
    uncovers: bool,
}

/// Where removed versions go.
struct Removing<'a> {
    batch: Batch,
    piece: &'a mut Piece,
    pieces: Vec<Piece>,
}

impl Follower {
    fn end_of_key(&mut self, batch: &mut Batch) {
        if let Some(base) = self.base.take() {
            batch.delete(Family::Data, base);
        }
    }

    /// Takes the next version in. `Break` asks to go on at [`Follower::resume`].
    fn step(
        &mut self,
        stored: &[u8],
        record: &[u8],
        thresholds: &Thresholds<GcThresholds>,
        removing: &mut Removing<'_>,
    ) -> Result<ControlFlow<()>, storage::Error> {
        let Removing { batch, piece, pieces } = removing;
        let key = keys::split_version(stored).map_or(stored, |(key, _)| key);
        if self.key != key {
            self.end_of_key(batch);
            self.key = key.to_vec();
            // A key of no range of this node stays: nothing is below zero.
            self.threshold = thresholds.get(key).map_or(Timestamp::ZERO, |gc| gc.of(key));
            self.kept_in_a_row = 0;
            self.uncovers = false;
        }
        match self.rule.fate(stored, record, self.threshold)? {
            Fate::Kept => {
                piece.end(pieces);
                self.kept_in_a_row += 1;
            }
            // The careless hand: "what is covered can wait".
            Fate::Superseded if self.uncovers => piece.end(pieces),
            Fate::Superseded => {
                piece.add(stored, stored.len() + record.len());
                batch.delete(Family::Data, stored.to_vec());
            }
            Fate::Absent if planted::active(Bug::BaseCollectedFirst) => {
                batch.delete(Family::Data, stored.to_vec());
                self.uncovers = true;
            }
            Fate::Absent => {
                piece.add(stored, stored.len() + record.len());
                self.base = Some(stored.to_vec());
            }
        }
        if self.kept_in_a_row < KEPT_IN_A_ROW_MAX.get() {
            return Ok(ControlFlow::Continue(()));
        }
        self.kept_in_a_row = 0;
        Ok(ControlFlow::Break(()))
    }

    /// Where the key's base is, or the next key.
    fn resume(&self) -> Vec<u8> {
        keys::version(&self.key, self.threshold)
    }
}

/// Looks at a bounded number of versions from the cursor on and removes what may go. The cursor is
/// empty when the end was reached.
fn remove_collectable(
    engine: &dyn Engine,
    thresholds: &Thresholds<GcThresholds>,
    (cursor, piece): (&mut Vec<u8>, &mut Piece),
    visited_max: usize,
) -> Result<Step, storage::Error> {
    let mut removing = Removing { batch: Batch::new(), piece, pieces: Vec::new() };
    let mut visited = 0;
    let mut follower = Follower::default();
    let mut start = std::mem::take(cursor);
    loop {
        let mut ended = Ok(Some(()));
        engine.scan(Family::Data, &start, &[], Direction::Forward, &mut |stored, record| {
            visited += 1;
            match follower.step(stored, record, thresholds, &mut removing) {
                Ok(ControlFlow::Continue(())) if visited < visited_max => {
                    return ControlFlow::Continue(());
                }
                Ok(_) => ended = Ok(None),
                Err(error) => ended = Err(error),
            }
            ControlFlow::Break(())
        })?;
        if ended?.is_some() {
            follower.end_of_key(&mut removing.batch);
            removing.piece.end(&mut removing.pieces);
            break;
        }
        // Followed anew from its base on: what was seen of the key is forgotten.
        start = std::mem::take(&mut follower).resume();
        if visited >= visited_max {
            // The base stays until this key is looked at again: something older may be left.
            *cursor = start;
            break;
        }
    }
    let Removing { batch, pieces, .. } = removing;
    let removed = batch.changes.len();
    if removed > 0 {
        engine.write(batch)?;
    }
    Ok(Step { visited, removed, pieces })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        ids::{Generation, RangeId, ReplicaId},
        storage::{
            engine::Durability,
            format::{codec, descriptor::Descriptor, version::VersionRecord},
            memory::{MemoryDisk, MemoryEngine, MemorySettings},
        },
    };

    fn engine() -> Arc<dyn Engine> {
        let disk = MemoryDisk::new();
        MemoryEngine::open(&disk, "data", Durability::Flush, MemorySettings::instant())
            .expect("opened")
    }

    fn thresholds(ranges: &[(&[u8], &[u8], u64)]) -> Thresholds<GcThresholds> {
        Thresholds::new(ranges.iter().map(|(start, end, threshold)| {
            let descriptor = Descriptor {
                range: RangeId(1),
                start: start.to_vec(),
                end: end.to_vec(),
                generation: Generation(1),
                replicas: Vec::new(),
                next_replica: ReplicaId(1),
            };
            let gc = GcThresholds { threshold: Timestamp(*threshold), ..GcThresholds::default() };
            (Arc::new(descriptor), gc)
        }))
    }

    /// Writes versions of a key: a value, or a removal where `exists` says so; perhaps expiring.
    fn write(engine: &dyn Engine, key: &[u8], versions: &[(u64, bool, Option<u64>)]) {
        let mut batch = Batch::new();
        for (at, exists, expires_at) in versions {
            let record = VersionRecord {
                value: exists.then_some(&b"x"[..]),
                txn: None,
                expires_at: expires_at.map(Timestamp),
            };
            let stored = keys::version(key, Timestamp(*at));
            batch.put(Family::Data, stored, codec::encode(&record));
        }
        engine.write(batch).expect("written");
    }

    /// What is left of each key, newest first.
    fn left(engine: &dyn Engine) -> BTreeMap<Vec<u8>, Vec<u64>> {
        let mut left = BTreeMap::<Vec<u8>, Vec<u64>>::new();
        let mut visit = |stored: &[u8], _: &[u8]| {
            let (key, at) = keys::split_version(stored).expect("a version");
            left.entry(key.to_vec()).or_default().push(at.0);
            ControlFlow::Continue(())
        };
        engine.scan(Family::Data, &[], &[], Direction::Forward, &mut visit).expect("scanned");
        left
    }

    /// Steps until the end was reached; how many, and what all removed.
    fn pass(
        engine: &dyn Engine,
        thresholds: &Thresholds<GcThresholds>,
        visited_max: usize,
    ) -> (usize, usize) {
        let (mut cursor, mut steps, mut removed) = (Vec::new(), 0, 0);
        let mut piece = Piece::default();
        loop {
            let at = (&mut cursor, &mut piece);
            let step = remove_collectable(engine, thresholds, at, visited_max);
            let step = step.expect("collected");
            assert!(step.visited <= visited_max, "{step:?}");
            removed += step.removed;
            steps += 1;
            if cursor.is_empty() {
                return (steps, removed);
            }
            assert!(steps < 10_000, "no end at {cursor:x?}");
        }
    }

    #[test]
    fn each_key_goes_by_the_threshold_of_its_range() {
        let engine = engine();
        let versions = [(9, true, None), (5, true, None), (3, true, None), (1, true, None)];
        for key in [&b"a"[..], b"m", b"z"] {
            write(&*engine, key, &versions);
        }
        // Removed, expired, and about to expire.
        write(&*engine, b"b", &[(4, false, None), (2, true, None)]);
        write(&*engine, b"c", &[(4, true, Some(6)), (2, true, None)]);
        write(&*engine, b"d", &[(4, true, Some(7)), (2, true, None)]);
        let thresholds = thresholds(&[(b"", b"m", 6), (b"m", b"n", 2)]);
        assert_eq!(pass(&*engine, &thresholds, 100), (1, 2 + 2 + 2 + 1));
        let expected = BTreeMap::from([
            (b"a".to_vec(), vec![9, 5]),
            (b"d".to_vec(), vec![4]),
            // Of its versions only the oldest is at or below 2, and it is the base.
            (b"m".to_vec(), vec![9, 5, 3, 1]),
            // Of no range here.
            (b"z".to_vec(), vec![9, 5, 3, 1]),
        ]);
        assert_eq!(left(&*engine), expected);
        assert_eq!(pass(&*engine, &thresholds, 100), (1, 0));
    }

    #[test]
    fn a_removal_never_goes_before_what_it_removes() {
        for visited_max in [3, 4, 7, 20] {
            let engine = engine();
            let mut versions: Vec<_> = (1..40).map(|at| (at, true, None)).collect();
            versions.push((40, false, None));
            write(&*engine, b"a", &versions);
            write(&*engine, b"b", &versions);
            let thresholds = thresholds(&[(b"", b"", 50)]);
            let (mut cursor, mut ended) = (Vec::new(), false);
            while !ended {
                let at = (&mut cursor, &mut Piece::default());
                remove_collectable(&*engine, &thresholds, at, visited_max).expect("collected");
                ended = cursor.is_empty();
                for (key, versions) in left(&*engine) {
                    assert_eq!(versions.first(), Some(&40), "{key:?} came back: {versions:?}");
                }
            }
            assert_eq!(left(&*engine), BTreeMap::new(), "{visited_max} at a time");
        }
    }

    #[test]
    fn what_goes_in_one_piece_gives_its_space_back() {
        let engine = engine();
        let value = vec![b'x'; 1 << 20];
        let large = VersionRecord { value: Some(&value), txn: None, expires_at: None };
        let mut batch = Batch::new();
        for n in 0..30 {
            let key = format!("k{n:02}").into_bytes();
            batch.put(Family::Data, keys::version(&key, Timestamp(1)), codec::encode(&large));
        }
        engine.write(batch).expect("written");
        // Ten, one that stays, nineteen; three that go of each key would be none.
        for n in (0..30).filter(|n| *n != 10) {
            write(&*engine, format!("k{n:02}").as_bytes(), &[(4, false, None)]);
        }
        let (mut cursor, mut piece, mut pieces) = (Vec::new(), Piece::default(), Vec::new());
        loop {
            let at = (&mut cursor, &mut piece);
            let thresholds = thresholds(&[(b"", b"", 6)]);
            pieces.extend(
                remove_collectable(&*engine, &thresholds, at, 7).expect("collected").pieces,
            );
            if cursor.is_empty() {
                break;
            }
        }
        let of = |key: &str, at| keys::version(key.as_bytes(), Timestamp(at));
        let spans: Vec<_> =
            pieces.iter().map(|piece| (piece.from.clone(), piece.upto.clone())).collect();
        assert_eq!(spans, [(of("k00", 4), of("k09", 1)), (of("k11", 4), of("k29", 1))]);
        assert!(pieces[0].bytes >= 10 << 20 && pieces[1].bytes >= 19 << 20, "{pieces:?}");
        // What overwrites leave is scattered.
        write(&*engine, b"k10", &[(5, true, None)]);
        let at = (&mut cursor, &mut piece);
        let thresholds = thresholds(&[(b"", b"", 6)]);
        let step = remove_collectable(&*engine, &thresholds, at, 5_000).expect("collected");
        assert_eq!((step.removed, step.pieces), (1, Vec::new()));
    }

    #[test]
    fn versions_that_stay_are_jumped_over_and_the_base_is_kept() {
        // One more and one less than what is jumped at, so that the base is met on both sides of it.
        for newer in KEPT_IN_A_ROW_MAX.get() as u64 - 2..KEPT_IN_A_ROW_MAX.get() as u64 + 3 {
            let engine = engine();
            let mut versions = vec![(1, true, None), (2, true, None), (3, true, None)];
            versions.extend((11..11 + newer).map(|at| (at, true, None)));
            write(&*engine, b"a", &versions);
            assert_eq!(pass(&*engine, &thresholds(&[(b"", b"", 10)]), 1_000).1, 2, "{newer}");
            let left = left(&*engine).remove(&b"a"[..]).expect("the key");
            assert_eq!(left.last(), Some(&3), "{newer}");
            assert_eq!(left.len() as u64, newer + 1, "{newer}");
        }
        let engine = engine();
        let versions: Vec<_> = (1..10_001).map(|at| (at, true, None)).collect();
        write(&*engine, b"a", &versions);
        // A few are looked at, not all.
        let mut cursor = Vec::new();
        let thresholds = thresholds(&[(b"", b"", 0)]);
        let at = (&mut cursor, &mut Piece::default());
        let step = remove_collectable(&*engine, &thresholds, at, 5_000).expect("collected");
        assert_eq!((step.removed, cursor.is_empty()), (0, true));
        assert!(step.visited <= KEPT_IN_A_ROW_MAX.get(), "{step:?}");
    }
}
