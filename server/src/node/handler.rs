//! What a node answers its peers.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use prost::Message as _;
use quintet_proto::{internal::v1 as wire, v1};
use tokio::sync::oneshot;

use super::{bootstrap::Bootstrap, disk::DiskNews, reach, snapshot};
use crate::{
    api::{encode, encode_response},
    error::OpError,
    ids::{Generation, NodeId, RangeId, ReplicaId},
    peer::{Handler, Kind, SnapshotPipe},
    planted::{self, Bug},
    range::{
        leadership,
        replica::Replica,
        request::{OpResult, ReplySink},
    },
    router::admission::{self, Admitted},
};

/// Bytes of answers to forwarded requests that may wait for their links; over it reads are refused.
/// What one client that takes nothing costs the cluster is this and, on the way to it, the frames of
/// a link (`peer/server.rs`) and of its session (`api/session.rs`), encoded and decoded.
const WAITING_BYTES_MAX: usize = 32 << 20;

pub(super) struct NodeHandler {
    /// The peers hold this handler and the node holds the peers: a node that has ended must go.
    bootstrap: Weak<Bootstrap>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl NodeHandler {
    pub(super) fn new(bootstrap: &Arc<Bootstrap>) -> NodeHandler {
        NodeHandler { bootstrap: Arc::downgrade(bootstrap), waiting_bytes: Arc::default() }
    }
}

/// The replica that a message is for: never another one than it names.
fn addressed(bootstrap: &Bootstrap, message: &wire::PeerMessage) -> Option<Replica> {
    let replica = bootstrap.router().replica(RangeId(message.range_id))?;
    (replica.id.0 == message.to_replica).then_some(replica)
}

fn failed(why: impl Into<String>) -> BoxFuture<'static, Option<Kind>> {
    let why = why.into();
    async move { Some(Kind::Failed(why)) }.boxed()
}

