//! The dialling side of a link: queues, frames, pending requests, redial. What is said of it: `standing.rs`.
//!
//! A link lives as long as the peer is admitted, and has one *life* after another. A life begins with a connection and
//! the exchange of hellos, and ends when the connection closes or stalls. Queues and pending requests belong to the
//! life: when it ends they all fail, and nothing is carried over. Carrying over was rejected, because it is not
//! known what the other side took of them: the sender decides whether it may repeat a request.
//!
//! # Invariants
//!
//! * Each request is answered once, by the peer or by [`LinkDown`], which says whether it may have been sent
//!   (`Life::send`, `Life::end`; `Living` ends a life however its function is left).
//! * Every queue is bounded: requests by number, urgent ones by bytes too, bulk that is under way by the credits of the
//!   receiver (`Life::send`, `Life::next`).
//! * An urgent message waits behind one frame of bulk at most.
//! * Both ends are who the other takes them for before anything else is sent (`open`, `Peers::meet`).
//!
//! # On a crash
//!
//! Nothing here is stored. The other end's crash ends the life; a dial that is refused, or answered by a later start of
//! the node, tells `departures.rs` that the process has ended.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quintet_proto::internal::v1::{self as wire, peer_client::PeerClient};
use tokio::sync::Notify;

use super::{
    FRAME_BYTES_MAX, Kind, Peers,
    departures::{OtherEnd, is_refusal},
    says::Says,
    standing::{Line, Reach, Standing, reason, told},
    wan,
};
use crate::{
    ids::NodeId,
    size::Size,
    time::local::{Instant, sleep, sleep_until, timeout},
    trace,
};

/// Requests that may be pending on a link; beyond it a request fails at once.
const PENDING_MAX: usize = 65_536;
/// Bytes on the urgent lane that may wait for the wire; beyond it a request fails at once.
const URGENT_WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes of log entries under way, sent and not yet taken by the receiver.
const BULK_WINDOW_BYTES: u64 = 8 << 20;
/// Bytes of log entries in one frame: what an urgent message may have to wait behind.
const FRAME_BULK_BYTES_MAX: usize = 256 << 10;
/// Messages of one frame.
const FRAME_MESSAGES_MAX: Size = Size::new("frame-messages", 4_096, 8);
/// A connection whose other end does not even answer pings ends, whatever it still had to send.
const KEEPALIVE: Duration = Duration::from_secs(10);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const REDIAL_MIN: Duration = Duration::from_millis(50);
const REDIAL_SPREAD_MS: u64 = 150;
/// A link that was there for this long is dialled at once where it is closed, without a pause.
const REDIAL_AT_ONCE_AFTER: Duration = Duration::from_secs(1);

/// Which queue a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Votes, heartbeats, forwarded requests.
    Urgent,
    /// Log entries of about this many bytes.
    Bulk(usize),
}

/// The link went down before the answer came, or was not up, or too much waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link to the node is down")]
pub struct LinkDown {
    /// Whether the request may have reached the other side.
    pub was_sent: bool,
}

/// Takes the answer to a request, once.
pub(super) type OnAnswer = Box<dyn FnOnce(Result<Kind, LinkDown>) + Send>;

/// A link to one node.
pub struct Link {
    node: NodeId,
    life: Mutex<Option<Arc<Life>>>,
    other_end: OtherEnd,
    standing: Mutex<Standing>,
}

impl Link {
    pub(super) fn start(node: NodeId, peers: Weak<Peers>) -> Arc<Link> {
        let standing = Mutex::new(Standing::new(Instant::now()));
        let (life, other_end) = (Mutex::default(), OtherEnd::default());
        let link = Arc::new(Link { node, life, other_end, standing });
        tokio::spawn(keep_up(link.clone(), peers));
        link
    }

    /// Whether messages go through at the moment.
    pub fn is_up(&self) -> bool {
        self.life.lock().is_some()
    }

    /// Whether nobody listens at the other end: the process is not there.
    pub fn is_gone(&self) -> bool {
        self.other_end.is_gone()
    }

