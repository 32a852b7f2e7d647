//! `KV.Session`: many operations in flight on one stream, answered out of order.
//!
//! Bounds: operations that are accepted and not yet taken by the client's side of the stream, and
//! bytes of answers that wait. At a bound the session is not read any further, so a client that
//! does not take its answers is slowed down by its own flow control, and cut off if it takes
//! nothing for [`STALL_MAX`]. Reads that were accepted before that, and whose answers would go over
//! the bound, are answered `overloaded`.
//!
//! All sessions share what the node takes on (`router/admission.rs`). Requests over that are refused
//! before they are looked at, and their session is not read for a while.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quintet_proto::v1;
use tokio::sync::{Notify, mpsc};
use tonic::{Status, Streaming};

use super::{call, status::status};
use crate::{
    error::OpError,
    ids::NodeId,
    ops::metrics::{Metrics, Queue},
    request::{
        answer::{Answered, Answers},
        context::check_cluster,
        settle, weight,
    },
    router::{
        Router,
        admission::{self, Admission, Admitted},
        hints::client_routes,
    },
    size::Size,
    storage::format::descriptor::Descriptor,
    time::local::{sleep, timeout},
    trace,
    wire::{self, Inbound},
};

/// Answers of one frame.
const FRAME_ANSWERS_MAX: Size = Size::new("frame-answers", 1_024, 1);
/// Bytes of answers after which a frame takes no further one.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of answers that may wait in one session before it is not read any further.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Requests of one frame, in multiples of those that may be in flight: what is more is answered
/// `overloaded`, one by one, and beyond this the session ends.
const FRAME_WINDOWS_MAX: usize = 4;
/// Items of all batches of one frame; beyond this the session ends.
const FRAME_ITEMS_MAX: usize = 65_536;
/// Routes that go with one frame.
const FRAME_ROUTES_MAX: usize = 16;
/// Nodes that a client is told of.
const NODES_TOLD_MAX: usize = 64;
/// How long a client may take nothing while answers wait.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to say its first words.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Frames = wire::Outbound<v1::SessionFrame>;

/// An answer that waits for a frame, and what it counts as meanwhile.
struct Weighed {
    response: v1::SessionResponse,
    bytes: usize,
}

/// The answers of one frame.
#[derive(Default)]
struct Taken {
    responses: Vec<v1::SessionResponse>,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, Weighed { response, bytes }: Weighed) {
        self.responses.push(response);
        self.bytes += bytes;
    }
}

/// Where a session's answers gather.
struct Sink {
    answers: mpsc::UnboundedSender<Weighed>,
    /// Requests read from the stream whose answer is not yet in a frame.
    open: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// Told when answers were taken.
    taken: Notify,
    /// Where `open`, and how many of them are answered, are counted too.
    metrics: Arc<Metrics>,
    answered: AtomicUsize,
    admission: Arc<Admission>,
    /// Who leads the ranges of forwarded requests, since the last frame.
    routes: Mutex<Vec<(Arc<Descriptor>, NodeId)>>,
}

impl Sink {
    fn has_room(&self) -> bool {
        let waiting = self.waiting_bytes.load(Ordering::Acquire);
        waiting <= WAITING_BYTES_MAX && !self.admission.answers_are_full()
    }

    fn push(&self, id: u64, mut answered: Answered) {
        // One frame may have asked for more than memory holds, before any answer was there.
        if !self.has_room() {
            answered = weight::without_value(answered);
        }
        let bytes = weight::bytes(&answered);
        self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.admission.answers_wait(bytes);
        self.answered.fetch_add(1, Ordering::AcqRel);
        self.metrics.queue(Queue::Session).inc();
        // The session may be over; nobody waits then.
        self.answers.send(Weighed { response: answered.into_wire(id), bytes }).ok();
    }

    /// Answers what is not let in.
    fn refuse(&self, request: &v1::SessionRequest, error: OpError) {
        let error = settle::told(request.op.as_ref(), error);
        self.push(request.id, Answered::Failed(error));
    }

    fn took(&self, answers: &Taken) {
        let Taken { responses, bytes } = answers;
        self.waiting_bytes.fetch_sub(*bytes, Ordering::AcqRel);
        self.admission.answers_taken(*bytes);
        self.open.fetch_sub(responses.len(), Ordering::AcqRel);
        self.answered.fetch_sub(responses.len(), Ordering::AcqRel);
        let taken = responses.len() as u64;
        self.metrics.requests_in_flight.dec_by(taken);
        self.metrics.queue(Queue::Session).dec_by(taken);
        self.taken.notify_one();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // What nobody took any more.
        self.metrics.requests_in_flight.dec_by(*self.open.get_mut() as u64);
        self.metrics.queue(Queue::Session).dec_by(*self.answered.get_mut() as u64);
        self.admission.answers_taken(*self.waiting_bytes.get_mut());
    }
}

