//! The stream of one raft snapshot: a connection of its own, one message under way at a time.
//!
//! This is the transport alone: who is at the other end, frames and patience. What is said is in
//! `range/snapshot/`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use prost::Message;
use quintet_proto::internal::v1::{
    self as wire, peer_client::PeerClient, snapshot_message::Kind as SnapshotKind,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Streaming};

use super::{Peers, link::CONNECT_TIMEOUT, wan};
use crate::{
    ids::NodeId,
    time::local::timeout,
    trace,
    wire::{Inbound, Outbound},
};

/// Frames that wait for the wire. There is one question or answer at a time.
const OUTBOUND_FRAMES_MAX: usize = 2;
/// How long the first message may take.
const OFFER_PATIENCE: Duration = Duration::from_secs(5);
/// Largest frame: a chunk with a single record of the largest size that can be set.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Frames of a raft snapshot's stream, as gRPC takes them.
pub(super) type Frames = Outbound<wire::SnapshotFrame>;

/// One end of the stream of a raft snapshot.
pub struct SnapshotPipe {
    inbound: BoxStream<'static, Result<wire::SnapshotFrame, String>>,
    outbound: mpsc::Sender<wire::SnapshotFrame>,
}

impl SnapshotPipe {
    /// An end over frames from and to the other one.
    pub fn new(
        inbound: BoxStream<'static, Result<wire::SnapshotFrame, String>>,
        outbound: mpsc::Sender<wire::SnapshotFrame>,
    ) -> SnapshotPipe {
        SnapshotPipe { inbound, outbound }
    }

    /// Says something.
    pub async fn send(&mut self, kind: SnapshotKind) -> Result<(), String> {
        let message = wire::SnapshotMessage { kind: Some(kind) };
        let body = Bytes::from(message.encode_to_vec());
        trace::event("send", format_args!("snapshot frame of {} bytes", body.len()));
        let sent = self.outbound.send(wire::SnapshotFrame { body }).await;
        sent.map_err(|_| "the stream is closed".to_owned())
    }

    /// What the other end says next.
    pub async fn receive(&mut self, patience: Duration) -> Result<SnapshotKind, String> {
        let frame = match timeout(patience, self.inbound.next()).await {
            Ok(Some(frame)) => frame?,
            Ok(None) => return Err("the other side closed the stream".to_owned()),
            Err(_) => return Err(format!("nothing heard for {patience:?}")),
        };
        trace::event("receive", format_args!("snapshot frame of {} bytes", frame.body.len()));
        let message = wire::SnapshotMessage::decode(frame.body)
            .map_err(|error| format!("undecodable frame: {error}"))?;
        message.kind.ok_or_else(|| "an empty frame".to_owned())
    }

    /// Turns the other end away.
    pub async fn refuse(&mut self, why: &str) {
        let refused = wire::SnapshotRefused { why: why.to_owned() };
        // Whoever has gone need not be told.
        self.send(SnapshotKind::Refused(refused)).await.ok();
    }
}

impl Peers {
    /// What this node says of itself at the beginning of a raft snapshot.
    pub fn introduction(&self) -> wire::Hello {
        wire::Hello { book: Vec::new(), ..self.hello() }
    }

    /// Opens a stream for a raft snapshot to a node.
    pub async fn open_snapshot(&self, to: NodeId) -> Result<SnapshotPipe, String> {
        let to = self.book.get(to).ok_or("the node's address is not known")?;
        let (address, one_way) = (&to.internal, self.one_way(&to));
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("bad address: {error}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let channel = timeout(CONNECT_TIMEOUT, wan::connect(&endpoint, one_way)).await;
        let channel = channel.map_err(|_| "no connection in time")?;
        let channel = channel.map_err(|error| error.to_string())?;
        let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
        let frames = futures::stream::unfold(frames, |mut frames| async move {
            frames.recv().await.map(|frame| (frame, frames))
        });
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX);
        let opened = timeout(CONNECT_TIMEOUT, client.snapshot(Box::pin(frames))).await;
        let response = opened.map_err(|_| "no answer in time")?;
        let response = response.map_err(|status| status.to_string())?;
        let stream = Inbound::Network(Box::new(response.into_inner()));
        Ok(SnapshotPipe::new(inbound(stream), outbound))
    }
}

fn inbound(
    frames: Inbound<wire::SnapshotFrame>,
) -> BoxStream<'static, Result<wire::SnapshotFrame, String>> {
    futures::stream::unfold(frames, |mut frames| async move {
        match frames.message().await {
            Ok(Some(frame)) => Some((Ok(frame), frames)),
            Ok(None) => None,
            Err(status) => Some((Err(status.to_string()), frames)),
        }
    })
    .boxed()
}

/// Serves a stream that another node opened.
pub(super) fn serve(
    peers: &Arc<Peers>,
    request: Request<Streaming<wire::SnapshotFrame>>,
) -> Response<Frames> {
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES_MAX);
    let frames = futures::stream::unfold(frames, |mut frames| async move {
        frames.recv().await.map(|frame| (Ok(frame), frames))
    });
    let peers = peers.clone();
    let from = request.remote_addr();
    let stream = request.into_inner();
    let (stream, frames) = crate::wire::attach(peers.wire(), from, stream, Box::pin(frames));
    let pipe = SnapshotPipe::new(inbound(stream), outbound);
    tokio::spawn(async move {
        if let Err(why) = meet(&peers, pipe).await {
            tracing::debug!(why, "incoming raft snapshot ended");
        }
    });
    Response::new(frames)
}

/// Looks who sends, then hands over to the node.
async fn meet(peers: &Arc<Peers>, mut pipe: SnapshotPipe) -> Result<(), String> {
    let SnapshotKind::Offer(mut offer) = pipe.receive(OFFER_PATIENCE).await? else {
        let why = "a raft snapshot begins with an offer";
        pipe.refuse(why).await;
        return Err(why.to_owned());
    };
    let hello = offer.hello.take().unwrap_or_default();
    let mine = peers.identity();
    // Only members have ranges: who belongs to no cluster is a stranger here.
    let met = if mine.cluster.is_empty() || hello.cluster_id.is_empty() {
        Err(format!("node {} belongs to no cluster, or this one does not", hello.node_id))
    } else {
        peers.meet(&hello).map_err(|refusal| refusal.to_string())
    };
    let from = match met {
        Ok(from) => from,
        Err(why) => {
            pipe.refuse(&why).await;
            return Err(why);
        }
    };
    let Some(handler) = peers.handler.get() else {
        pipe.refuse("the node is starting").await;
        return Err("the node is starting".to_owned());
    };
    handler.snapshot(from, offer, pipe).await;
    Ok(())
}