    /// Whether messages go through, since when, and why not.
    pub(super) fn reach(&self) -> Reach {
        self.standing.lock().reach(Instant::now())
    }

    fn rose(&self, address: &str) {
        let line = self.standing.lock().rises(Instant::now());
        if let Some(Line::Regained(after)) = line {
            tracing::info!(node = %self.node, address, ?after, "a node is reached again");
        }
    }

    fn failed(&self, address: &str, why: &str) {
        tracing::debug!(node = %self.node, address, why, "link down");
        let line = self.standing.lock().fails(Instant::now(), address, why.to_owned());
        if let Some(Line::Lost(since)) = line {
            tracing::warn!(node = %self.node, address, why, ?since, "a node can't be reached");
        }
    }

    /// Messages that wait for the wire: urgent ones, and bulk.
    pub fn waiting(&self) -> (usize, usize) {
        let life = self.life.lock().clone();
        life.map_or((0, 0), |life| {
            let state = life.state.lock();
            (state.urgent.len(), state.bulk.len())
        })
    }

    /// Queues a request. `answer` is called at once where the link is down, or too much waits for it.
    pub fn send(&self, lane: Lane, message: wire::PeerMessage, answer: OnAnswer) {
        let life = self.life.lock().clone();
        match life {
            Some(life) => life.send(lane, message, answer),
            None => answer(Err(LinkDown { was_sent: false })),
        }
    }
}

/// One life of a link: what it owns ends with it.
///
/// The connection below may outlive it by any time, and goes on asking for frames: it must find
/// nothing there, or it would take what belongs to its successor to where nobody reads the answers.
#[derive(Default)]
struct Life {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    ended: bool,
    next_seq: u64,
    pending: BTreeMap<u64, OnAnswer>,
    urgent: VecDeque<(wire::PeerMessage, usize)>,
    urgent_bytes: usize,
    bulk: VecDeque<(wire::PeerMessage, usize)>,
    bulk_sent: u64,
    bulk_taken: u64,
}

/// What a connection finds to send.
enum Next {
    Frame(Vec<wire::PeerMessage>),
    /// Nothing, or no credit.
    Later,
    Ended,
}

impl Life {
    fn send(&self, lane: Lane, mut message: wire::PeerMessage, answer: OnAnswer) {
        let refused = {
            let mut state = self.state.lock();
            if state.ended
                || state.pending.len() >= PENDING_MAX
                || (lane == Lane::Urgent && state.urgent_bytes >= URGENT_WAITING_BYTES_MAX)
            {
                Some(answer)
            } else {
                state.next_seq += 1;
                message.seq = state.next_seq;
                state.pending.insert(message.seq, answer);
                match lane {
                    Lane::Urgent => {
                        let bytes = message.encoded_len();
                        state.urgent_bytes += bytes;
                        state.urgent.push_back((message, bytes));
                    }
                    Lane::Bulk(bytes) => state.bulk.push_back((message, bytes)),
                }
                None
            }
        };
        match refused {
            Some(answer) => answer(Err(LinkDown { was_sent: false })),
            None => self.ready.notify_one(),
        }
    }

    /// Fails everything pending; nothing is sent any more.
    fn end(&self) {
        let pending = {
            let mut state = self.state.lock();
            let pending = std::mem::take(&mut state.pending);
            *state = State { ended: true, ..State::default() };
            pending
        };
        self.ready.notify_one();
        for (_, answer) in pending {
            answer(Err(LinkDown { was_sent: true }));
        }
    }

    fn next(&self) -> Next {
        let mut state = self.state.lock();
        if state.ended {
            return Next::Ended;
        }
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < FRAME_MESSAGES_MAX.get() && bytes < FRAME_BYTES_MAX {
            let Some((message, size)) = state.urgent.pop_front() else { break };
            state.urgent_bytes -= size;
            bytes += size;
            messages.push(message);
        }
        let mut bytes = 0;
        while messages.len() < FRAME_MESSAGES_MAX.get() && bytes < FRAME_BULK_BYTES_MAX {
            if state.bulk_sent.saturating_sub(state.bulk_taken) >= BULK_WINDOW_BYTES {
                break;
            }
            let Some((message, size)) = state.bulk.pop_front() else { break };
            state.bulk_sent += size as u64;
            bytes += size;
            messages.push(message);
        }
        if messages.is_empty() { Next::Later } else { Next::Frame(messages) }
    }

