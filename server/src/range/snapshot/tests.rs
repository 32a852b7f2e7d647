//! Raft snapshots on the memory engine: content, every step of an installation, the conversation.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use proptest::prelude::*;
use quintet_proto::internal::v1::{self as wire, snapshot_message::Kind};
use tokio::{sync::mpsc, time::Instant};

use super::{
    limits::Transfers,
    receive::{Inbox, Target, receive},
    send::Sending,
    source::{Outbox, Source},
    stage::Stage,
    *,
};
use crate::{
    ids::{Generation, NodeId, RangeId, ReplicaId, TimeDomain},
    ops::metrics::Metrics,
    peer::{ClusterIdentity, Peers, SnapshotPipe},
    range::raft::state_machine::RangeState,
    seams::SystemClock,
    storage::{
        Batch, Direction, Engine, Family,
        codec::{
            self, AddressRecord, AppliedRecord, ChunkRecord, ContentRecord, DedupRecord,
            Descriptor, Membership, Outcome, Position, RequestId,
        },
        engine::{Durability, Error, Reader, Visit},
        keys::{self, MetaKind},
        memory::{MemoryDisk, MemoryEngine, MemorySettings},
    },
    time::{Hlc, Timestamp},
};

const RANGE: RangeId = RangeId(2);

fn descriptor(start: &[u8], end: &[u8]) -> Descriptor {
    Descriptor {
        range: RANGE,
        start: start.to_vec(),
        end: end.to_vec(),
        generation: Generation(3),
        replicas: vec![(ReplicaId(1), NodeId(1)), (ReplicaId(2), NodeId(2))],
        next_replica: ReplicaId(3),
    }
}

fn applied(index: u64) -> AppliedRecord {
    AppliedRecord {
        applied: Some(Position { term: 3, index }),
        membership: Membership {
            configs: vec![vec![ReplicaId(1), ReplicaId(2)]],
            replicas: vec![(ReplicaId(1), NodeId(1)), (ReplicaId(2), NodeId(2))],
        },
        membership_at: Some(Position { term: 1, index: 0 }),
        newest: Timestamp(index),
        time: Timestamp(index),
        gc_threshold: Timestamp(0),
        dedup_threshold: Timestamp(0),
        time_domain: TimeDomain(0),
    }
}

fn open(disk: &MemoryDisk) -> Arc<dyn Engine> {
    MemoryEngine::open(disk, "data", Durability::Flush, MemorySettings::instant()).expect("opened")
}

fn dedup_key(anchor: &[u8], sequence: u64) -> Vec<u8> {
    keys::dedup(anchor, RequestId { origin_room: 1, client: u128::from(sequence % 3), sequence })
}

fn remembered(sequence: u64) -> Vec<u8> {
    codec::encode(&DedupRecord {
        first_attempt: Timestamp(sequence),
        hash: 1,
        at: Timestamp(sequence),
        outcome: Outcome::Written,
    })
}

