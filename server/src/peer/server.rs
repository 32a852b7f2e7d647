//! The answering side of a link: begins the requests of each frame in order, and answers each when it is done.
//!
//! One task per incoming link polls everything that is under way. A task per request was rejected: a request that is
//! answered at once costs none, and appends keep their order, since the first poll of each hands it to its group.
//! Answers that are ready together go into one frame.
//!
//! # Invariants
//!
//! * Nothing is begun for a peer before its hello is checked, nor for one that is no member any more (`serve`,
//!   `Connection::begin`).
//! * Requests under way are bounded (`IN_FLIGHT_MAX`); a peer that goes beyond is cut off.
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
    let mut connection = Connection { peers, from, bulk_taken: 0, answers: Vec::new() };
    let mut under_way = FuturesUnordered::<UnderWay>::new();
    loop {
        tokio::select! {
            biased;
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                connection.answers.extend(answer);
                // Whatever else is done by now, or as soon as tasks that are ready have run, goes into
                // the same frame.
                tokio::task::yield_now().await;
                let mut bytes = 0;
                while bytes < FRAME_BYTES_MAX {
                    let Some(Some(answer)) = under_way.next().now_or_never() else { break };
                    bytes += answer.as_ref().map_or(0, Message::encoded_len);
                    connection.answers.extend(answer);
                }
            }
            frame = inbound.message() => {
                let frame = frame.map_err(|status| status.to_string())?;
                let Some(frame) = frame else { return Ok(()) };
                for future in connection.begin(frame)? {
                    under_way.push(future);
                }
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
    bulk_taken: u64,
    answers: Vec<proto::PeerMessage>,
}

type UnderWay = Pin<Box<dyn Future<Output = Option<proto::PeerMessage>> + Send>>;

impl Connection<'_> {
    /// Begins every request of a frame, in order; returns those that are not answered at once.
    fn begin(&mut self, frame: proto::PeerFrame) -> Result<Vec<UnderWay>, String> {
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
        let mut under_way = Vec::new();
        for message in batch.messages {
            if let Some(Kind::Append(append)) = &message.kind {
                self.bulk_taken += append_bytes(append);
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
                self.answers.push(proto::PeerMessage { kind, ..answer });
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
        }
        Ok(under_way)
    }

    async fn flush(&mut self, out: &Out) -> Result<(), String> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let batch = proto::PeerBatch {
            messages: std::mem::take(&mut self.answers),
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
