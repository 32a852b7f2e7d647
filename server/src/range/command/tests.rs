//! Apply on the memory engine: what time does to writes.
//!
//! Each test is a leader's log as a follower gets it: commands in their order, then what the state holds. What a
//! request means before it is in the log is tested with `evaluate.rs`.

use std::sync::Arc;

use super::{apply::apply, outcome::Applied, target::Target};
use crate::{
    ids::{ReplicaId, RequestId, TimeDomain},
    range::dedup::Overlay,
    storage::{
        Batch, Direction, Engine, Family,
        format::{
            applied::AppliedRecord,
            codec,
            command::{
                BatchItem, Command, Effect, Group, Operation, PutBatch, RemoveCommand, WriteCommand,
            },
            descriptor::Descriptor,
            gc::GcHold,
            request::{DedupRecord, Outcome, Removed},
        },
        memory::{MemoryDisk, MemoryEngine},
        mvcc,
    },
    time::{
        Timestamp,
        oracle::{Epoch, ServerId},
    },
};

/// A range's state without a log.
struct Range {
    engine: Arc<dyn Engine>,
    descriptor: Arc<Descriptor>,
    applied: AppliedRecord,
}

impl Range {
    fn new() -> Range {
        let engine = MemoryEngine::of_test(&MemoryDisk::new());
        let descriptor = Arc::new(Descriptor::of_test(2, b"", b""));
        Range { engine, descriptor, applied: AppliedRecord::default() }
    }

    /// Applies commands of term 1 in one batch.
    fn apply(&mut self, commands: Vec<Command<'_>>) -> Vec<Applied> {
        self.apply_in(1, commands)
    }

    /// Applies commands whose entries were proposed in a term.
    fn apply_in(&mut self, term: u64, commands: Vec<Command<'_>>) -> Vec<Applied> {
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
            results.push(apply(&mut target, term, command).expect("applied"));
        }
        self.engine.write(batch).expect("written");
        results
    }

    fn value(&self, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        let found = mvcc::read(&*self.engine, key, Timestamp::MAX).expect("read");
        found.map(|version| (version.at.0, version.value))
    }
}

fn holding(
    value: &'static str,
    expires_at: Option<Timestamp>,
) -> Effect<&'static serde_bytes::Bytes> {
    Effect::Put { value: serde_bytes::Bytes::new(value.as_bytes()), expires_at }
}

fn put(sequence: u64, at: u64, value: &'static str) -> Operation<'static> {
    Operation {
        request: RequestId { origin_room: 1, client: 1, sequence },
        first_attempt: Timestamp(1),
        hash: 0,
        at: Timestamp(at),
        effect: holding(value, None),
        outcome: Outcome::Written,
    }
}

fn write(groups: Vec<(&'static [u8], Vec<Operation<'static>>)>) -> Command<'static> {
    both(groups, Vec::new())
}

fn both(
    groups: Vec<(&'static [u8], Vec<Operation<'static>>)>,
    batches: Vec<PutBatch<'static>>,
) -> Command<'static> {
    let group = |(key, operations)| Group { key, operations };
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

/// Another key's write, which moves the newest version.
fn newest(at: u64) -> Command<'static> {
    write(vec![(b"k-newest", vec![put(1_000 + at, at, "n")])])
}

