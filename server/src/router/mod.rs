//! From a key to the replica that serves it, here or on another node.
//!
//! Every node accepts every request. Where this node leads the key's range the request is decoded
//! and queued; where another does, it is forwarded over the link to that node. Whoever is asked and
//! does not lead, or does not hold the key, says so and says what it knows instead: the request goes
//! there, once more and no further, and this node knows better from then on. Only definite answers
//! are followed: nothing was begun.
//!
//! ```text
//!   mod.rs      dispatch, forward, correct      scan.rs   scans over several ranges
//!   routes.rs   key -> descriptor, as known     hints.rs  where clients had better go
//!   parts.rs    a scan's span, by ranges        admission.rs  how much the node takes on
//!   settle.rs   what an answer to a repetition says
//!   relay.rs    around a link that is down
//! ```
//!
//! # Invariants
//!
//! * A replica serves a request only if the key is in its range and the request was routed by the
//!   generation that it has ([`Router::admit`]); the executor, reads and apply look at the span again.
//! * A request is sent to a second node only where the first has done nothing.

pub mod admission;
mod hints;
pub(crate) mod once;
mod parts;
mod relay;
pub mod routes;
mod scan;
pub(crate) mod settle;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::RwLock;
use quintet_proto::{
    internal::v1 as wire,
    v1::{self, Code, RetryClass, session_request::Op, session_response::Result as Body},
};

use self::{admission::Admission, relay::Way, routes::Routes};
use crate::{
    api::{
        decode::{self, Decoded, Limits},
        kv::context_mut,
    },
    error::OpError,
    ids::{Generation, NodeId, RangeId},
    ops::{
        metrics::{Held, Metrics, Operation, Queue},
        requests::Named,
    },
    peer::{Kind, Lane, LinkDown, Peers},
    planted::{self, Bug},
    range::{
        replica::Replica,
        request::{Reply, ReplySink},
    },
    storage::codec::{self, Descriptor, RequestId},
    time::{Hlc, local::Instant},
};

pub use self::hints::client_routes;
pub(crate) use self::parts::SpanParts;

/// How often a request is sent on after a definite "not here".
const CORRECTIONS_MAX: u32 = 1;
/// Descriptors that one answer carries to correct a route.
const CORRECTING_DESCRIPTORS_MAX: usize = 256;

/// Takes what was answered by another node, as it came.
pub trait ForwardSink: ReplySink {
    /// An answer that is encoded already; it names its request.
    fn encoded(&self, response: v1::SessionResponse);

    /// Another node leads the range of what was asked.
    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId);
}

/// The ranges that a node knows and its replicas of them.
pub struct Router {
    routes: Routes,
    replicas: RwLock<BTreeMap<RangeId, Replica>>,
    /// Who leads ranges and in which term, as was heard; for those of which this node has no replica that
    /// votes, or whose replica does not know of that term yet.
    leaders: RwLock<BTreeMap<RangeId, (u64, NodeId)>>,
    relays: relay::Turns,
    scans: scan::Slots,
    admission: Arc<Admission>,
    peers: Arc<Peers>,
    hlc: Arc<Hlc>,
    metrics: Arc<Metrics>,
    limits: Limits,
    patience: Duration,
}

impl Router {
    /// A router that knows no range yet. After `patience` without any other node there is no hope for one in
    /// an election.
    pub fn new(
        peers: Arc<Peers>,
        hlc: Arc<Hlc>,
        metrics: Arc<Metrics>,
        limits: Limits,
        patience: Duration,
    ) -> Router {
        Router {
            patience,
            routes: Routes::default(),
            replicas: RwLock::default(),
            leaders: RwLock::default(),
            relays: relay::Turns::default(),
            scans: scan::Slots::default(),
            admission: Admission::new(&limits, metrics.clone()),
            peers,
            hlc,
            metrics,
            limits,
        }
    }

    /// What the node knows of where keys are.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Takes this node's replica of a range into use.
    pub fn add(&self, replica: Replica) {
        self.routes.learn(&replica.shared.state.descriptor());
        self.replicas.write().insert(replica.range, replica);
    }