/// Everything that an engine stores.
type State = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn all(engine: &dyn Engine) -> State {
    let mut state = State::new();
    for family in Family::ALL {
        engine
            .scan(family, &[], &[], Direction::Forward, &mut |key, value| {
                state.insert((family, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })
            .expect("scanned");
    }
    state
}

/// Stores a state of `[a, m)` at an index: `count` keys and as many requests, and others' records.
fn fill(engine: &dyn Engine, index: u64, count: u64, value: &[u8]) {
    let mut batch = Batch::new();
    for n in 0..count {
        let key = format!("b{n:05}");
        let data = [key.as_bytes(), &[0, 1], &[n as u8; 8]].concat();
        batch.put(Family::Data, data, [value, &n.to_le_bytes()].concat());
        batch.put(Family::Dedup, dedup_key(key.as_bytes(), index + n), remembered(index + n));
    }
    batch.put(Family::Lock, format!("c{index}").into_bytes(), value.to_vec());
    batch.put(Family::Txn, format!("d{index}").into_bytes(), value.to_vec());
    batch.put(Family::Mark, format!("e{index}").into_bytes(), value.to_vec());
    let own = [content::own_records(RANGE), vec![9, index as u8]].concat();
    batch.put(Family::Meta, own, value.to_vec());
    // Of another range of the node.
    batch.put(Family::Data, b"z\0\x0112345678".to_vec(), b"other".to_vec());
    batch.put(Family::Dedup, dedup_key(b"z", 1), remembered(1));
    batch.put(Family::Meta, keys::range_meta(RangeId(3), MetaKind::Applied), b"other".to_vec());
    let own = |kind| keys::range_meta(RANGE, kind);
    batch.put(Family::Meta, own(MetaKind::Applied), codec::encode(&applied(index)));
    batch.put(Family::Meta, own(MetaKind::Descriptor), codec::encode(&descriptor(b"a", b"m")));
    engine.write(batch).expect("written");
}

/// An engine with a state that is durable.
fn filled(index: u64, count: u64, value: &[u8]) -> (MemoryDisk, Arc<dyn Engine>) {
    let disk = MemoryDisk::new();
    let engine = open(&disk);
    fill(&*engine, index, count, value);
    engine.sync().now_or_never().expect("instant").expect("synced");
    (disk, engine)
}

fn state_of(engine: &Arc<dyn Engine>) -> Arc<RangeState> {
    let hlc = Arc::new(Hlc::new(Arc::new(SystemClock)));
    RangeState::open(&descriptor(b"a", b"m"), engine.clone(), hlc).expect("opened")
}

fn source(engine: &Arc<dyn Engine>, chunk_bytes: usize) -> Source {
    Source::read(engine, RANGE, 77, chunk_bytes).expect("read").expect("there is a state")
}

/// Sends all chunks without a network.
async fn staged(from: &Source, to: &Arc<dyn Engine>) -> Result<Ticket, Error> {
    let mut stage = Stage::open(to.clone(), from.head())?;
    while let Some(chunk) = from.chunk(stage.next()).await? {
        content::records(&from.head().descriptor, &chunk.records).expect("of this range");
        stage.add(chunk.records.to_vec(), chunk.checksum)?;
    }
    assert_eq!(from.total().await, Some((stage.next(), stage.checksum())));
    Ok(stage.ticket())
}

/// An engine that fails from its `n`-th write or sync on, as far as those above can tell; with
/// `flushes` every batch is durable at once, as when memtables are full.
struct Failing {
    engine: Arc<dyn Engine>,
    left: AtomicUsize,
    flushes: bool,
}

impl Failing {
    fn step(&self) -> Result<(), Error> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| Error::Failed("killed here".to_owned()))
    }
}

impl Reader for Failing {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.engine.scan(family, start, end, direction, visit)
    }
}

