//! The dialling side of a link: queues, frames, pending requests, redial.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quintet_proto::internal::v1::{self as wire, peer_client::PeerClient};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{Kind, Peers};
use crate::{ids::NodeId, time::Timestamp, trace};

/// Requests that may be pending on a link; beyond it a request fails at once.
const PENDING_MAX: usize = 65_536;
/// Bytes of log entries under way, sent and not yet taken by the receiver.
const BULK_WINDOW_BYTES: u64 = 8 << 20;
/// Bytes of log entries in one frame: what an urgent message may have to wait behind.
const FRAME_BULK_BYTES_MAX: usize = 256 << 10;
/// Messages of one frame.
const FRAME_MESSAGES_MAX: usize = 4_096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const REDIAL_MIN: Duration = Duration::from_millis(50);
const REDIAL_SPREAD_MS: u64 = 150;

/// Which queue a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Votes, heartbeats, forwarded requests.
    Urgent,
    /// Log entries of about so many bytes.
    Bulk(usize),
}

/// The link went down, or was not up, before the answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link to the node is down")]
pub struct LinkDown {
    /// Whether the request may have reached the other side.
    pub was_sent: bool,
}

/// Takes the answer to a request, once.
pub(super) type OnAnswer = Box<dyn FnOnce(Result<Kind, LinkDown>) + Send>;

#[derive(Default)]
struct Queues {
    urgent: VecDeque<wire::PeerMessage>,
    bulk: VecDeque<(wire::PeerMessage, usize)>,
    bulk_sent: u64,
    bulk_taken: u64,
}

/// A link to one node.
pub struct Link {
    node: NodeId,
    up: AtomicBool,
    queues: Mutex<Queues>,
    ready: Notify,
    pending: Mutex<BTreeMap<u64, OnAnswer>>,
    next: AtomicU64,
}

impl Link {
    pub(super) fn start(node: NodeId, peers: Weak<Peers>) -> Arc<Link> {
        let link = Arc::new(Link {
            node,
            up: AtomicBool::new(false),
            queues: Mutex::default(),
            ready: Notify::new(),
            pending: Mutex::default(),
            next: AtomicU64::new(1),
        });
        tokio::spawn(keep_up(link.clone(), peers));
        link
    }

    /// Whether messages go through at the moment.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Queues a request. `answer` is called at once where the link is down.
    pub fn send(&self, lane: Lane, mut message: wire::PeerMessage, answer: OnAnswer) {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        message.seq = seq;
        {
            let mut pending = self.pending.lock();
            if !self.is_up() || pending.len() >= PENDING_MAX {
                drop(pending);
                return answer(Err(LinkDown { was_sent: false }));
            }
            pending.insert(seq, answer);
        }
        {
            let mut queues = self.queues.lock();
            match lane {
                Lane::Urgent => queues.urgent.push_back(message),
                Lane::Bulk(bytes) => queues.bulk.push_back((message, bytes)),
            }
        }
        self.ready.notify_one();
    }

    fn fail_pending(&self) {
        self.up.store(false, Ordering::Release);
        *self.queues.lock() = Queues::default();
        let pending = std::mem::take(&mut *self.pending.lock());
        for (_, answer) in pending {
            answer(Err(LinkDown { was_sent: true }));
        }
    }

    /// What goes into the next frame; none if there is nothing, or no credit.
    fn next_batch(&self) -> Option<Vec<wire::PeerMessage>> {
        let mut queues = self.queues.lock();
        let mut messages = Vec::new();
        while messages.len() < FRAME_MESSAGES_MAX {
            let Some(message) = queues.urgent.pop_front() else { break };
            messages.push(message);
        }
        let mut bytes = 0;
        while messages.len() < FRAME_MESSAGES_MAX && bytes < FRAME_BULK_BYTES_MAX {
            if queues.bulk_sent.saturating_sub(queues.bulk_taken) >= BULK_WINDOW_BYTES {
                break;
            }
            let Some((message, size)) = queues.bulk.pop_front() else { break };
            queues.bulk_sent += size as u64;
            bytes += size;
            messages.push(message);
        }
        (!messages.is_empty()).then_some(messages)
    }
}

