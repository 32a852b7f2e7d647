//! The conversation of sender and receiver: streams that are cut, what does not fit, what is kept.
//!
//! Both ends are the real ones, over a pipe in memory; the follower has no Raft group and says what the test wants.

use super::*;
use crate::config::Wan;
use crate::storage::format::snapshot::SnapshotHead;

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
        _head: &crate::storage::format::snapshot::SnapshotHead,
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
    let members = [1, 2].map(NodeId).into();
    let identity = ClusterIdentity { cluster: "c".to_owned(), incarnation: 1, members };
    let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
    let metrics = Arc::new(Metrics::new());
    let random = Arc::new(|| 4);
    let stall = Duration::from_secs(1);
    let (known, seeds) = (Vec::new(), Vec::new());
    let wan = Wan::default();
    let peers =
        Peers::new(me, known, seeds, identity, oracle, metrics.clone(), random, stall, None, wan);
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

/// Both ends of a stream that is cut after `to_receiver` frames one way, and after `to_sender` frames the other way.
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

/// One try over a stream that lets `frames` through, forth and back. What the sender made of it.
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
        let head = SnapshotHead { id: 5, ..source.head().clone() };
        let offer = wire::SnapshotOffer { head: codec::encode(&head).into(), ..offer.clone() };
        let why = refusal(&good, offer, vec![chunk(0, xxh3_64(records), records)]).await;
        assert!(why.contains(what), "{why}");
    }
    let end = wire::SnapshotEnd { chunks: 1, checksum: 7 };
    let head = SnapshotHead { id: 6, ..source.head().clone() };
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