impl Engine for Failing {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.step()?;
        self.engine.write(batch)?;
        if self.flushes { self.engine.sync().now_or_never().expect("instant") } else { Ok(()) }
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        match self.step() {
            Ok(()) => self.engine.sync(),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn check_space(&self) -> Result<(), Error> {
        Ok(())
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get_durable(family, key)
    }

    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader> {
        self.engine.clone().snapshot()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn failing(engine: Arc<dyn Engine>, after: usize, flushes: bool) -> Arc<dyn Engine> {
    Arc::new(Failing { engine, left: AtomicUsize::new(after), flushes })
}

/// What is left of a range when nothing of it is staged or under way.
fn settled(engine: &dyn Engine) -> State {
    let mut state = all(engine);
    state.retain(|(family, _), _| *family != Family::Staged);
    state
}

#[tokio::test]
async fn a_kill_at_every_step_leaves_the_old_or_the_new_state() {
    let (_, leader) = filled(90, 40, b"new");
    let source = source(&leader, 512);
    let new = settled(&*leader);
    let mut endings = BTreeMap::<&str, usize>::new();
    for flushes in [false, true] {
        let mut ended = false;
        for kill in 0.. {
            let (disk, engine) = filled(50, 25, b"old");
            let old = settled(&*engine);
            assert_ne!(old, new);
            let state = state_of(&failing(engine, kill, flushes));
            let installed = match staged(&source, state.engine()).await {
                Ok(ticket) => state.install(&ticket).await,
                Err(error) => Err(error),
            };
            ended = installed.is_ok();
            drop(state);
            disk.crash(&mut || 0, false);
            // The next life may be killed as well, at each of its steps.
            for next_kill in 0.. {
                let engine = open(&disk);
                let recovering = failing(engine.clone(), next_kill, flushes);
                if install::recover(&*recovering, RANGE).await.is_ok() {
                    break;
                }
                disk.crash(&mut || 1, false);
            }
            let engine = open(&disk);
            let found = settled(&*engine);
            let state = state_of(&engine);
            if found == new {
                *endings.entry("new").or_default() += 1;
                assert_eq!(state.applied_index(), Some(90));
                assert!(stage::find(&*engine, RANGE).expect("read").is_none());
            } else {
                assert!(!ended, "what was reported as installed is lost");
                assert!(found == old, "neither the old nor the new state after step {kill}");
                assert_eq!(state.applied_index(), Some(50));
                *endings.entry("old").or_default() += 1;
            }
            if ended {
                assert!(kill > 15, "{kill} steps are too few to be all of them");
                break;
            }
        }
        assert!(ended);
    }
    assert!(endings["old"] > 10 && endings["new"] > 10, "{endings:?}");
}

#[tokio::test]
async fn a_state_is_not_opened_in_the_middle_of_an_installation() {
    let (_, leader) = filled(90, 4, b"new");
    let source = source(&leader, 512);
    let (_, engine) = filled(50, 4, b"old");
    let ticket = staged(&source, &engine).await.expect("staged");
    install::commit(&*engine, &ticket, &descriptor(b"a", b"m")).await.expect("committed");
    let hlc = Arc::new(Hlc::new(Arc::new(SystemClock)));
    let opened = RangeState::open(&descriptor(b"a", b"m"), engine.clone(), hlc);
    assert!(matches!(opened, Err(Error::Open(_))));
    assert!(Source::read(&engine, RANGE, 1, 512).expect("read").is_none(), "nor sent");
}

#[tokio::test]
async fn two_in_a_row() {
    let (_, engine) = filled(50, 25, b"old");
    let state = state_of(&engine);
    let mut before = state.newest();
    for (index, count) in [(90, 40), (120, 7)] {
        let (_, leader) = filled(index, count, b"new");
        let ticket = staged(&source(&leader, 300), &engine).await.expect("staged");
        state.install(&ticket).await.expect("installed");
        assert_eq!(settled(&*engine), settled(&*leader));
        assert_eq!(all(&*engine), settled(&*engine), "nothing is left staged");
        assert_eq!(state.applied_index(), Some(index));
        assert!(state.newest() > before && !state.is_installing());
        assert_eq!(state.durable().expect("read").applied.map(|at| at.index), Some(index));
        before = state.newest();
    }
}

#[tokio::test]
async fn a_shrunk_span_is_cleared_where_the_range_was() {
    let (_, engine) = filled(50, 25, b"old");
    let state = state_of(&engine);
    let (_, leader) = filled(90, 0, b"new");
    let mut batch = Batch::new();
    let key = keys::range_meta(RANGE, MetaKind::Descriptor);
    batch.put(Family::Meta, key, codec::encode(&descriptor(b"e", b"m")));
    leader.write(batch).expect("written");
    let ticket = staged(&source(&leader, 300), &engine).await.expect("staged");
    state.install(&ticket).await.expect("installed");
    let left = all(&*engine);
    let of_the_range = left.keys().filter(|(family, key)| match family {
        Family::Dedup => keys::dedup_anchor(key).is_some_and(|anchor| anchor < &b"m"[..]),
        Family::Meta => false,
        _ => key < &b"m".to_vec(),
    });
    assert_eq!(of_the_range.collect::<Vec<_>>(), [&(Family::Mark, b"e90".to_vec())]);
    assert_eq!(state.descriptor().start, b"e");
}

fn content_strategy() -> impl Strategy<Value = Vec<(u8, Vec<u8>, Vec<u8>)>> {
    let key = proptest::collection::vec(b'a'..b'q', 1..4);
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 500..900),
    ];
    proptest::collection::vec((0_u8..6, key, value), 0..120)
}

fn store(content: &[(u8, Vec<u8>, Vec<u8>)], index: u64) -> Arc<dyn Engine> {
    let (_, engine) = filled(index, 3, b"x");
    let mut batch = Batch::new();
    for (at, (part, key, value)) in content.iter().enumerate() {
        let (family, key) = match part {
            0 => (Family::Data, key.clone()),
            1 => (Family::Lock, key.clone()),
            2 => (Family::Txn, key.clone()),
            3 => (Family::Mark, key.clone()),
            4 => (Family::Dedup, dedup_key(key, at as u64 * index)),
            _ => (Family::Meta, [content::own_records(RANGE), vec![20], key.clone()].concat()),
        };
        batch.put(family, key, value.clone());
    }
    engine.write(batch).expect("written");
    engine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_reproduce_any_state(
        old in content_strategy(),
        new in content_strategy(),
        chunk_bytes in 40_usize..1_500,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
        runtime.block_on(async {
            let (leader, follower) = (store(&new, 90), store(&old, 50));
            let of = descriptor(b"a", b"m");
            let source = source(&leader, chunk_bytes);
            let outside = |state: State| -> State {
                let is_outside = |family: Family, key: &[u8]| !content::belongs(&of, family, key)
                    && !key.starts_with(&content::own_records(RANGE));
                state.into_iter().filter(|((family, key), _)| is_outside(*family, key)).collect()
            };
            let inside = |state: State| -> State {
                state
                    .into_iter()
                    .filter(|((family, key), _)| content::belongs(&of, *family, key))
                    .collect()
            };
            let foreign = outside(all(&*follower));
            let ticket = staged(&source, &follower).await.expect("staged");
            // The leader goes on: what it sends is the state of one moment all the same.
            let sent = inside(all(&*leader));
            fill(&*leader, 120, 5, b"later");
            state_of(&follower).install(&ticket).await.expect("installed");
            assert_eq!(inside(all(&*follower)), sent);
            assert_eq!(outside(all(&*follower)), foreign);
        });
    }
}

#[tokio::test]
async fn a_chunk_read_again_is_the_same_chunk() {
    let (_, leader) = filled(90, 40, b"new");
    let source = source(&leader, 300);
    let mut chunks = Vec::new();
    while let Some(chunk) = source.chunk(chunks.len() as u64).await.expect("read") {
        chunks.push(chunk);
        fill(&*leader, 100 + chunks.len() as u64, 3, b"meanwhile");
    }
    assert!(chunks.len() > 10);
    assert!(chunks.iter().all(|chunk| chunk.records.len() <= 420), "bounded");
    for (number, chunk) in chunks.iter().enumerate().rev() {
        let again = source.chunk(number as u64).await.expect("read").expect("there");
        assert_eq!((again.records, again.checksum), (chunk.records.clone(), chunk.checksum));
    }
    assert!(source.chunk(1_000).await.expect("read").is_none());
}

// ------------------------------------------------------------------------------------------------
// The conversation
// ------------------------------------------------------------------------------------------------

fn vote(term: u64) -> wire::Vote {
    wire::Vote { term, replica_id: 1, committed: true }
}

/// A follower without Raft.
struct Follower {
    state: Arc<RangeState>,
    vote: wire::Vote,
    overlapping: Option<RangeId>,
}

impl Target for Follower {
    fn range(&self) -> RangeId {
        RANGE
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId(2)
    }

