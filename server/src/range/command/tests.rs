//! Apply on the memory engine: what time does to writes.

use std::sync::Arc;

use bytes::Bytes;

use super::apply::{Overlay, Target, apply};
use crate::{
    ids::{Generation, RangeId, ReplicaId, TimeDomain},
    range::raft::types::Applied,
    storage::{
        Batch, Direction, Durability, Engine, Family,
        codec::{
            self, AppliedRecord, BatchItem, Command, DedupRecord, Descriptor, Effect, Group,
            Operation, Outcome, PutBatch, RequestId, WriteCommand,
        },
        memory::{MemoryDisk, MemoryEngine, MemorySettings},
        mvcc::{self, Life},
    },
    time::Timestamp,
};

/// A range's state without a log.
struct Range {
    engine: Arc<dyn Engine>,
    descriptor: Arc<Descriptor>,
    applied: AppliedRecord,
}

impl Range {
    fn new() -> Range {
        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "data", Durability::Flush, MemorySettings::instant());
        let descriptor = Descriptor {
            range: RangeId(2),
            start: Vec::new(),
            end: Vec::new(),
            generation: Generation(1),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        };
        let descriptor = Arc::new(descriptor);
        Range { engine: engine.expect("opened"), descriptor, applied: AppliedRecord::default() }
    }

    /// Applies commands of term 1 in one batch.
    fn apply(&mut self, commands: Vec<Command<'_>>) -> Vec<Applied> {
        let (mut batch, mut overlay) = (Batch::new(), Overlay::default());
        let mut results = Vec::new();
        for command in commands {
            let mut target = Target {
                engine: &*self.engine,
                descriptor: &mut self.descriptor,
                applied: &mut self.applied,
                batch: &mut batch,
                overlay: &mut overlay,
            };
            results.push(apply(&mut target, 1, command).expect("applied"));
        }
        self.engine.write(batch).expect("written");
        results
    }

    fn value(&self, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        let found = mvcc::read(&*self.engine, key, Timestamp::MAX).expect("read");
        found.map(|version| (version.at.0, version.value))
    }
}

fn put(sequence: u64, at: u64, value: &'static str) -> Operation {
    Operation {
        request: RequestId { origin_room: 1, client: 1, sequence },
        first_attempt: Timestamp(1),
        hash: 0,
        at: Timestamp(at),
        effect: Effect::Put { value: Bytes::from_static(value.as_bytes()), expires_at: None },
        outcome: Outcome::Written,
    }
}