#[test]
fn a_group_at_or_below_the_newest_version_leaves_no_trace() {
    let mut range = Range::new();
    // One entry: groups are held to the newest version before it, not to one another.
    let results = range.apply(vec![
        newest(9),
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
            Applied::Groups(vec![true]),
            Applied::Groups(vec![false, true, true, false]),
            Applied::Groups(vec![false])
        ]
    );
    assert_eq!(range.applied.newest, Timestamp(13));
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
fn the_gc_threshold_never_falls() {
    let mut range = Range::new();
    let gc = |term, threshold| Command::MoveGcThresholds {
        evaluated_under: term,
        now: Timestamp(100),
        threshold: Timestamp(threshold),
        prefixes: Vec::new(),
    };
    let results = range.apply(vec![gc(1, 3), gc(2, 50), gc(1, 2)]);
    assert_eq!(results, [Applied::Done, Applied::ReEvaluate, Applied::Done]);
    assert_eq!(range.applied.gc.threshold, Timestamp(3));
}

#[test]
fn a_hold_of_this_term_keeps_the_gc_threshold() {
    let mut range = Range::new();
    let hold = |term, sequence, at| Command::HoldVersions {
        evaluated_under: term,
        hold: GcHold { holder: 1, sequence, at: Timestamp(at), until: Timestamp(200) },
    };
    let gc = |now| Command::MoveGcThresholds {
        evaluated_under: 1,
        now: Timestamp(now),
        threshold: Timestamp(now - 10),
        prefixes: Vec::new(),
    };
    let results =
        range.apply(vec![hold(2, 1, 5), hold(1, 1, 60), gc(100), hold(1, 2, 80), gc(199)]);
    let (done, not) = (Applied::Done, Applied::ReEvaluate);
    assert_eq!(results, [not, done.clone(), done.clone(), done.clone(), done]);
    assert_eq!(range.applied.gc.threshold, Timestamp(80));
    range.apply(vec![gc(200)]);
    assert_eq!(range.applied.gc.threshold, Timestamp(190));
}

#[test]
fn time_servers_are_begun_and_become_active_in_the_order_of_the_log() {
    let mut range = Range::new();
    let begin = |term, after| Command::BeginTimeServers {
        evaluated_under: term,
        time_domain: TimeDomain(0),
        after: Epoch(after),
        members: vec![ServerId(7)],
    };
    let activate = |epoch| Command::ActivateTimeServers {
        evaluated_under: 1,
        time_domain: TimeDomain(0),
        epoch: Epoch(epoch),
    };
    let results =
        range.apply(vec![begin(2, 0), begin(1, 0), begin(1, 0), activate(2), activate(1)]);
    let (done, not) = (Applied::Done, Applied::ReEvaluate);
    assert_eq!(results, [not.clone(), done.clone(), not.clone(), not, done]);
    assert_eq!(range.applied.time_servers.active.epoch, Epoch(1));
    assert_eq!(range.applied.newest, Timestamp::ZERO, "they take no timestamp");
}

#[test]
fn an_expiry_is_stored_with_its_version() {
    let mut range = Range::new();
    let mut expiring = put(1, 5, "x");
    let expires_at = Some(Timestamp(9));
    expiring.effect = holding("x", expires_at);
    range.apply(vec![write(vec![(b"k", vec![expiring]), (b"l", vec![put(2, 6, "y")])])]);
    let read = |key| mvcc::read(&*range.engine, key, Timestamp::MAX).expect("read").expect("found");
    assert_eq!(read(b"k").expires_at, expires_at);
    assert_eq!(read(b"l").expires_at, None);
}

#[test]
fn a_scan_shows_who_is_there_at_its_moment() {
    let mut range = Range::new();
    let expiring = |sequence, at, end| {
        let mut expiring = put(sequence, at, "x");
        let expires_at = Some(Timestamp(end));
        expiring.effect = holding("x", expires_at);
        expiring
    };
    range.apply(vec![write(vec![
        (b"a", vec![expiring(1, 5, 20)]),
        (b"b", vec![put(2, 6, "x"), expiring(3, 7, 10)]),
        (b"c", vec![put(4, 8, "x")]),
    ])]);
    let limit = mvcc::PageLimit { records: 10, bytes: 1_000, versions: 100 };
    for direction in [Direction::Forward, Direction::Reverse] {
        let page = |at| {
            let page = mvcc::scan(&*range.engine, (b"", b""), Timestamp(at), direction, limit);
            let page = page.expect("scanned");
            let mut keys: Vec<_> = page.records.into_iter().map(|(key, _)| key).collect();
            keys.sort();
            String::from_utf8(keys.concat()).expect("text")
        };
        assert_eq!(page(8), "abc");
        // Before b was told to expire: what it held then stays.
        assert_eq!(page(6), "ab");
        assert_eq!(page(10), "ac", "the older version of b does not come back");
        assert_eq!(page(20), "c");
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
    assert_eq!(range.applied.newest, Timestamp(7));
    let key = crate::storage::keys::dedup(b"a", batch(1, 0, &[]).request);
    let record = range.engine.get(Family::Dedup, &key).expect("read").expect("remembered");
    let record: DedupRecord = codec::decode(&record).expect("decoded");
    let wanted = (Timestamp(5), 9, Outcome::Written);
    assert_eq!((record.at, record.hash, record.outcome), wanted);
    let key = crate::storage::keys::dedup(b"b", batch(1, 0, &[]).request);
    assert_eq!(range.engine.get(Family::Dedup, &key).expect("read"), None, "one record");
}

fn remove<'a>(sequence: u64, at: u64, start: &'a [u8], keys: &[&'a [u8]]) -> RemoveCommand<'a> {
    RemoveCommand {
        evaluated_under: 1,
        time_domain: TimeDomain(0),
        request: RequestId { origin_room: 1, client: 1, sequence },
        first_attempt: Timestamp(1),
        hash: 9,
        at: Timestamp(at),
        start,
        keys: keys.iter().map(|key| serde_bytes::Bytes::new(key)).collect(),
        removed: Removed { keys: 2, moment: Timestamp(4), next: Some(b"x".to_vec()) },
    }
}

#[test]
fn a_page_of_a_deletion_is_done_once_and_remembered_where_it_begins() {
    let mut range = Range::new();
    range.apply(vec![write(vec![(b"b", vec![put(1, 5, "x")]), (b"c", vec![put(2, 6, "x")])])]);
    let page = |at| Command::Remove(remove(3, at, b"a", &[b"b", b"c"]));
    // Twice in one batch of the engine, and once more.
    let results = range.apply(vec![page(9), page(10)]);
    assert_eq!(results, [Applied::Groups(vec![true]), Applied::Groups(vec![false])]);
    range.apply(vec![write(vec![(b"c", vec![put(4, 20, "y")])])]);
    assert_eq!(range.apply(vec![page(21)]), [Applied::Groups(vec![false])]);
    assert_eq!(range.value(b"b"), None);
    assert_eq!(range.value(b"c"), Some((20, b"y".to_vec())), "written since");
    assert_eq!(range.applied.newest, Timestamp(20));
    let key = crate::storage::keys::dedup(b"a", remove(3, 0, b"", &[]).request);
    let record = range.engine.get(Family::Dedup, &key).expect("read").expect("remembered");
    let record: DedupRecord = codec::decode(&record).expect("decoded");
    let wanted = Outcome::Removed(remove(3, 0, b"", &[]).removed);
    assert_eq!((record.at, record.hash, record.outcome), (Timestamp(9), 9, wanted));
}

#[test]
fn a_page_of_a_deletion_is_refused_whole() {
    let mut range = Range::new();
    Arc::make_mut(&mut range.descriptor).start = b"b".to_vec();
    Arc::make_mut(&mut range.descriptor).end = b"m".to_vec();
    range.applied.dedup_threshold = Timestamp(1);
    range.apply(vec![write(vec![(b"c", vec![put(1, 5, "x")])])]);
    let old = RemoveCommand { first_attempt: Timestamp(0), ..remove(4, 20, b"b", &[b"c"]) };
    let pages = vec![
        remove(1, 20, b"b", &[b"c", b"m"]),
        remove(2, 20, b"a", &[b"c"]),
        remove(3, 5, b"b", &[b"c"]),
        old,
    ];
    for page in pages {
        let shown = format!("{page:?}");
        let result = range.apply(vec![Command::Remove(page)]);
        assert_eq!(result, [Applied::Groups(vec![false])], "{shown}");
    }
    let other_term = RemoveCommand { evaluated_under: 2, ..remove(5, 20, b"b", &[b"c"]) };
    assert_eq!(range.apply(vec![Command::Remove(other_term)]), [Applied::ReEvaluate]);
    assert_eq!(range.value(b"c"), Some((5, b"x".to_vec())));
    // One that removes nothing is remembered too.
    let nothing = Command::Remove(remove(6, 20, b"b", &[]));
    assert_eq!(range.apply(vec![nothing.clone()]), [Applied::Groups(vec![true])]);
    assert_eq!(range.apply(vec![nothing]), [Applied::Groups(vec![false])]);
}

#[test]
fn a_deletion_finds_what_was_there_at_its_moment_and_was_not_written_since() {
    let mut range = Range::new();
    let expiring = |sequence, at, end| {
        let mut expiring = put(sequence, at, "x");
        let expires_at = Some(Timestamp(end));
        expiring.effect = holding("x", expires_at);
        expiring
    };
    let many: Vec<_> = (0..40).map(|n| put(100 + n, 100 + n, "x")).collect();
    let mut gone = put(7, 11, "x");
    gone.effect = Effect::Delete;
    range.apply(vec![write(vec![
        (b"a", vec![put(1, 5, "x")]),
        (b"b", vec![put(2, 6, "x"), put(3, 30, "x")]),
        (b"c", vec![expiring(4, 7, 12)]),
        (b"d", vec![expiring(5, 8, 25)]),
        (b"e", vec![put(6, 9, "x"), gone]),
        (b"f", many),
        (b"g", vec![put(8, 10, "x")]),
    ])]);
    let find = |moment, now, records, versions| {
        let limit = mvcc::PageLimit { records, bytes: 1_000, versions };
        let (now, moment) = (Timestamp(now), Timestamp(moment));
        let held = mvcc::held_since(&*range.engine, (b"", b""), moment, now, limit);
        let held = held.expect("found");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (text(held.keys.concat()), held.next.map(text))
    };
    assert_eq!(find(20, 20, 10, 1_000), ("adg".to_owned(), None));
    assert_eq!(find(5, 20, 10, 1_000), ("a".to_owned(), None));
    assert_eq!(find(200, 20, 10, 1_000), ("abdfg".to_owned(), None));
    // It has expired by then.
    assert_eq!(find(20, 25, 10, 1_000), ("ag".to_owned(), None));
    // Pages, by keys and by versions; the versions of one key are jumped over.
    assert_eq!(find(20, 20, 2, 1_000), ("ad".to_owned(), Some("e".to_owned())));
    assert_eq!(find(20, 20, 10, 4), ("a".to_owned(), Some("d".to_owned())));
    assert_eq!(find(20, 20, 10, 30), ("adg".to_owned(), None));
}

#[test]
fn a_batch_is_refused_whole() {
    let mut range = Range::new();
    Arc::make_mut(&mut range.descriptor).start = b"b".to_vec();
    Arc::make_mut(&mut range.descriptor).end = b"m".to_vec();
    range.applied.dedup_threshold = Timestamp(1);
    let old = PutBatch { first_attempt: Timestamp(0), ..batch(5, 20, &["c"]) };
    let results = range.apply(vec![
        newest(9),
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
    assert_eq!(
        results[1],
        Applied::Groups(vec![false; 5]),
        "span, span, newest version, empty, too old"
    );
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
    assert_eq!(range.applied.newest, Timestamp(9));
    // Nothing is remembered of them: the same requests act once they are right.
    let mut right = vec![batch(3, 21, &["c", "d"])];
    right[0].expires_at = Some(Timestamp(30));
    assert_eq!(range.apply(vec![both(Vec::new(), right)]), [Applied::Groups(vec![true])]);
    assert_eq!(range.value(b"d"), Some((21, b"x".to_vec())));
    let version = mvcc::read(&*range.engine, b"c", Timestamp::MAX).expect("read").expect("there");
    assert_eq!(version.expires_at, Some(Timestamp(30)));
}
