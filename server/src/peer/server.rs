//! The answering side of a link: begins the requests of each frame in order, and answers each when it is done.
//!
//! One task per incoming link polls everything that is under way. A task per request was rejected: a request that is
//! answered at once costs none, and appends keep their order, since the first poll of each hands it to its group.
//! Answers that are ready together go into one frame.
//!
//! # Invariants
//!
//! * Nothing is begun for a peer before its hello is checked, nor for one that is no member any more, or whose data
//!   directory was declared lost a second ago (`serve`, `Connection::begin`).
//! * Requests under way are bounded (`IN_FLIGHT_MAX`); a peer that goes beyond is cut off.
//! * A frame of answers is full at [`FRAME_BYTES_MAX`], be they done at once or later: nothing further of what came is
//!   begun before the wire takes it, so that however much one frame asks for, no more than [`OUTBOUND_FRAMES_MAX`]
//!   frames of answers are held.
//! * Both sides count the bytes of an append alike (`append_bytes`), or credits would leak.
//!
//! When the link ends, what is under way for it is dropped. Whatever must not stop halfway is a task of its own (as
//! `NodeState::hold` is).

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use prost::Message;
use quintet_proto::internal::v1::{self as proto, peer_server::Peer};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{
    FRAME_BYTES_MAX, Kind, Peers, Refusal,
    ask::{Ask, Echo},
    link::decode,
    says::Says,
};
use crate::{
    ids::NodeId,
    time::local::timeout,
    trace,
    wire::{self, Inbound, Outbound},
};

/// Requests of one link that may be under way; a peer keeps to fewer (`PENDING_MAX`), one that does
/// not is cut off.
const IN_FLIGHT_MAX: usize = 100_000;
/// How long a peer may take for its first words.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that wait for the wire.
const OUTBOUND_FRAMES_MAX: usize = 16;

/// The gRPC service on the internal port.
pub struct PeerService {
    peers: Arc<Peers>,
}

impl PeerService {
    /// Answers with what the node's handler says.
    pub fn new(peers: Arc<Peers>) -> PeerService {
        PeerService { peers }
    }
}

type Frames = Outbound<proto::PeerFrame>;

#[tonic::async_trait]
impl Peer for PeerService {
    type LinkStream = Frames;
    type SnapshotStream = super::snapshot::Frames;

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotFrame>>,
    ) -> Result<Response<super::snapshot::Frames>, Status> {
        Ok(super::snapshot::serve(&self.peers, request))
    }

    async fn link(
        &self,
        request: Request<Streaming<proto::PeerFrame>>,
    ) -> Result<Response<Frames>, Status> {
        let (out, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let frames = futures::stream::unfold(frames, |mut frames| async move {
            frames.recv().await.map(|frame| (Ok(frame), frames))
        });
        let peers = self.peers.clone();
        let from = request.remote_addr();
        let inbound = request.into_inner();
        let (inbound, frames) = wire::attach(peers.wire(), from, inbound, Box::pin(frames));
        tokio::spawn(async move {
            if let Err(why) = serve(&peers, inbound, &out).await {
                tracing::debug!(why, "incoming link ended");
            }
        });
        Ok(Response::new(frames))
    }
}

type Out = mpsc::Sender<proto::PeerFrame>;

async fn serve(
    peers: &Arc<Peers>,
    mut inbound: Inbound<proto::PeerFrame>,
    out: &Out,
) -> Result<(), String> {
    let first = timeout(HELLO_TIMEOUT, inbound.message()).await;
    let first = first.map_err(|_| "it said nothing")?.map_err(|status| status.to_string())?;
    let first = decode(first.ok_or("closed before the first frame")?)?;
    let hello = first.hello.ok_or("the first frame has no hello")?;
    let met = peers.meet(&hello);
    let mine = proto::Hello {
        refusal: met.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        id_in_use: matches!(met, Err(Refusal::IdInUse(_))),
        no_member: matches!(met, Err(Refusal::NoMember(_))),
        ..peers.hello()
    };
    send(out, proto::PeerBatch { hello: Some(mine), ..proto::PeerBatch::default() }).await?;
    let from = met.map_err(|refusal| refusal.to_string())?;
    let answers = Answers::default();
    let directory = hello.me.as_ref().map_or(0, |me| me.directory);
    let mut connection = Connection { peers, from, directory, bulk_taken: 0, answers };
    let mut under_way = FuturesUnordered::<UnderWay>::new();
    loop {
        tokio::select! {
            biased;
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                connection.answers.extend(answer);
                // Whatever else is done by now, or as soon as tasks that are ready have run, goes into
                // the same frame.
                tokio::task::yield_now().await;
                while !connection.answers.are_full() {
                    let Some(Some(answer)) = under_way.next().now_or_never() else { break };
                    connection.answers.extend(answer);
                }
            }
            frame = inbound.message() => {
                let frame = frame.map_err(|status| status.to_string())?;
                let Some(frame) = frame else { return Ok(()) };
                connection.begin(frame, &mut under_way, out).await?;
                if under_way.len() > IN_FLIGHT_MAX {
                    return Err(format!("{from} has too many requests under way"));
                }
            }
        }
        connection.flush(out).await?;
    }
}