impl Handler for NodeHandler {
    fn handle(
        &self,
        from: NodeId,
        mut message: wire::PeerMessage,
    ) -> BoxFuture<'static, Option<Kind>> {
        let Some(kind) = message.kind.take() else { return failed("an empty request") };
        let Some(bootstrap) = self.bootstrap.upgrade() else {
            return failed("the node is stopping");
        };
        match kind {
            Kind::Append(_) | Kind::Vote(_) | Kind::PreVote(_) | Kind::Transfer(_) => {
                match addressed(&bootstrap, &message) {
                    Some(replica) => {
                        if matches!(&kind, Kind::Transfer(to) if to.to_replica == replica.id.0) {
                            bootstrap.handovers.lock().returns(replica.range);
                        }
                        raft(replica, from, kind)
                    }
                    None => failed("no such replica here"),
                }
            }
            Kind::Forward(forward) if forward.scan.is_some() => {
                let (router, range) = (bootstrap.router().clone(), RangeId(message.range_id));
                let step = forward.scan.and_then(|step| step.kind);
                async move {
                    let generation = Generation(forward.generation);
                    let step = router.serve_step(range, generation, step, forward.relay);
                    Some(Kind::ForwardAnswer(step.await))
                }
                .boxed()
            }
            Kind::Forward(forward) => self.forward(&bootstrap, forward, RangeId(message.range_id)),
            Kind::Claims(claims) => {
                let holds = claims.claims.iter().map(|claim| holds(&bootstrap, claim)).collect();
                let answer = Kind::ClaimsAnswer(wire::ClaimsAnswer { holds });
                async { Some(answer) }.boxed()
            }
            Kind::Reach(_) => async move {
                let node_ids = reach::reached(&bootstrap).await.into_iter().map(|node| node.0);
                Some(Kind::ReachAnswer(wire::ReachAnswer { node_ids: node_ids.collect() }))
            }
            .boxed(),
            Kind::Ping(ping) => {
                heard(&bootstrap, from, ping);
                async { Some(Kind::Pong(wire::Pong {})) }.boxed()
            }
            Kind::Bootstrap(plan) => {
                async move { Some(Kind::BootstrapAnswer(bootstrap.take_from(plan).await)) }.boxed()
            }
            Kind::Drain(request) => {
                async move { Some(drained(bootstrap.drain_asked(request).await)) }.boxed()
            }
            Kind::DrainFor(request) => {
                async move { Some(drained(bootstrap.drain_here(request).await)) }.boxed()
            }
            Kind::Enlist(plan) => async move {
                let (refusal, never_lost) = match bootstrap.enlist(plan).await {
                    Ok(never_lost) => (String::new(), never_lost),
                    Err(why) => (why, false),
                };
                Some(Kind::EnlistAnswer(wire::EnlistAnswer { refusal, never_lost }))
            }
            .boxed(),
            Kind::HoldReplica(offer) => async move {
                let held = bootstrap.hold(RangeId(message.range_id), offer).await;
                let answer = match held {
                    Ok(held) => wire::HoldReplicaAnswer {
                        replica_id: held.0,
                        ..wire::HoldReplicaAnswer::default()
                    },
                    Err(refusal) => wire::HoldReplicaAnswer { refusal, replica_id: 0 },
                };
                Some(Kind::HoldReplicaAnswer(answer))
            }
            .boxed(),
            Kind::ReplaceReplica(request) => async move {
                let (range, node) = (RangeId(message.range_id), NodeId(request.node_id));
                let allowed = Duration::from_millis(request.timeout_ms.into());
                let done = bootstrap.replace_replica(range, node, allowed).await;
                let (waits_for, was_done) = match done {
                    Ok(was_done) => (String::new(), was_done),
                    Err(why) => (why, false),
                };
                let answer = wire::ReplaceReplicaAnswer { waits_for, was_done };
                Some(Kind::ReplaceReplicaAnswer(answer))
            }
            .boxed(),
            Kind::Replace(request) => async move {
                let result = match bootstrap.replace(request, false).await {
                    Ok(done) => wire::replace_answer::Result::Ok(done),
                    Err(error) => wire::replace_answer::Result::Error(error),
                };
                Some(Kind::ReplaceAnswer(wire::ReplaceAnswer { result: Some(result) }))
            }
            .boxed(),
            Kind::Init(request) => async move {
                let result = match bootstrap.init(request, false).await {
                    Ok(formed) => wire::init_answer::Result::Ok(formed),
                    Err(error) => wire::init_answer::Result::Error(error),
                };
                Some(Kind::InitAnswer(wire::InitAnswer { result: Some(result) }))
            }
            .boxed(),
            _ => failed("an answer where a request belongs"),
        }
    }

    fn snapshot(
        &self,
        from: NodeId,
        offer: wire::SnapshotOffer,
        mut pipe: SnapshotPipe,
    ) -> BoxFuture<'static, ()> {
        let bootstrap = self.bootstrap.upgrade();
        async move {
            match bootstrap {
                Some(bootstrap) => snapshot::receive(&bootstrap, from, offer, pipe).await,
                None => pipe.refuse("the node is stopping").await,
            }
        }
        .boxed()
    }
}

impl NodeHandler {
    fn forward(
        &self,
        bootstrap: &Bootstrap,
        forward: wire::Forward,
        range: RangeId,
    ) -> BoxFuture<'static, Option<Kind>> {
        let request = forward.request.clone().unwrap_or_default();
        let router = bootstrap.router().clone();
        let bytes = request.encoded_len() + admission::items_bytes(request.op.as_ref());
        let admitted = match router.admission().admit_one(bytes) {
            Ok(admitted) => admitted,
            Err(error) => {
                let response = Some(encode_response(request.id, Err(error)));
                let answer = wire::ForwardAnswer { response, ..wire::ForwardAnswer::default() };
                return async move { Some(Kind::ForwardAnswer(answer)) }.boxed();
            }
        };
        let (tx, rx) = oneshot::channel();
        let waiting_bytes = self.waiting_bytes.clone();
        if forward.relay && !router.leads(range) {
            let done = Box::new(move |answer| {
                let _admitted = admitted;
                // The link may have gone.
                tx.send(Waiting::of(answer, waiting_bytes)).ok();
            });
            router.relay(forward, range, done);
            return async move { Some(Kind::ForwardAnswer(rx.await.ok()?.take())) }.boxed();
        }
        let sink = Arc::new(ForwardedOnce {
            back: Mutex::new(Some(tx)),
            waiting_bytes,
            _admitted: admitted,
        });
        router.serve_forwarded(forward, range, sink);
        async move {
            let response = rx.await.ok()?.take().response.unwrap_or_default();
            Some(Kind::ForwardAnswer(router.correction(request, range, response)))
        }
        .boxed()
    }
}