/// The way back of the requests of one frame that were admitted. It holds the frame's bytes for as long
/// as one of them does, and gives back the room of each with its answer.
struct FrameSink {
    sink: Arc<Sink>,
    admitted: Admitted,
}

impl Answers for FrameSink {
    fn answered(&self, id: u64, answered: Answered) {
        self.admitted.one_done();
        self.sink.push(id, answered);
    }

    fn has_room(&self) -> bool {
        self.sink.has_room()
    }

    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId) {
        let mut routes = self.sink.routes.lock();
        let told = routes.iter().any(|(known, _)| known.range == route.range);
        if !told && routes.len() < FRAME_ROUTES_MAX {
            routes.push((route.clone(), leader));
        }
    }
}

/// Opens a session: its answers are the returned stream.
pub(super) fn open(
    router: Arc<Router>,
    from: Option<SocketAddr>,
    inbound: Streaming<v1::SessionFrame>,
) -> Result<Frames, Status> {
    let most = u64::from(router.limits().sessions_max);
    if router.metrics().sessions_open.get() >= most {
        let error = OpError::overloaded(format!("{most} sessions are open; close some"));
        return Err(status(error));
    }
    if router.peers().identity().cluster.is_empty() {
        // Said here and not request by request: a client goes on to a node that knows better.
        return Err(status(router.peers().no_cluster()));
    }
    let (answers, queue) = mpsc::unbounded_channel();
    let sink = Arc::new(Sink {
        answers,
        open: AtomicUsize::new(0),
        waiting_bytes: AtomicUsize::new(0),
        taken: Notify::new(),
        metrics: router.metrics().clone(),
        answered: AtomicUsize::new(0),
        admission: router.admission().clone(),
        routes: Mutex::default(),
    });
    let (gone_tx, gone) = tokio::sync::oneshot::channel::<()>();
    let (ended_tx, ended) = tokio::sync::oneshot::channel::<Status>();
    let state = Outbound {
        welcome: Some(welcome(&router)),
        queue,
        sink: sink.clone(),
        router: router.clone(),
        ended: Some(ended),
        _gone: gone_tx,
    };
    let frames = futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(frame)) => Some((Ok(frame), Some(state))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    });
    let (inbound, frames) = wire::attach(router.peers().wire(), from, inbound, Box::pin(frames));
    tokio::spawn(async move {
        router.metrics().sessions_open.inc();
        let reading = read(&router, inbound, &sink);
        let ended = tokio::select! {
            biased;
            ended = reading => ended,
            // The client's side of the answers is closed.
            _ = gone => Ok(()),
        };
        router.metrics().sessions_open.dec();
        if let Err(status) = ended {
            tracing::debug!(%status, "session ended");
            ended_tx.send(status).ok();
        }
    });
    Ok(frames)
}

struct Outbound {
    welcome: Option<v1::SessionWelcome>,
    queue: mpsc::UnboundedReceiver<Weighed>,
    sink: Arc<Sink>,
    router: Arc<Router>,
    ended: Option<tokio::sync::oneshot::Receiver<Status>>,
    /// Dropped with the stream: the reader learns that nobody takes answers any more.
    _gone: tokio::sync::oneshot::Sender<()>,
}

impl Outbound {
    async fn next(&mut self) -> Result<Option<v1::SessionFrame>, Status> {
        let mut taken = Taken::default();
        if self.welcome.is_none() {
            let ended = self.ended.as_mut();
            let ended = async {
                match ended {
                    Some(ended) => ended.await.ok(),
                    None => None,
                }
            };
            tokio::select! {
                biased;
                received = self.queue.recv() => {
                    let Some(first) = received else { return Ok(None) };
                    taken.add(first);
                }
                status = ended => {
                    self.ended = None;
                    return match status {
                        Some(status) => Err(status),
                        // The client said all it had to say: what is open is still answered.
                        None => self.drain().await,
                    };
                }
            }
        }
        self.fill(&mut taken);
        Ok(Some(self.frame(taken)))
    }