/// Frames for the wire, as the queues fill.
async fn next_frame(link: &Link, peers: &Weak<Peers>) -> Option<wire::PeerFrame> {
    loop {
        if let Some(messages) = link.next_batch() {
            let peers = peers.upgrade()?;
            let batch = wire::PeerBatch {
                messages,
                clock: peers.hlc.peek().0,
                ..wire::PeerBatch::default()
            };
            let body = Bytes::from(batch.encode_to_vec());
            peers.metrics.peer_bytes_sent.inc_by(body.len() as u64);
            trace::event("send", format_args!("{} to {}: {body:x}", peers.me, link.node));
            return Some(wire::PeerFrame { body });
        }
        link.ready.notified().await;
    }
}

async fn keep_up(link: Arc<Link>, peers: Weak<Peers>) {
    loop {
        let Some(strong) = peers.upgrade() else { return };
        let address = strong.book.get(link.node).map(|address| address.internal);
        let pause = REDIAL_MIN + Duration::from_millis((strong.random)() % REDIAL_SPREAD_MS);
        drop(strong);
        if let Some(address) = address {
            let why = run(&link, &peers, &address).await;
            link.fail_pending();
            if let Some(peers) = peers.upgrade() {
                peers.metrics.peer_redials.inc();
            }
            tracing::debug!(node = %link.node, address, why, "link down");
        }
        trace::event("timer", format_args!("redial {} in {pause:?}", link.node));
        sleep(pause).await;
    }
}

/// One life of a link; returns why it ended.
async fn run(link: &Arc<Link>, peers: &Weak<Peers>, address: &str) -> String {
    let opened = timeout(CONNECT_TIMEOUT, open(link, peers, address)).await;
    let mut inbound = match opened {
        Ok(Ok(inbound)) => inbound,
        Ok(Err(why)) => return why,
        Err(_) => return "no connection in time".to_owned(),
    };
    link.up.store(true, Ordering::Release);
    let Some(stall) = peers.upgrade().map(|peers| peers.stall) else {
        return "stopping".to_owned();
    };
    let mut heard = Instant::now();
    loop {
        match timeout(stall / 4, inbound.message()).await {
            Ok(Ok(Some(frame))) => {
                heard = Instant::now();
                let Some(peers) = peers.upgrade() else { return "stopping".to_owned() };
                if let Err(why) = take(link, &peers, frame) {
                    return why;
                }
            }
            Ok(Ok(None)) => return "closed by the other side".to_owned(),
            Ok(Err(status)) => return status.to_string(),
            Err(_) => {
                let idle = link.pending.lock().is_empty();
                if idle {
                    heard = Instant::now();
                }
                if heard.elapsed() >= stall {
                    return "stalled".to_owned();
                }
                // Some answers take long; the link must not be taken for dead meanwhile.
                if !idle {
                    let kind = Some(Kind::Echo(wire::Echo {}));
                    let echo = wire::PeerMessage { kind, ..wire::PeerMessage::default() };
                    link.send(Lane::Urgent, echo, Box::new(|_| {}));
                }
                if peers.strong_count() == 0 {
                    return "stopping".to_owned();
                }
            }
        }
    }
}

async fn open(
    link: &Arc<Link>,
    peers: &Weak<Peers>,
    address: &str,
) -> Result<tonic::Streaming<wire::PeerFrame>, String> {
    let (hello, inbound) = dial(peers, address, Some(link.clone())).await?;
    let strong = peers.upgrade().ok_or("stopping")?;
    let met = strong.meet(&hello)?;
    if met != link.node {
        return Err(format!("{met} answers at the address of {}", link.node));
    }
    Ok(inbound)
}