struct Connection<'a> {
    peers: &'a Arc<Peers>,
    from: NodeId,
    /// Its data directory.
    directory: u64,
    bulk_taken: u64,
    answers: Answers,
}

/// Answers of the next frame.
#[derive(Default)]
struct Answers {
    messages: Vec<proto::PeerMessage>,
    bytes: usize,
}

impl Answers {
    fn extend(&mut self, answer: Option<proto::PeerMessage>) {
        self.bytes += answer.as_ref().map_or(0, Message::encoded_len);
        self.messages.extend(answer);
    }

    fn are_full(&self) -> bool {
        self.bytes >= FRAME_BYTES_MAX
    }
}

type UnderWay = Pin<Box<dyn Future<Output = Option<proto::PeerMessage>> + Send>>;

impl Connection<'_> {
    /// Begins every request of a frame, in order; those that are not answered at once are under way then.
    async fn begin(
        &mut self,
        frame: proto::PeerFrame,
        under_way: &mut FuturesUnordered<UnderWay>,
        out: &Out,
    ) -> Result<(), String> {
        let Connection { peers, from, .. } = *self;
        if !peers.admits(from) {
            // A cluster was formed without it since they met.
            return Err(format!("{from} is no member"));
        }
        peers.metrics.peer_bytes_received.inc_by(frame.body.len() as u64);
        trace::event("receive", format_args!("{} from {from}: {:x}", peers.me, frame.body));
        let batch = decode(frame)?;
        peers.learn_time(&batch);
        let handler = peers.handler.get().ok_or("the node is starting")?;
        for message in batch.messages {
            if let Some(Kind::Append(append)) = &message.kind {
                self.bulk_taken += append_bytes(append);
            }
            // They come every second: often enough to look at what seldom changes.
            if let Some(Kind::Ping(_)) = &message.kind
                && let Some(why) = peers.turned_away(from, self.directory)
            {
                return Err(format!("{from}: {why}"));
            }
            let answer = proto::PeerMessage {
                seq: message.seq,
                answer: true,
                range_id: message.range_id,
                from_replica: message.to_replica,
                to_replica: message.from_replica,
                kind: None,
            };
            if let Some(Kind::Echo(_)) = message.kind {
                let kind = Some(Echo::reply(()));
                self.answers.extend(Some(proto::PeerMessage { kind, ..answer }));
                continue;
            }
            let handled = handler.handle(from, message);
            let mut future: UnderWay = Box::pin(handled.map(move |kind| {
                kind.map(|kind| proto::PeerMessage { kind: Some(kind), ..answer })
            }));
            // The first poll hands an append to its group: order holds.
            match (&mut future).now_or_never() {
                Some(answer) => self.answers.extend(answer),
                None => under_way.push(future),
            }
            if self.answers.are_full() {
                self.flush(out).await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, out: &Out) -> Result<(), String> {
        let answers = std::mem::take(&mut self.answers);
        if answers.messages.is_empty() {
            return Ok(());
        }
        let batch = proto::PeerBatch {
            messages: answers.messages,
            bulk_bytes_taken: self.bulk_taken,
            known: self.peers.oracle.known().block().0,
            ..proto::PeerBatch::default()
        };
        let body = send(out, batch).await?;
        self.peers.metrics.peer_bytes_sent.inc_by(body.len() as u64);
        let (me, from, says) = (self.peers.me, self.from, Says(&body));
        trace::event("send", format_args!("{me} answers {from} {says}: {body:x}"));
        Ok(())
    }
}

/// What the sender counted for an append; both sides count alike.
fn append_bytes(append: &proto::AppendRequest) -> u64 {
    let bytes = append.entries.iter().map(|entry| match &entry.payload {
        Some(proto::entry::Payload::Command(command)) => command.len() as u64 + 32,
        _ => 32,
    });
    bytes.sum()
}

/// Sends a batch; returns its bytes.
async fn send(out: &Out, batch: proto::PeerBatch) -> Result<Bytes, String> {
    let body = Bytes::from(batch.encode_to_vec());
    let sent = proto::PeerFrame { body: body.clone() };
    out.send(sent).await.map_err(|_| "the stream is closed")?;
    Ok(body)
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use futures::future::BoxFuture;

    use super::{super::SnapshotPipe, *};
    use crate::{
        config::Wan,
        ops::metrics::Metrics,
        peer::{ClusterIdentity, Handler},
        seams::SystemClock,
        storage::format::node::AddressRecord,
        time::oracle::handle::Oracle,
    };

    const ANSWER_BYTES: usize = FRAME_BYTES_MAX / 4;

    /// Answers everything at once, and with much.
    struct AtOnce;

    impl Handler for AtOnce {
        fn is_lost(&self, _directory: u64) -> bool {
            false
        }

        fn handle(&self, _: NodeId, _: proto::PeerMessage) -> BoxFuture<'static, Option<Kind>> {
            let waits_for = "x".repeat(ANSWER_BYTES);
            let answer = proto::ReplaceReplicaAnswer { waits_for, was_done: false };
            async { Some(Kind::ReplaceReplicaAnswer(answer)) }.boxed()
        }

        fn snapshot(
            &self,
            _: NodeId,
            _: proto::SnapshotOffer,
            _: SnapshotPipe,
        ) -> BoxFuture<'static, ()> {
            async {}.boxed()
        }
    }

    #[tokio::test]
    async fn what_is_answered_at_once_fills_no_frame_beyond_its_bound() {
        const REQUESTS: u64 = 100;
        let me = AddressRecord { node: NodeId(1), ..AddressRecord::default() };
        let members = [1, 2].map(NodeId).into();
        let identity = ClusterIdentity { cluster: "c".to_owned(), incarnation: 1, members };
        let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
        let (known, seeds, metrics) = (Vec::new(), Vec::new(), Arc::new(Metrics::new()));
        let (random, stall, wan) = (Arc::new(|| 4), Duration::from_secs(1), Wan::default());
        let peers =
            Peers::new(me, known, seeds, identity, oracle, metrics, random, stall, None, wan);
        peers.handler.set(Arc::new(AtOnce)).ok().expect("none yet");
        let (answers, mut under_way) = (Answers::default(), FuturesUnordered::new());
        let mut connection =
            Connection { peers: &peers, from: NodeId(2), directory: 0, bulk_taken: 0, answers };
        let messages = (0..REQUESTS).map(|seq| proto::PeerMessage { seq, ..Default::default() });
        let batch = proto::PeerBatch { messages: messages.collect(), ..Default::default() };
        let frame = proto::PeerFrame { body: batch.encode_to_vec().into() };
        let (out, mut frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let begun = async {
            connection.begin(frame, &mut under_way, &out).await.expect("begun");
            connection.flush(&out).await.expect("sent");
            drop(out);
        };
        // Somebody who takes nothing for a while: it waits for him, with a bounded number of answers.
        let mut begun = Box::pin(begun);
        assert!((&mut begun).now_or_never().is_none());
        assert_eq!(frames.len(), OUTBOUND_FRAMES_MAX);
        let taken = async {
            let mut next = 0;
            while let Some(frame) = frames.recv().await {
                assert!(
                    frame.body.len() < FRAME_BYTES_MAX + 2 * ANSWER_BYTES,
                    "{}",
                    frame.body.len()
                );
                for message in decode(frame).expect("a batch").messages {
                    assert_eq!(message.seq, next, "in order");
                    next += 1;
                }
            }
            next
        };
        assert_eq!(futures::join!(begun, taken).1, REQUESTS);
        assert!(under_way.is_empty());
    }
}