    /// Adds what waits already, up to a frame.
    fn fill(&mut self, taken: &mut Taken) {
        while taken.responses.len() < FRAME_ANSWERS_MAX.get() && taken.bytes < FRAME_BYTES_MAX {
            let Ok(next) = self.queue.try_recv() else { return };
            taken.add(next);
        }
    }

    async fn drain(&mut self) -> Result<Option<v1::SessionFrame>, Status> {
        if self.sink.open.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let mut taken = Taken::default();
        if let Some(first) = self.queue.recv().await {
            taken.add(first);
        }
        self.fill(&mut taken);
        Ok(Some(self.frame(taken)))
    }

    fn frame(&mut self, taken: Taken) -> v1::SessionFrame {
        self.sink.took(&taken);
        let routes = std::mem::take(&mut *self.sink.routes.lock());
        let routes = routes.into_iter().filter_map(|(descriptor, leader)| {
            let address = self.router.peers().client_address(leader)?;
            Some(client_routes(&descriptor, &address))
        });
        let body = v1::SessionResponses {
            welcome: self.welcome.take(),
            responses: taken.responses,
            cluster_time: self.router.oracle().now().0,
            routes: routes.flatten().collect(),
        };
        let body = Bytes::from(body.encode_to_vec());
        let me = self.router.peers().me();
        trace::event("send", format_args!("{me} answers a session: {body:x}"));
        v1::SessionFrame { body }
    }
}

fn welcome(router: &Router) -> v1::SessionWelcome {
    let identity = router.peers().identity();
    v1::SessionWelcome {
        cluster_id: identity.cluster.clone(),
        incarnation: identity.incarnation,
        limits: Some(router.limits().advertised()),
        // Rooms have no numbers yet; 0 says so.
        room: 0,
        node_id: router.peers().me().0,
        nodes: nodes(router),
    }
}

/// The nodes that clients can reach, for them to choose from.
fn nodes(router: &Router) -> Vec<v1::NodePlace> {
    let reachable = router.peers().book().all().into_iter().filter(|node| !node.client.is_empty());
    let places = reachable.map(|node| v1::NodePlace {
        node_id: node.node.0,
        city: node.city,
        room: node.room,
        client_address: node.client,
    });
    places.take(NODES_TOLD_MAX).collect()
}

async fn read(
    router: &Arc<Router>,
    mut inbound: Inbound<v1::SessionFrame>,
    sink: &Arc<Sink>,
) -> Result<(), Status> {
    let most = router.limits().session_in_flight_max as usize;
    let first = timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the session said nothing for 10 s"))?;
    let Some(first) = first? else { return Ok(()) };
    let mut bytes = first.body.len();
    let first = decode(first, router)?;
    let hello = first
        .hello
        .ok_or_else(|| Status::invalid_argument("the first frame of a session carries a hello"))?;
    check_cluster(&router.peers().identity(), "session", &hello.cluster_id, hello.incarnation)
        .map_err(status)?;
    let mut requests = first.requests;
    loop {
        let refused = begin(router, requests, bytes, sink, most);
        wait_for_room(sink, most).await?;
        if refused > 0 {
            let rest = admission::rest(refused, router.metrics().sessions_open.get());
            trace::event("timer", format_args!("a session rests for {rest:?}"));
            sleep(rest).await;
        }
        let Some(frame) = inbound.message().await? else { return Ok(()) };
        bytes = frame.body.len();
        requests = decode(frame, router)?.requests;
    }
}

/// Begins the requests of a frame; how many were refused because the node has too much under way.
fn begin(
    router: &Arc<Router>,
    requests: Vec<v1::SessionRequest>,
    bytes: usize,
    sink: &Arc<Sink>,
    most: usize,
) -> usize {
    let items = requests.iter().map(|request| admission::items_bytes(request.op.as_ref()));
    let bytes = bytes + items.sum::<usize>();
    let admitted = router.admission().admit(requests.len(), bytes);
    let mut left = admitted.granted();
    let refused = requests.len() - left;
    let frame = Arc::new(FrameSink { sink: sink.clone(), admitted });
    for request in requests {
        let open = sink.open.fetch_add(1, Ordering::AcqRel);
        sink.metrics.requests_in_flight.inc();
        if open >= most {
            let error = OpError::overloaded(format!(
                "{most} requests are in flight on the session; wait for answers"
            ));
            sink.refuse(&request, error);
        } else if left == 0 {
            sink.refuse(&request, admission::refusal());
        } else {
            left -= 1;
            call::enter(router, request, &frame);
        }
    }
    refused
}