    /// Another node leads a range, as was heard.
    pub fn heard_leader(&self, range: RangeId, leader: NodeId, term: u64) {
        // Only of ranges that this node knows: a peer can't make the map grow.
        if self.replica(range).is_some() || self.routes.knows(range) {
            let mut leaders = self.leaders.write();
            let known = leaders.entry(range).or_insert((term, leader));
            if known.0 <= term {
                *known = (term, leader);
            }
        }
    }

    /// Takes over what this node's own replicas know of their ranges by now.
    pub fn refresh_routes(&self) {
        for replica in self.replicas() {
            self.routes.learn(&replica.shared.state.descriptor());
        }
    }

    /// The node that leads a range, as far as this one knows.
    pub fn leader_of(&self, range: RangeId) -> Option<NodeId> {
        let heard = || self.leaders.read().get(&range).copied();
        let Some(replica) = self.replica(range) else { return heard().map(|(_, leader)| leader) };
        // The careless hand: "its replica knows best".
        let waits_for_disk = planted::active(Bug::HungDiskKeepsRequests);
        match heard() {
            // The replica has not heard of it: it does not vote yet, or its disk keeps it from taking notice.
            Some((term, leader)) if term > replica.term() && !waits_for_disk => Some(leader),
            Some((_, leader)) if !replica.members().is_voter(replica.id) => {
                Some(replica.leader_node().unwrap_or(leader))
            }
            _ => replica.leader_node(),
        }
    }

    /// Whether this node leads a range, as far as it knows.
    pub fn leads(&self, range: RangeId) -> bool {
        let leads = self.replica(range).is_some_and(|replica| replica.is_leader());
        leads && self.leader_of(range) == Some(self.peers.me())
    }

    /// Whether this node has reached no other for so long that nothing can be hoped from asking again.
    pub fn is_cut_off(&self) -> bool {
        self.peers.alone_for().is_some_and(|alone| alone > self.patience)
    }

    /// This node's replica of a range.
    pub fn replica(&self, range: RangeId) -> Option<Replica> {
        self.replicas.read().get(&range).cloned()
    }

    /// This node's replicas.
    pub fn replicas(&self) -> Vec<Replica> {
        self.replicas.read().values().cloned().collect()
    }

    /// What the node accepts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much the node takes on.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// The node's clock.
    pub fn hlc(&self) -> &Arc<Hlc> {
        &self.hlc
    }