/// Connects and exchanges first words. With a link, its frames follow on the stream.
async fn dial(
    peers: &Weak<Peers>,
    address: &str,
    link: Option<Arc<Link>>,
) -> Result<(wire::Hello, tonic::Streaming<wire::PeerFrame>), String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("bad address: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let hello = peers.upgrade().ok_or("stopping")?.hello();
    let first = wire::PeerBatch { hello: Some(hello), ..wire::PeerBatch::default() };
    let first = wire::PeerFrame { body: Bytes::from(first.encode_to_vec()) };
    let state = (Some(first), link, peers.clone());
    let outbound = futures::stream::unfold(state, |(first, link, peers)| async move {
        if let Some(first) = first {
            return Some((first, (None, link, peers)));
        }
        let frame = match &link {
            Some(link) => next_frame(link, &peers).await?,
            // A dialled seed: the stream stays open and silent until it is dropped.
            None => std::future::pending().await,
        };
        Some((frame, (None, link, peers)))
    });
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20);
    let response = client.link(Box::pin(outbound)).await.map_err(|status| status.to_string())?;
    let mut inbound = response.into_inner();
    let frame = inbound.message().await.map_err(|status| status.to_string())?;
    let batch = decode(frame.ok_or("closed before the first frame")?)?;
    let hello = batch.hello.ok_or("the first frame has no hello")?;
    peers.upgrade().ok_or("stopping")?.note_cluster(address, &hello);
    if hello.refusal.is_empty() { Ok((hello, inbound)) } else { Err(hello.refusal) }
}

pub(super) fn decode(frame: wire::PeerFrame) -> Result<wire::PeerBatch, String> {
    wire::PeerBatch::decode(frame.body).map_err(|error| format!("undecodable frame: {error}"))
}

fn take(link: &Link, peers: &Peers, frame: wire::PeerFrame) -> Result<(), String> {
    peers.metrics.peer_bytes_received.inc_by(frame.body.len() as u64);
    trace::event("receive", format_args!("{} from {}: {:x}", peers.me, link.node, frame.body));
    let batch = decode(frame)?;
    peers.hlc.observe(Timestamp(batch.clock));
    {
        let mut queues = link.queues.lock();
        if batch.bulk_bytes_taken > queues.bulk_taken {
            queues.bulk_taken = batch.bulk_bytes_taken;
            if !queues.bulk.is_empty() {
                link.ready.notify_one();
            }
        }
    }
    for message in batch.messages {
        let Some(answer) = link.pending.lock().remove(&message.seq) else { continue };
        let kind = message.kind.unwrap_or_else(|| Kind::Failed("an empty answer".to_owned()));
        answer(Ok(kind));
    }
    Ok(())
}

/// Meets the configured seeds until each was met once: that fills the address book.
pub(super) async fn dial_seeds(peers: Weak<Peers>) {
    let Some(strong) = peers.upgrade() else { return };
    let mut left: Vec<String> = strong.book.seeds().to_vec();
    drop(strong);
    while !left.is_empty() {
        let mut missed = Vec::new();
        for seed in left {
            let Some(strong) = peers.upgrade() else { return };
            let me = strong.book.me();
            let known = strong.book.all().iter().any(|other| other.internal == seed);
            drop(strong);
            if seed == me.internal || known {
                continue;
            }
            let dialled = timeout(CONNECT_TIMEOUT, dial(&peers, &seed, None)).await;
            let met = match dialled {
                Ok(Ok((hello, _stream))) => match peers.upgrade() {
                    Some(strong) => strong.meet(&hello).map(|_| ()),
                    None => return,
                },
                Ok(Err(why)) => Err(why),
                Err(_) => Err("no answer in time".to_owned()),
            };
            if let Err(why) = met {
                tracing::debug!(seed, why, "seed not met yet");
                missed.push(seed);
            }
        }
        left = missed;
        if !left.is_empty() {
            trace::event("timer", format_args!("dial seeds again"));
            sleep(Duration::from_millis(300)).await;
        }
    }
}