/// Whether a replica of this node follows a leader; never another one than it names.
fn holds(bootstrap: &Bootstrap, claim: &wire::Claim) -> bool {
    let replica = bootstrap.router().replica(RangeId(claim.range_id));
    if planted::active(Bug::ClaimsAnsweredBlindly) {
        // The careless hand: "who claims it will know".
        return replica.is_some_and(|replica| replica.id.0 == claim.to_replica);
    }
    replica.is_some_and(|replica| {
        replica.id.0 == claim.to_replica
            && leadership::follows(&replica.log, ReplicaId(claim.leader_replica), claim.term)
    })
}

fn drained(result: Result<v1::DrainResponse, v1::Error>) -> Kind {
    let result = match result {
        Ok(done) => wire::drain_answer::Result::Ok(done),
        Err(error) => wire::drain_answer::Result::Error(error),
    };
    Kind::DrainAnswer(wire::DrainAnswer { result: Some(result) })
}

fn heard(bootstrap: &Bootstrap, from: NodeId, ping: wire::Ping) {
    bootstrap.draining.lock().insert(from, ping.draining);
    bootstrap.clocks.lock().insert(from, ping.clock_wrong_by_us);
    let disk = DiskNews::from_wire(ping.disk(), ping.disk_free_bytes);
    bootstrap.disks.lock().insert(from, disk);
    bootstrap.heard_reaches(from, ping.reaches);
    let mut news = bootstrap.news.lock();
    for range in ping.ranges {
        let id = RangeId(range.range_id);
        // Only of ranges that this node knows: a peer can't make the map grow.
        let router = bootstrap.router();
        if router.replica(id).is_none() && !router.routes().knows(id) {
            continue;
        }
        bootstrap.router().heard_leader(id, NodeId(range.leader_node), range.term);
        match news.get(&id) {
            Some(known) if known.term > range.term => {}
            _ => {
                news.insert(id, range);
            }
        }
    }
}

fn raft(replica: Replica, from: NodeId, kind: Kind) -> BoxFuture<'static, Option<Kind>> {
    async move {
        let heard = || replica.shared.leader_heard.note(from);
        Some(replica.raft.receive(kind, heard).await)
    }
    .boxed()
}

/// The way back of a forwarded request.
struct ForwardedOnce {
    back: Mutex<Option<oneshot::Sender<Waiting>>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Until the request is over.
    _admitted: Admitted,
}

/// An answer that counts as waiting until it is taken or dropped.
struct Waiting {
    answer: wire::ForwardAnswer,
    bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Waiting {
    /// Without its value, where too much waits already.
    fn of(mut answer: wire::ForwardAnswer, waiting_bytes: Arc<AtomicUsize>) -> Waiting {
        let mut response = answer.response.take().unwrap_or_default();
        if waiting_bytes.load(Ordering::Acquire) > WAITING_BYTES_MAX {
            response = encode::without_value(response);
        }
        let bytes = encode::size(&response);
        waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        answer.response = Some(response);
        Waiting { answer, bytes, waiting_bytes }
    }

    fn take(mut self) -> wire::ForwardAnswer {
        std::mem::take(&mut self.answer)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl ReplySink for ForwardedOnce {
    fn answer(&self, id: u64, result: OpResult) {
        let Some(back) = self.back.lock().take() else { return };
        let response = Some(encode_response(id, result));
        let answer = wire::ForwardAnswer { response, ..wire::ForwardAnswer::default() };
        // The link may have gone.
        back.send(Waiting::of(answer, self.waiting_bytes.clone())).ok();
    }
}

impl Drop for ForwardedOnce {
    fn drop(&mut self) {
        self.answer(0, Err(OpError::ambiguous("the node gave the request up")));
    }
}