fn write(groups: Vec<(&'static [u8], Vec<Operation>)>) -> Command<'static> {
    both(groups, Vec::new())
}

fn both(
    groups: Vec<(&'static [u8], Vec<Operation>)>,
    batches: Vec<PutBatch<'static>>,
) -> Command<'static> {
    let group = |(key, operations)| Group { key: Bytes::from_static(key), operations };
    Command::Write(WriteCommand {
        evaluated_under: 1,
        time_domain: TimeDomain(0),
        groups: groups.into_iter().map(group).collect(),
        batches,
    })
}

fn batch(sequence: u64, at: u64, keys: &[&'static str]) -> PutBatch<'static> {
    let item = |key: &&'static str| BatchItem { key: key.as_bytes(), value: b"x" };
    PutBatch {
        request: RequestId { origin_room: 1, client: 1, sequence },
        first_attempt: Timestamp(1),
        hash: 9,
        at: Timestamp(at),
        expires_at: None,
        items: keys.iter().map(item).collect(),
    }
}

fn advance(term: u64, to: u64) -> Command<'static> {
    Command::AdvanceTime { evaluated_under: term, to: Timestamp(to) }
}

#[test]
fn time_is_moved_by_writes_and_by_advances_and_never_falls() {
    let mut range = Range::new();
    assert_eq!(
        range.apply(vec![write(vec![(b"k", vec![put(1, 5, "x")])])]),
        [Applied::Groups(vec![true])]
    );
    assert_eq!((range.applied.time, range.applied.newest), (Timestamp(5), Timestamp(5)));
    let results = range.apply(vec![advance(1, 9), advance(1, 7), advance(2, 50)]);
    assert_eq!(results, [Applied::Done, Applied::Done, Applied::ReEvaluate]);
    assert_eq!((range.applied.time, range.applied.newest), (Timestamp(9), Timestamp(5)));
}

#[test]
fn a_group_at_or_below_the_time_leaves_no_trace() {
    let mut range = Range::new();
    // One entry: groups are held to the time before it, not to one another.
    let results = range.apply(vec![
        advance(1, 9),
        write(vec![
            (b"late", vec![put(1, 9, "a")]),
            (b"high", vec![put(2, 12, "b"), put(3, 13, "c")]),
            (b"low", vec![put(4, 10, "d")]),
            (b"half", vec![put(5, 8, "e"), put(6, 14, "f")]),
        ]),
        write(vec![(b"then", vec![put(7, 13, "g")])]),
    ]);
    assert_eq!(
        results,
        [
            Applied::Done,
            Applied::Groups(vec![false, true, true, false]),
            Applied::Groups(vec![false])
        ]
    );
    assert_eq!((range.applied.time, range.applied.newest), (Timestamp(13), Timestamp(13)));
    assert_eq!(range.value(b"high"), Some((13, b"c".to_vec())));
    assert_eq!(range.value(b"low"), Some((10, b"d".to_vec())));
    for key in [&b"late"[..], b"half", b"then"] {
        assert_eq!(range.value(key), None, "{key:?}");
    }
    // Nothing is remembered of it either: the same requests act when they were evaluated again.
    let again = write(vec![(b"late", vec![put(1, 20, "a")]), (b"then", vec![put(7, 21, "g")])]);
    assert_eq!(range.apply(vec![again]), [Applied::Groups(vec![true, true])]);
    assert_eq!(range.value(b"late"), Some((20, b"a".to_vec())));
}

#[test]
fn the_gc_threshold_takes_the_time_along() {
    let mut range = Range::new();
    let gc = |term, threshold| Command::MoveGcThreshold {
        evaluated_under: term,
        threshold: Timestamp(threshold),
    };
    range.apply(vec![write(vec![(b"k", vec![put(1, 5, "x")])])]);
    let results = range.apply(vec![gc(1, 3), gc(2, 50), gc(1, 2)]);
    assert_eq!(results, [Applied::Done, Applied::ReEvaluate, Applied::Done]);
    assert_eq!((range.applied.gc_threshold, range.applied.time), (Timestamp(3), Timestamp(5)));
    // Never above the time: what is seen at the threshold does not change any more.
    let late = write(vec![(b"k", vec![put(2, 8, "y")])]);
    assert_eq!(range.apply(vec![gc(1, 8), late])[1], Applied::Groups(vec![false]));
    assert_eq!((range.applied.gc_threshold, range.applied.time), (Timestamp(8), Timestamp(8)));
    assert_eq!(range.value(b"k"), Some((5, b"x".to_vec())));
}

#[test]
fn an_expiry_is_stored_with_its_version() {
    let mut range = Range::new();
    let mut expiring = put(1, 5, "x");
    let expires_at = Some(Timestamp(9));
    expiring.effect = Effect::Put { value: Bytes::from_static(b"x"), expires_at };
    range.apply(vec![write(vec![(b"k", vec![expiring]), (b"l", vec![put(2, 6, "y")])])]);
    let read = |key| mvcc::read(&*range.engine, key, Timestamp::MAX).expect("read").expect("found");
    let (version, time) = (read(b"k"), Timestamp);
    assert_eq!(version.expires_at, expires_at);
    assert_eq!(version.life(time(8), time(8)), Life::Alive);
    assert_eq!(version.life(time(8), time(9)), Life::Expiring(time(9)));
    assert_eq!(version.life(time(9), time(9)), Life::Expired);
    // The range's time decides, also for a clock that is behind it.
    assert_eq!(version.life(time(9), time(1)), Life::Expired);
    assert_eq!(read(b"l").life(Timestamp::MAX, Timestamp::MAX), Life::Alive);
}

#[test]
fn a_scan_shows_who_is_there_at_its_moment() {
    let mut range = Range::new();
    let expiring = |sequence, at, end| {
        let mut expiring = put(sequence, at, "x");
        let expires_at = Some(Timestamp(end));
        expiring.effect = Effect::Put { value: Bytes::from_static(b"x"), expires_at };
        expiring
    };
    range.apply(vec![write(vec![
        (b"a", vec![expiring(1, 5, 20)]),
        (b"b", vec![put(2, 6, "x"), expiring(3, 7, 10)]),
        (b"c", vec![put(4, 8, "x")]),
    ])]);
    let limit = mvcc::PageLimit { records: 10, bytes: 1_000, versions: 100 };
    for direction in [Direction::Forward, Direction::Reverse] {
        let page = |at, clock| {
            let moment = (Timestamp(at), Timestamp(clock));
            let page = mvcc::scan(&*range.engine, (b"", b""), moment, direction, limit);
            let page = page.expect("scanned");
            let mut keys: Vec<_> = page.records.into_iter().map(|(key, _)| key).collect();
            keys.sort();
            (String::from_utf8(keys.concat()).expect("text"), page.is_outlived)
        };
        assert_eq!(page(8, 8), ("abc".to_owned(), false));
        // Before b was told to expire: what it held then stays.
        assert_eq!(page(6, 6), ("ab".to_owned(), false));
        assert_eq!(page(10, 10), ("ac".to_owned(), false), "the older version of b comes back");
        assert_eq!(page(20, 30), ("c".to_owned(), false));
        assert!(page(8, 10).1, "b has expired since");
        assert_eq!(page(10, 19), ("ac".to_owned(), false), "only what is shown counts");
    }
}

#[test]
fn a_replica_id_is_reserved_once() {
    let mut range = Range::new();
    let reserve = |term| Command::ReserveReplica { evaluated_under: term };
    let results = range.apply(vec![reserve(1), reserve(2), reserve(1)]);
    let reserved = |id| Applied::Replica(ReplicaId(id));
    assert_eq!(results, [reserved(1), Applied::ReEvaluate, reserved(2)]);
    assert_eq!(range.descriptor.next_replica, ReplicaId(3));
}

#[test]
fn a_batch_is_done_once_and_remembered_under_its_first_key() {
    let mut range = Range::new();
    // The same request twice in one entry, and in an entry of the same batch of the engine.
    let results = range.apply(vec![
        both(Vec::new(), vec![batch(1, 5, &["a", "b"]), batch(1, 6, &["a", "b"])]),
        both(vec![(b"z", vec![put(2, 7, "z")])], vec![batch(1, 8, &["a", "b"])]),
    ]);
    assert_eq!(
        results,
        [Applied::Groups(vec![true, false]), Applied::Groups(vec![true, false])],
        "groups first, then batches"
    );
    let again = both(Vec::new(), vec![batch(1, 9, &["a", "b"])]);
    assert_eq!(range.apply(vec![again]), [Applied::Groups(vec![false])]);
    for key in [&b"a"[..], b"b"] {
        assert_eq!(range.value(key), Some((5, b"x".to_vec())));
    }
    assert_eq!((range.applied.newest, range.applied.time), (Timestamp(7), Timestamp(7)));
    let key = crate::storage::keys::dedup(b"a", batch(1, 0, &[]).request);
    let record = range.engine.get(Family::Dedup, &key).expect("read").expect("remembered");
    let record: DedupRecord = codec::decode(&record).expect("decoded");
    let wanted = (Timestamp(5), 9, Outcome::Written);
    assert_eq!((record.at, record.hash, record.outcome), wanted);
    let key = crate::storage::keys::dedup(b"b", batch(1, 0, &[]).request);
    assert_eq!(range.engine.get(Family::Dedup, &key).expect("read"), None, "one record");
}

#[test]
fn a_batch_is_refused_whole() {
    let mut range = Range::new();
    Arc::make_mut(&mut range.descriptor).start = b"b".to_vec();
    Arc::make_mut(&mut range.descriptor).end = b"m".to_vec();
    range.applied.dedup_threshold = Timestamp(1);
    let old = PutBatch { first_attempt: Timestamp(0), ..batch(5, 20, &["c"]) };
    let results = range.apply(vec![
        advance(1, 9),
        both(
            Vec::new(),
            vec![
                batch(1, 20, &["c", "m"]),
                batch(2, 20, &["a", "c"]),
                batch(3, 9, &["c", "d"]),
                batch(4, 20, &[]),
                old,
            ],
        ),
    ]);
    assert_eq!(results[1], Applied::Groups(vec![false; 5]), "span, span, time, empty, too old");
    let other_term = WriteCommand {
        evaluated_under: 2,
        time_domain: TimeDomain(0),
        groups: Vec::new(),
        batches: vec![batch(6, 20, &["c"])],
    };
    assert_eq!(range.apply(vec![Command::Write(other_term)]), [Applied::ReEvaluate]);
    for key in [&b"a"[..], b"c", b"d", b"m"] {
        assert_eq!(range.value(key), None, "{key:?}");
    }
    assert_eq!(range.applied.newest, Timestamp::ZERO);
    // Nothing is remembered of them: the same requests act once they are right.
    let mut right = vec![batch(3, 21, &["c", "d"])];
    right[0].expires_at = Some(Timestamp(30));
    assert_eq!(range.apply(vec![both(Vec::new(), right)]), [Applied::Groups(vec![true])]);
    assert_eq!(range.value(b"d"), Some((21, b"x".to_vec())));
    let version = mvcc::read(&*range.engine, b"c", Timestamp::MAX).expect("read").expect("there");
    assert_eq!(version.expires_at, Some(Timestamp(30)));
}