    /// The node's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The other nodes.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// Serves a client's request: here, or on the node that leads its range.
    pub fn dispatch<S: ForwardSink + 'static>(
        self: &Arc<Self>,
        request: v1::SessionRequest,
        sink: &Arc<S>,
    ) {
        match settle::is_repetition(request.op.as_ref()) {
            true => self.begin(request, &Arc::new(settle::Repetition(sink.clone()))),
            false => self.begin(request, sink),
        }
    }

    fn begin<S: ForwardSink + 'static>(
        self: &Arc<Self>,
        mut request: v1::SessionRequest,
        sink: &Arc<S>,
    ) {
        let id = request.id;
        match self.decode(&mut request) {
            Ok(decoded) if self.spans_ranges(&decoded) => {
                scan::begin(self.clone(), request, decoded, sink.clone());
            }
            Ok(decoded) => self.route(request, decoded, sink.clone(), CORRECTIONS_MAX, None),
            Err(error) => self.refuse(sink.clone(), id, named(&request, None), error),
        }
    }

    /// Answers a request that was not begun here; it is counted and logged like those that were.
    fn refuse(&self, sink: Arc<dyn ReplySink>, id: u64, named: Named, error: OpError) {
        Reply::new(sink, id, self.metrics.clone(), named).send(Err(error));
    }

    /// Sends a request where its route says, or to a node that is said to know better.
    fn route<S: ForwardSink + 'static>(
        self: &Arc<Self>,
        request: v1::SessionRequest,
        decoded: Decoded,
        sink: Arc<S>,
        corrections: u32,
        better: Option<NodeId>,
    ) {
        let id = request.id;
        let Some(route) = self.routes.find(decoded.place()) else {
            return self.refuse(sink, id, named(&request, None), self.peers.no_cluster());
        };
        let leader = better.or_else(|| self.leader_of(route.range)).or_else(|| self.holder(&route));
        let Some(way) = self.way(&route, leader) else {
            let message = "the range has no leader at the moment; try again";
            let named = named(&request, Some(route.range));
            return self.refuse(sink, id, named, OpError::unavailable(message));
        };
        if way.node != self.peers.me() {
            return self.forward(way, route, request, sink, corrections);
        }
        let Some(replica) = self.replica(route.range) else {
            let message = "this node has no replica of the range; try again";
            let named = named(&request, Some(route.range));
            return self.refuse(sink, id, named, OpError::unavailable(message));
        };
        match self.admit(&replica, &decoded, route.generation) {
            Ok(()) => {
                self.note_span(&replica, &request, &*sink);
                let reply = self.reply(sink, id, &request, route.range);
                self.submit(&replica, decoded, reply);
            }
            Err(newer) if corrections > 0 => {
                newer.iter().for_each(|descriptor| self.routes.learn(descriptor));
                // A scan may turn out to go over several ranges.
                match self.spans_ranges(&decoded) {
                    true => scan::begin(self.clone(), request, decoded, sink),
                    false => self.route(request, decoded, sink, corrections - 1, None),
                }
            }
            Err(_) => {
                self.refuse(sink, id, named(&request, Some(route.range)), OpError::stale_route())
            }
        }
    }

    /// Tells who sent several keys which ones can go together, if it does not know.
    fn note_span<S: ForwardSink>(&self, replica: &Replica, request: &v1::SessionRequest, sink: &S) {
        let Some(Op::PutMany(many)) = &request.op else { return };
        let routed_by = many.context.as_ref().map_or((0, 0), |by| (by.range_id, by.generation));
        let descriptor = replica.shared.state.descriptor();
        if routed_by != (descriptor.range.0, descriptor.generation.0) {
            sink.note_route(&descriptor, self.peers.me());
        }
    }

    /// Some node that should have a replica, where nothing is known about the leader.
    fn holder(&self, route: &Descriptor) -> Option<NodeId> {
        if self.replica(route.range).is_some() {
            return None;
        }
        let me = self.peers.me();
        let mut nodes = route.replicas.iter().map(|(_, node)| *node);
        nodes.find(|node| *node != me && self.peers.is_live(*node))
    }

    /// Whether a replica may serve a request that was routed by a generation. `Err`: it has moved on;
    /// what is true by now, as far as this node knows.
    fn admit(
        &self,
        replica: &Replica,
        decoded: &Decoded,
        generation: Generation,
    ) -> Result<(), Vec<Arc<Descriptor>>> {
        let descriptor = replica.shared.state.descriptor();
        let admitted = generation >= descriptor.generation && decoded.lies_in(&descriptor);
        if admitted || planted::active(Bug::StaleRouteAccepted) {
            return Ok(());
        }
        self.metrics.stale_routes.inc();
        Err(self.newer(decoded))
    }

    /// The descriptors of this node's replicas where a request wants to go.
    fn newer(&self, decoded: &Decoded) -> Vec<Arc<Descriptor>> {
        let replicas = self.replicas.read();
        let descriptors = replicas.values().map(|replica| replica.shared.state.descriptor());
        let wanted = descriptors.filter(|descriptor| decoded.overlaps(descriptor));
        wanted.take(CORRECTING_DESCRIPTORS_MAX).collect()
    }

    /// Takes over what another node knows; whether it told anything.
    fn correct(&self, stored: &[bytes::Bytes]) -> bool {
        let told = stored.iter().filter_map(|stored| codec::decode::<Descriptor>(stored).ok());
        told.map(|descriptor| self.routes.learn(&Arc::new(descriptor))).count() > 0
    }

    /// Serves a request that another node forwarded: here or not at all.
    pub fn serve_forwarded(
        &self,
        mut forward: wire::Forward,
        range: RangeId,
        sink: Arc<dyn ReplySink>,
    ) {
        let mut request = forward.request.take().unwrap_or_default();
        let reply = self.reply(sink, request.id, &request, range);
        // First of all: a node that lost its disk has no cluster to compare the request's with.
        let Some(replica) = self.replica(range) else {
            return reply.send(Err(OpError::not_leader(None)));
        };
        let decoded = match self.decode(&mut request) {
            Ok(decoded) => decoded,
            Err(error) => return reply.send(Err(error)),
        };
        match self.admit(&replica, &decoded, Generation(forward.generation)) {
            Ok(()) => self.submit(&replica, decoded, reply),
            Err(_) => reply.send(Err(OpError::stale_route())),
        }
    }

    /// What goes with the answer to a forwarded request: where to go instead, if it was refused for
    /// having come to the wrong place.
    pub fn correction(
        &self,
        mut request: v1::SessionRequest,
        range: RangeId,
        response: v1::SessionResponse,
    ) -> wire::ForwardAnswer {
        let mut answer = wire::ForwardAnswer::default();
        match misrouted(&response) {
            Some(Code::NotLeader) => {
                answer.leader_node = self.leader_of(range).map_or(0, |node| node.0);
            }
            Some(_) => {
                let newer = self.decode(&mut request).map(|decoded| self.newer(&decoded));
                let newer = newer.unwrap_or_default();
                answer.descriptors =
                    newer.iter().map(|descriptor| codec::encode(&**descriptor).into()).collect();
            }
            None => {}
        }
        answer.response = Some(response);
        answer
    }

    fn reply(
        &self,
        sink: Arc<dyn ReplySink>,
        id: u64,
        request: &v1::SessionRequest,
        range: RangeId,
    ) -> Reply {
        Reply::new(sink, id, self.metrics.clone(), named(request, Some(range)))
    }

    fn decode(&self, request: &mut v1::SessionRequest) -> Result<Decoded, OpError> {
        decode::decode(request, &self.limits, &self.hlc, &self.peers.identity())
    }

    fn submit(&self, replica: &Replica, decoded: Decoded, reply: Reply) {
        match decoded {
            Decoded::Read(read) => replica.read(read.with_reply(reply)),
            Decoded::Write(write) => replica.write(write.with_reply(reply)),
        }
    }

    fn forward<S: ForwardSink + 'static>(
        self: &Arc<Self>,
        way: Way,
        route: Arc<Descriptor>,
        request: v1::SessionRequest,
        sink: Arc<S>,
        corrections: u32,
    ) {
        let Way { node, relay } = way;
        self.metrics.forwarded.inc();
        let id = request.id;
        let named = named(&request, Some(route.range));
        let waiting = Held::one(self.metrics.queue(Queue::Forward));
        let writes = writes(&request) && !is_too_late(&request);
        let again = (corrections > 0).then(|| request.clone());
        let generation = route.generation.0;
        let forward = wire::Forward { request: Some(request), generation, scan: None, relay };
        let message = wire::PeerMessage {
            range_id: route.range.0,
            kind: Some(Kind::Forward(forward)),
            ..wire::PeerMessage::default()
        };
        let router = self.clone();
        self.peers.send(
            node,
            Lane::Urgent,
            message,
            Box::new(move |answer| {
                drop(waiting);
                match answer {
                    Ok(Kind::ForwardAnswer(mut answer)) => {
                        let response = answer.response.take().unwrap_or_default();
                        match again.filter(|_| misrouted(&response).is_some()) {
                            Some(again) => {
                                router.follow(again, answer, node, sink, corrections - 1);
                            }
                            None => {
                                let leader = if relay { NodeId(answer.leader_node) } else { node };
                                if leader.0 != 0 {
                                    sink.note_route(&route, leader);
                                }
                                sink.encoded(v1::SessionResponse { id, ..response });
                            }
                        }
                    }
                    Ok(_) => router.refuse(sink, id, named, lost(writes)),
                    Err(LinkDown { was_sent: true }) => {
                        router.refuse(sink, id, named, lost(writes))
                    }
                    Err(LinkDown { was_sent: false }) => {
                        let address = router.peers.client_address(node);
                        router.refuse(sink, id, named, lost_sight_of(node, address));
                    }
                }
            }),
        );
    }

    /// A node that was asked is the wrong one: learns from its answer and goes on where that says.
    fn follow<S: ForwardSink + 'static>(
        self: &Arc<Self>,
        mut request: v1::SessionRequest,
        answer: wire::ForwardAnswer,
        asked: NodeId,
        sink: Arc<S>,
        corrections: u32,
    ) {
        let id = request.id;
        self.metrics.corrected.inc();
        let told = self.correct(&answer.descriptors);
        let better = Some(NodeId(answer.leader_node)).filter(|node| node.0 != 0 && *node != asked);
        if !told && better.is_none() {
            // It does not know either: an election is under way. The caller tries again.
            return self.refuse(sink, id, named(&request, None), OpError::not_leader(None));
        }
        match self.decode(&mut request) {
            Ok(decoded) if self.spans_ranges(&decoded) => {
                scan::begin(self.clone(), request, decoded, sink);
            }
            Ok(decoded) => self.route(request, decoded, sink, corrections, better),
            Err(error) => self.refuse(sink, id, named(&request, None), error),
        }
    }

    /// Whether a scan begins that goes over several ranges. Its further pages need no care: they are
    /// read at the version of the first.
    fn spans_ranges(&self, decoded: &Decoded) -> bool {
        let Some((start, end)) = decoded.first_page_span() else { return false };
        self.routes.covering(start, end, 2).len() > 1
    }
}