    fn is_idle(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    fn answered(&self, seq: u64) -> Option<OnAnswer> {
        self.state.lock().pending.remove(&seq)
    }

    /// The other side has taken `bulk_taken` bytes of bulk since the life began.
    fn credit(&self, bulk_taken: u64) {
        let mut state = self.state.lock();
        if bulk_taken > state.bulk_taken {
            state.bulk_taken = bulk_taken;
            if !state.bulk.is_empty() {
                self.ready.notify_one();
            }
        }
    }
}

/// Ends a life however the function that leads it is left.
struct Living(Arc<Life>);

impl Living {
    fn begin() -> Living {
        Living(Arc::default())
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The next frame for the wire; none once the life has ended.
async fn next_frame(
    life: &Life,
    peers: &Weak<Peers>,
    to: Option<NodeId>,
) -> Option<wire::PeerFrame> {
    loop {
        // What other tasks that are ready to run have for the peer goes into the same frame.
        tokio::task::yield_now().await;
        match life.next() {
            Next::Ended => return None,
            Next::Later => life.ready.notified().await,
            Next::Frame(messages) => {
                let peers = peers.upgrade()?;
                let batch = wire::PeerBatch {
                    messages,
                    known: peers.oracle.known().block().0,
                    ..wire::PeerBatch::default()
                };
                let body = Bytes::from(batch.encode_to_vec());
                peers.metrics.peer_bytes_sent.inc_by(body.len() as u64);
                let to = to.unwrap_or(NodeId(0));
                let says = Says(&body);
                trace::event("send", format_args!("{} to {to} {says}: {body:x}", peers.me));
                return Some(wire::PeerFrame { body });
            }
        }
    }
}

async fn keep_up(link: Arc<Link>, peers: Weak<Peers>) {
    loop {
        let Some(strong) = peers.upgrade() else { return };
        if !strong.admits(link.node) {
            return;
        }
        let address = strong.book.get(link.node).map(|address| address.internal);
        let pause = REDIAL_MIN + Duration::from_millis((strong.random)() % REDIAL_SPREAD_MS);
        drop(strong);
        let begun = Instant::now();
        if let Some(address) = address {
            let living = Living::begin();
            let ended = run(&link, &living.0, &peers, &address).await;
            let was_up = link.life.lock().take().is_some();
            drop(living);
            if let Some(peers) = peers.upgrade() {
                peers.metrics.peer_redials.inc();
                if ended.is_refused && link.other_end.refuses() {
                    peers.departures.note(link.node);
                }
            }
            link.failed(&address, &ended.why);
            // A connection that was closed: whether the process is there is known by the next one, and
            // its ranges wait for that.
            if was_up && ended.is_closed && begun.elapsed() >= REDIAL_AT_ONCE_AFTER {
                continue;
            }
        }
        trace::event("timer", format_args!("redial {} in {pause:?}", link.node));
        sleep(pause).await;
    }
}

/// Why a link went down, or did not come up.
struct Down {
    why: String,
    /// Nobody listens at its address.
    is_refused: bool,
    /// The connection was closed, or broke; the link was not given up by this side.
    is_closed: bool,
}

impl<S: Into<String>> From<S> for Down {
    fn from(why: S) -> Down {
        Down { why: why.into(), is_refused: false, is_closed: false }
    }
}

impl Down {
    fn closed(why: impl Into<String>) -> Down {
        Down { is_closed: true, ..Down::from(why) }
    }
}

/// One life of a link; returns why it ended.
async fn run(link: &Link, life: &Arc<Life>, peers: &Weak<Peers>, address: &str) -> Down {
    let opened = timeout(CONNECT_TIMEOUT, open(link, life, peers, address)).await;
    let mut inbound = match opened {
        Ok(Ok(inbound)) => inbound,
        Ok(Err(down)) => return down,
        Err(_) => return "no connection in time".into(),
    };
    *link.life.lock() = Some(life.clone());
    link.rose(address);
    let Some(stall) = peers.upgrade().map(|peers| peers.stall) else {
        return "stopping".into();
    };
    let tick = stall / 4;
    let mut heard = Instant::now();
    // One timer for all frames, not one for each.
    let mut look = std::pin::pin!(sleep_until(heard + tick));
    loop {
        tokio::select! {
            biased;
            frame = inbound.message() => match frame {
                Ok(Some(frame)) => {
                    heard = Instant::now();
                    let Some(peers) = peers.upgrade() else { return "stopping".into() };
                    if let Err(why) = take(link.node, life, &peers, frame) {
                        return why.into();
                    }
                }
                Ok(None) => return Down::closed("closed by the other side"),
                Err(status) => return Down::closed(told(&status)),
            },
            () = &mut look => {
                let Some(strong) = peers.upgrade() else { return "stopping".into() };
                let directory = strong.book.get(link.node).map_or(0, |to| to.directory);
                if let Some(why) = strong.turned_away(link.node, directory) {
                    return why.into();
                }
                drop(strong);
                if heard.elapsed() < tick {
                    look.set(sleep_until(heard + tick));
                    continue;
                }
                look.set(sleep_until(Instant::now() + tick));
                let idle = life.is_idle();
                if idle {
                    heard = Instant::now();
                }
                if heard.elapsed() >= stall {
                    return "stalled".into();
                }
                // Some answers take long; the link must not be taken for dead meanwhile.
                if !idle {
                    let kind = Some(Kind::Echo(wire::Echo {}));
                    let echo = wire::PeerMessage { kind, ..wire::PeerMessage::default() };
                    life.send(Lane::Urgent, echo, Box::new(|_| {}));
                }
            }
        }
    }
}

async fn open(
    link: &Link,
    life: &Arc<Life>,
    peers: &Weak<Peers>,
    address: &str,
) -> Result<tonic::Streaming<wire::PeerFrame>, Down> {
    let strong = peers.upgrade().ok_or("stopping")?;
    let said = strong.book.me().epoch;
    let one_way = strong.book.get(link.node).map(|to| strong.one_way(&to)).unwrap_or_default();
    drop(strong);
    let (hello, inbound) = dial(peers, address, one_way, life, Some(link.node)).await?;
    if !hello.refusal.is_empty() {
        return Err(hello.refusal.into());
    }
    let strong = peers.upgrade().ok_or("stopping")?;
    let met = strong.meet(&hello).map_err(|refusal| refusal.to_string())?;
    if strong.book.me().epoch != said {
        return Err("it remembers a later start of this node than this one: said again".into());
    }
    if met != link.node {
        return Err(format!("{met} answers at the address of {}", link.node).into());
    }
    let epoch = hello.me.as_ref().map_or(0, |me| me.epoch);
    if link.other_end.answers(epoch) {
        strong.departures.note(link.node);
    }
    Ok(inbound)
}

/// Connects and exchanges first words; theirs may be a refusal. What is sent in the life follows on the
/// stream, which ends with it.
async fn dial(
    peers: &Weak<Peers>,
    address: &str,
    one_way: Duration,
    life: &Arc<Life>,
    to: Option<NodeId>,
) -> Result<(wire::Hello, tonic::Streaming<wire::PeerFrame>), Down> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("bad address: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true);
    let channel = wan::connect(&endpoint, one_way)
        .await
        .map_err(|error| Down { is_refused: is_refusal(&error), ..Down::from(reason(&error)) })?;
    let hello = peers.upgrade().ok_or("stopping")?.hello();
    let first = wire::PeerBatch { hello: Some(hello), ..wire::PeerBatch::default() };
    let first = wire::PeerFrame { body: Bytes::from(first.encode_to_vec()) };
    let state = (Some(first), life.clone(), peers.clone());
    let outbound = futures::stream::unfold(state, move |(first, life, peers)| async move {
        let frame = match first {
            Some(first) => first,
            None => next_frame(&life, &peers, to).await?,
        };
        Some((frame, (None, life, peers)))
    });
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20);
    let response = client.link(Box::pin(outbound)).await.map_err(|status| told(&status))?;
    let mut inbound = response.into_inner();
    let frame = inbound.message().await.map_err(|status| told(&status))?;
    let batch = decode(frame.ok_or("closed before the first frame")?)?;
    let hello = batch.hello.ok_or("the first frame has no hello")?;
    let strong = peers.upgrade().ok_or("stopping")?;
    strong.note_cluster(address, &hello);
    strong.note_twin(address, &hello);
    strong.note_no_member(&hello);
    Ok((hello, inbound))
}

pub(super) fn decode(frame: wire::PeerFrame) -> Result<wire::PeerBatch, String> {
    wire::PeerBatch::decode(frame.body).map_err(|error| format!("undecodable frame: {error}"))
}

fn take(from: NodeId, life: &Life, peers: &Peers, frame: wire::PeerFrame) -> Result<(), String> {
    peers.metrics.peer_bytes_received.inc_by(frame.body.len() as u64);
    trace::event("receive", format_args!("{} from {from}: {:x}", peers.me, frame.body));
    let batch = decode(frame)?;
    peers.learn_time(&batch);
    life.credit(batch.bulk_bytes_taken);
    for message in batch.messages {
        let Some(answer) = life.answered(message.seq) else { continue };
        let kind = message.kind.unwrap_or_else(|| Kind::Failed("an empty answer".to_owned()));
        answer(Ok(kind));
    }
    Ok(())
}

/// Meets the configured seeds until each was met once: that fills the address book. A seed that is not met
/// is one line in the log, and another when it is.
pub(super) async fn dial_seeds(peers: Weak<Peers>) {
    let Some(strong) = peers.upgrade() else { return };
    let begun = Instant::now();
    let seeds = strong.book.seeds().iter().cloned();
    let mut left: Vec<_> = seeds.map(|seed| (seed, Standing::new(begun))).collect();
    drop(strong);
    while !left.is_empty() {
        let mut missed = Vec::new();
        for (seed, mut standing) in left {
            let Some(strong) = peers.upgrade() else { return };
            let me = strong.book.me();
            let known = strong.book.all().iter().any(|other| other.internal == seed);
            drop(strong);
            let met = match seed == me.internal || known {
                true => Ok(()),
                false => meet_seed(&peers, &seed).await,
            };
            let Some(strong) = peers.upgrade() else { return };
            strong.note_seed(&seed, met.clone().err());
            drop(strong);
            match met {
                Ok(()) => {
                    if let Some(Line::Regained(after)) = standing.rises(Instant::now()) {
                        tracing::info!(seed, ?after, "a seed is met");
                    }
                }
                Err(why) => {
                    tracing::debug!(seed, why, "seed not met yet");
                    let line = standing.fails(Instant::now(), &seed, why.clone());
                    if let Some(Line::Lost(since)) = line {
                        tracing::warn!(seed, why, ?since, "a seed is not met");
                    }
                    missed.push((seed, standing));
                }
            }
        }
        left = missed;
        if !left.is_empty() {
            trace::event("timer", format_args!("dial seeds again"));
            sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Dials a seed once. `Err` says why nobody was met.
async fn meet_seed(peers: &Weak<Peers>, seed: &str) -> Result<(), String> {
    let living = Living::begin();
    let dialled =
        timeout(CONNECT_TIMEOUT, dial(peers, seed, Duration::ZERO, &living.0, None)).await;
    let dialled = dialled.map_err(|_| "no answer in time".to_owned())?;
    let (hello, _stream) = dialled.map_err(|down| down.why)?;
    let strong = peers.upgrade().ok_or("stopping")?;
    if strong.is_me(&hello) {
        // One list of seeds for all nodes is usual.
        return Ok(());
    }
    if !hello.refusal.is_empty() {
        return Err(hello.refusal);
    }
    strong.meet(&hello).map(drop).map_err(|refusal| refusal.to_string())
}