    fn vote(&self) -> wire::Vote {
        self.vote
    }

    fn applied(&self) -> Option<u64> {
        self.state.applied_index()
    }

    fn engine(&self) -> Arc<dyn Engine> {
        self.state.engine().clone()
    }

    fn overlapping(&self, _span: &Descriptor) -> Option<RangeId> {
        self.overlapping
    }

    fn not_received(&self, _why: &str) {}

    fn check(
        &self,
        vote: &wire::Vote,
        _head: &crate::storage::codec::SnapshotHead,
    ) -> Result<(), String> {
        if vote.committed { Ok(()) } else { Err("whoever sends it is no leader".to_owned()) }
    }

    fn install(
        &self,
        vote: wire::Vote,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<wire::Vote, String>> {
        let state = self.state.clone();
        async move {
            state.install(&ticket).await.map_err(|error| error.to_string())?;
            Ok(vote)
        }
        .boxed()
    }
}

fn follower(engine: &Arc<dyn Engine>) -> Follower {
    let vote = wire::Vote { term: 3, replica_id: 1, committed: false };
    Follower { state: state_of(engine), vote, overlapping: None }
}

fn transfers() -> Arc<Transfers> {
    Arc::new(Transfers::new(1 << 30, 0, Arc::new(|| 4)))
}

/// A leader's side.
fn sending(source: Source) -> Sending {
    let me = AddressRecord { node: NodeId(1), ..AddressRecord::default() };
    let identity = ClusterIdentity { cluster: "c".to_owned(), incarnation: 1 };
    let hlc = Arc::new(Hlc::new(Arc::new(SystemClock)));
    let metrics = Arc::new(Metrics::new());
    let random = Arc::new(|| 4);
    let stall = Duration::from_secs(1);
    let peers =
        Peers::new(me, Vec::new(), Vec::new(), identity, hlc, metrics.clone(), random, stall);
    let engine = open(&MemoryDisk::new());
    Sending {
        peers,
        transfers: transfers(),
        metrics,
        outbox: Arc::new(Outbox::new(RANGE, engine, transfers())),
        range: RANGE,
        from: ReplicaId(1),
        to: ReplicaId(2),
        node: NodeId(2),
        vote: vote(3),
        source: Arc::new(source),
    }
}

/// Both ends of a stream on which so many frames get through each way before it is cut.
fn pipes(to_receiver: usize, to_sender: usize) -> (SnapshotPipe, SnapshotPipe) {
    let one_way = |frames: usize| {
        let (tx, rx) = mpsc::channel(2);
        let rx = futures::stream::unfold(rx, |mut rx| async move {
            rx.recv().await.map(|frame| (Ok(frame), rx))
        });
        (tx, rx.take(frames).boxed())
    };
    let (forth, at_receiver) = one_way(to_receiver);
    let (back, at_sender) = one_way(to_sender);
    (SnapshotPipe::new(at_sender, forth), SnapshotPipe::new(at_receiver, back))
}

/// One try over a stream that lets so many frames through. What the sender made of it.
async fn try_once(
    sending: &Sending,
    follower: &Follower,
    inbox: &Inbox,
    metrics: &Metrics,
    frames: (usize, usize),
) -> Result<wire::Vote, String> {
    let (mut sender, mut receiver) = pipes(frames.0, frames.1);
    let serving = async {
        let Kind::Offer(offer) = receiver.receive(Duration::from_secs(1)).await.expect("an offer")
        else {
            panic!("no offer");
        };
        receive(follower, inbox, &transfers(), metrics, offer, receiver).await;
    };
    let sent = async {
        let sent = sending.send(&mut sender).await;
        drop(sender);
        sent
    };
    tokio::join!(sent, serving).0
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on_where_it_was() {
    let (_, leader) = filled(90, 200, b"new");
    let chunks = chunks_of(&source(&leader, 300)).await;
    assert!(chunks > 40, "{chunks}");
    let at_60 = usize::try_from(chunks * 6 / 10).expect("small");
    // The cut takes a chunk on its way, or the answer to one that was taken; the receiver goes on
    // running, or is killed meanwhile with all of its staging durable, or none of it.
    for (forth, back, resent) in [(at_60 + 1, 1_000, 1), (1_000, at_60 + 1, 0)] {
        for restart in ["none", "durable", "lost"] {
            let sending = sending(source(&leader, 300));
            let (disk, mut engine) = filled(50, 25, b"old");
            let (inbox, metrics) = (Inbox::new(), Metrics::new());
            let cut = try_once(&sending, &follower(&engine), &inbox, &metrics, (forth, back)).await;
            assert!(cut.is_err());
            assert_eq!(state_of(&engine).applied_index(), Some(50), "nothing is installed");
            if restart != "none" {
                if restart == "durable" {
                    engine.sync().await.expect("synced");
                }
                disk.crash(&mut || 0, false);
                engine = open(&disk);
            }
            let all_through = (10_000, 10_000);
            let sent = try_once(&sending, &follower(&engine), &inbox, &metrics, all_through).await;
            assert_eq!(sent, Ok(vote(3)));
            assert_eq!(settled(&*engine), settled(&*leader));
            let counted = &sending.metrics.snapshots;
            let expected = if restart == "lost" { at_60 as u64 + 1 } else { resent };
            let range = expected.saturating_sub(1)..=expected;
            let again = counted.chunks_resent.get();
            assert!(range.contains(&again), "{again} chunks twice, {restart} {forth} {back}");
            assert!(restart == "lost" || again <= 1, "at most one chunk is sent twice");
            assert_eq!(counted.chunks_sent.get(), chunks + again);
        }
    }
}

/// How many chunks a source has.
async fn chunks_of(source: &Source) -> u64 {
    let mut number = 0;
    while source.chunk(number).await.expect("read").is_some() {
        number += 1;
    }
    number
}

/// Says one thing after another to a follower; the refusal.
async fn refusal(follower: &Follower, offer: wire::SnapshotOffer, say: Vec<Kind>) -> String {
    let (mut sender, receiver) = pipes(100, 100);
    let (inbox, metrics) = (Inbox::new(), Metrics::new());
    let before = settled(&**follower.state.engine());
    let transfers = transfers();
    let serving = receive(follower, &inbox, &transfers, &metrics, offer, receiver);
    let saying = async {
        let mut say = say.into_iter();
        loop {
            match sender.receive(Duration::from_secs(1)).await.expect("an answer") {
                Kind::Refused(refused) => return refused.why,
                Kind::Wanted(_) | Kind::Taken(_) => {
                    sender.send(say.next().expect("it goes on")).await.expect("sent");
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let why = tokio::join!(saying, serving).0;
    assert!(settled(&**follower.state.engine()) == before, "refused and yet done: {why}");
    assert_eq!(metrics.snapshots.receive_failed.get(), 1);
    why
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let (_, leader) = filled(90, 40, b"new");
    let source = source(&leader, 300);
    let (_, engine) = filled(50, 25, b"old");
    let good = follower(&engine);
    let offer = wire::SnapshotOffer {
        hello: None,
        range_id: RANGE.0,
        from_replica: 1,
        to_replica: 2,
        vote: Some(vote(3)),
        head: codec::encode(source.head()).into(),
    };
    let first = source.chunk(0).await.expect("read").expect("there");
    let chunk = |number: u64, checksum: u64, records: &[u8]| {
        let records = bytes::Bytes::copy_from_slice(records);
        Kind::Chunk(wire::SnapshotChunk { number, checksum, records })
    };
    let right = || chunk(0, first.checksum, &first.records);

    let why = refusal(&good, offer.clone(), vec![chunk(0, first.checksum ^ 1, &first.records)]);
    assert!(why.await.contains("chunk 0 is damaged: its checksum is wrong"));
    let why = refusal(&good, offer.clone(), vec![right(), right()]);
    assert!(why.await.contains("chunk 0 where 1 belongs"));
    let foreign = codec::encode(&ChunkRecord {
        records: vec![ContentRecord { family: 1, key: b"z", value: b"v" }],
    });
    for (records, what) in [(&foreign[..], "another range"), (b"\x01\xff", "undecodable record")] {
        let head = codec::SnapshotHead { id: 5, ..source.head().clone() };
        let offer = wire::SnapshotOffer { head: codec::encode(&head).into(), ..offer.clone() };
        let why = refusal(&good, offer, vec![chunk(0, xxh3_64(records), records)]).await;
        assert!(why.contains(what), "{why}");
    }
    let end = wire::SnapshotEnd { chunks: 1, checksum: 7 };
    let head = codec::SnapshotHead { id: 6, ..source.head().clone() };
    let anew = wire::SnapshotOffer { head: codec::encode(&head).into(), ..offer.clone() };
    let why = refusal(&good, anew, vec![right(), Kind::End(end)]).await;
    assert!(why.contains("the chunks together are not what was sent"), "{why}");

    let other = wire::SnapshotOffer { to_replica: 9, ..offer.clone() };
    assert_eq!(refusal(&good, other, Vec::new()).await, "it is for another replica");
    let mut head = source.head().clone();
    head.descriptor.range = RangeId(3);
    let other = wire::SnapshotOffer { head: codec::encode(&head).into(), ..offer.clone() };
    assert_eq!(refusal(&good, other, Vec::new()).await, "it is of another range");
    let uncommitted = wire::Vote { committed: false, ..vote(3) };
    let other = wire::SnapshotOffer { vote: Some(uncommitted), ..offer.clone() };
    assert!(refusal(&good, other, Vec::new()).await.contains("no leader"));
    let other = wire::SnapshotOffer { head: bytes::Bytes::from_static(b"\x07"), ..offer.clone() };
    assert!(refusal(&good, other, Vec::new()).await.contains("format 7"));
    let crowded = Follower { overlapping: Some(RangeId(9)), ..follower(&engine) };
    let why = refusal(&crowded, offer.clone(), Vec::new()).await;
    assert_eq!(why, "later: r9 has a part of its span here");
}

#[tokio::test]
async fn what_is_there_already_is_not_sent() {
    let (_, leader) = filled(90, 40, b"new");
    let (_, ahead) = filled(90, 40, b"new");
    let (_, behind) = filled(50, 25, b"old");
    let higher = Follower { vote: vote(8), ..follower(&behind) };
    for (follower, expected) in [(follower(&ahead), 3), (higher, 8)] {
        let before = all(&**follower.state.engine());
        let sending = sending(source(&leader, 300));
        let (inbox, metrics) = (Inbox::new(), Metrics::new());
        let sent = try_once(&sending, &follower, &inbox, &metrics, (100, 100)).await;
        assert_eq!(sent.map(|vote| vote.term), Ok(expected));
        assert_eq!(sending.metrics.snapshots.chunks_sent.get(), 0);
        assert_eq!(all(&**follower.state.engine()), before);
    }
}

#[tokio::test]
async fn what_was_staged_and_left_goes() {
    let (_, leader) = filled(90, 200, b"new");
    let (_, engine) = filled(50, 25, b"old");
    let (inbox, metrics) = (Inbox::new(), Metrics::new());
    let sending = sending(source(&leader, 300));
    try_once(&sending, &follower(&engine), &inbox, &metrics, (10, 1_000)).await.expect_err("cut");
    let is_staged = || stage::find(&*engine, RANGE).expect("read").is_some();
    let now = Instant::now();
    let later = |seconds| now + Duration::from_secs(seconds);
    inbox.collect(&*engine, RANGE, Some(50), later(500)).expect("collected");
    assert!(is_staged(), "it may go on");
    inbox.collect(&*engine, RANGE, Some(50), later(601)).expect("collected");
    assert!(!is_staged());
    try_once(&sending, &follower(&engine), &inbox, &metrics, (10, 1_000)).await.expect_err("cut");
    assert!(is_staged());
    // The log has caught up after all.
    inbox.collect(&*engine, RANGE, Some(90), Instant::now()).expect("collected");
    assert!(!is_staged());
    assert_eq!(all(&*engine), settled(&*engine));
}

#[tokio::test]
async fn a_read_snapshot_is_kept_while_it_is_used() {
    let (_, leader) = filled(90, 40, b"new");
    let outbox = Outbox::new(RANGE, leader.clone(), transfers());
    let now = Instant::now();
    let later = |seconds| now + Duration::from_secs(seconds);
    let first = outbox.source(0, now).expect("read").expect("a state");
    fill(&*leader, 120, 4, b"later");
    let again = outbox.source(90, later(10)).expect("read").expect("a state");
    assert!(Arc::ptr_eq(&first, &again), "a stream that was cut goes on with the same");
    outbox.hold(ReplicaId(2), &first, later(10));
    assert_eq!(outbox.held_from(later(10)), Some(90));
    let newer = outbox.source(100, later(10)).expect("read").expect("a state");
    assert_eq!(newer.index(), 120, "the log does not follow the old one any more");
    assert_eq!(outbox.held_from(later(26)), Some(90), "its replica catches up from there");
    outbox.drop_idle(later(10));
    assert_eq!(Arc::strong_count(&newer), 2);
    // Asked for again and again, and never sent: the replica can't be reached.
    outbox.source(100, later(29)).expect("read").expect("a state");
    outbox.drop_idle(later(31));
    assert_eq!(Arc::strong_count(&newer), 1, "idle, so let go");
    outbox.release(91, |_| Some(90));
    assert_eq!(outbox.held_from(later(31)), Some(90));
    assert_eq!(outbox.held_from(later(41)), None);
    outbox.hold(ReplicaId(2), &first, later(50));
    outbox.release(91, |_| Some(91));
    assert_eq!(outbox.held_from(later(50)), None, "it needs nothing that will go");
}