/// What the metrics and the log call a request that arrives now.
fn named(request: &v1::SessionRequest, range: Option<RangeId>) -> Named {
    let (operation, context) = match &request.op {
        Some(Op::Get(get)) => (Operation::Get, &get.context),
        Some(Op::Put(put)) => (Operation::Put, &put.context),
        Some(Op::Delete(delete)) => (Operation::Delete, &delete.context),
        Some(Op::Increment(increment)) => (Operation::Increment, &increment.context),
        Some(Op::Expire(expire)) => (Operation::Expire, &expire.context),
        Some(Op::PutMany(many)) => (Operation::PutMany, &many.context),
        Some(Op::Scan(scan)) => (Operation::Scan, &scan.context),
        Some(Op::DeleteRange(delete)) => (Operation::DeleteRange, &delete.context),
        None => (Operation::Get, &None),
    };
    let request = context.as_ref().and_then(|context| {
        let id = context.request_id.as_ref()?;
        let client: [u8; 16] = id.client.as_ref().try_into().ok()?;
        Some(RequestId {
            origin_room: u16::try_from(id.origin_room).ok()?,
            client: u128::from_be_bytes(client),
            sequence: id.sequence,
        })
    });
    Named { operation, range, request, started: Instant::now() }
}

/// The code of an answer that says that the request came to the wrong place and nothing was begun.
fn misrouted(response: &v1::SessionResponse) -> Option<Code> {
    let Some(Body::Error(error)) = &response.result else { return None };
    let definite = error.retry() == RetryClass::Reroute && !error.maybe_committed;
    Some(error.code()).filter(|code| definite && matches!(code, Code::NotLeader | Code::StaleRoute))
}

/// Whether a request may change something.
fn writes(request: &v1::SessionRequest) -> bool {
    !matches!(request.op, Some(Op::Get(_) | Op::Scan(_)))
}

/// Only with [`Bug::LostIsTooLate`].
fn is_too_late(request: &v1::SessionRequest) -> bool {
    if !planted::active(Bug::LostIsTooLate) {
        return false;
    }
    // The careless hand: "there is no time left to ask again, so it has failed".
    let timeout_ms = request.op.clone().map(|mut op| context_mut(&mut op).timeout_ms);
    timeout_ms.is_some_and(|ms| (1..=300).contains(&ms))
}

/// The link to a leader is down, and nothing was sent.
fn lost_sight_of(leader: NodeId, address: Option<String>) -> OpError {
    let at = address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let message = format!(
        "this node does not reach the leader, node {}{at}, nor a node that does; ask there, or try again",
        leader.0
    );
    OpError { hint: address, ..OpError::unavailable(message) }
}

/// The link to a leader broke behind a request.
fn lost(may_have_acted: bool) -> OpError {
    if may_have_acted {
        OpError::ambiguous("the link to the leader broke; ask again with the same id")
    } else {
        OpError::unavailable("the leader can't be reached at the moment; try again")
    }
}