/// Returns once the session is within its bounds.
async fn wait_for_room(sink: &Sink, most: usize) -> Result<(), Status> {
    loop {
        let open = sink.open.load(Ordering::Acquire);
        let bytes = sink.waiting_bytes.load(Ordering::Acquire);
        if open <= most && bytes <= WAITING_BYTES_MAX {
            return Ok(());
        }
        if timeout(STALL_MAX, sink.taken.notified()).await.is_err() {
            return Err(Status::resource_exhausted("the session takes no answers; open a new one"));
        }
    }
}

/// Decodes a frame. Requests and items of batches without content are two bytes on the wire and hundreds
/// in memory: how many there are is looked at first.
fn decode(frame: v1::SessionFrame, router: &Router) -> Result<v1::SessionRequests, Status> {
    trace::event("receive", format_args!("a session frame: {:x}", frame.body));
    let most = FRAME_WINDOWS_MAX * router.limits().session_in_flight_max as usize;
    let (requests, items) = count(&frame.body).unwrap_or_default();
    let too_many = if requests > most {
        format!("a frame of the session has more than {most} requests; send fewer at once")
    } else if items > FRAME_ITEMS_MAX {
        format!("the batches of a frame have more than {FRAME_ITEMS_MAX} items; send fewer at once")
    } else {
        String::new()
    };
    if !too_many.is_empty() {
        return Err(status(OpError::invalid(too_many)));
    }
    v1::SessionRequests::decode(frame.body)
        .map_err(|error| Status::invalid_argument(format!("undecodable frame: {error}")))
}

/// How many fields an encoded `SessionRequests` has, which are mostly requests, and how many items all
/// their batches together. `None`: it is no message.
fn count(body: &[u8]) -> Option<(usize, usize)> {
    // Numbers of `requests`, `put_many` and its `items` in their messages.
    const REQUESTS: usize = 2;
    const PUT_MANY: usize = 8;
    let (mut requests, mut items) = (0, 0);
    for request in (Fields { left: body }) {
        let (number, request) = request?;
        requests += 1;
        if number != REQUESTS {
            continue;
        }
        for op in (Fields { left: request }) {
            let (number, op) = op?;
            if number == PUT_MANY {
                items += Fields { left: op }.count();
            }
        }
    }
    Some((requests, items))
}

/// The fields of an encoded message: numbers, and contents of those that have a length. `None` is what
/// is no field; it is the last one.
struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Option<(usize, &'a [u8])> {
        // A key is a varint, as lengths are.
        let key = prost::decode_length_delimiter(&mut self.left).ok()?;
        let length = match key & 7 {
            0 => prost::decode_length_delimiter(&mut self.left).ok().map(|_| 0)?,
            1 => 8,
            2 => prost::decode_length_delimiter(&mut self.left).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, left) = self.left.split_at_checked(length)?;
        self.left = left;
        Some((key >> 3, content))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(usize, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            self.left = &[];
        }
        Some(field)
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use quintet_proto::v1::session_request::Op;

    use super::*;

    #[test]
    fn fields_are_counted_without_decoding_them() {
        let hello = v1::SessionHello { cluster_id: "c".to_owned(), incarnation: u64::MAX };
        let full = v1::SessionRequest { id: u64::MAX, op: None };
        let requests = vec![full, v1::SessionRequest::default(), v1::SessionRequest::default()];
        let body = v1::SessionRequests { hello: Some(hello), requests }.encode_to_vec();
        assert_eq!(count(&body), Some((4, 0)));
        assert_eq!(count(&[]), Some((0, 0)));
        // A varint, eight bytes, four bytes; then what is cut short or of no kind.
        assert_eq!(
            count(&[0x08, 0xff, 0x01, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 1, 2, 3, 4]),
            Some((3, 0))
        );
        for wrong in [&body[..body.len() - 1], &[0x09, 1], &[0x0b], &[0x12, 0xff, 0xff], &[0xff]] {
            assert_eq!(count(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn items_of_batches_are_counted_without_decoding_them() {
        let many = |items| {
            let items = vec![v1::PutManyItem::default(); items];
            let op = Op::PutMany(v1::PutManyRequest { items, ..Default::default() });
            v1::SessionRequest { id: 1, op: Some(op) }
        };
        let get = v1::SessionRequest { id: 2, op: Some(Op::Get(v1::GetRequest::default())) };
        let requests = vec![many(3), get, many(0), many(1_000)];
        let body = v1::SessionRequests { hello: None, requests }.encode_to_vec();
        assert_eq!(count(&body), Some((4, 1_003)));
    }
}
