//! Scans over several ranges: all of their pages show one moment, as those of a scan of one range do.
//!
//! A range's leader gives a first page the newest version that the range holds, and later writes of
//! that range get versions above it. Over several ranges there is no such version, so one is made:
//!
//! 1. every range of the span is asked for its newest version, leadership confirmed: `at` is above
//!    all of them, so everything that was acknowledged before the scan began is at or below it;
//! 2. every range is *closed* at `at`: a replicated command after which no write of the range is
//!    applied with a version at or below `at`, in this leadership or a later one;
//! 3. from then on a page at `at` shows the same state whenever it is read, in any range.
//!
//! That is one more Raft round per range and scan. The timestamp oracle will make it unnecessary.
//!
//! A scan with a limit is no exception, though its first page may need one range only: it goes on at
//! `at` later, perhaps in another range, and what had been acknowledged there before it began is in it.
//! The version of its first range says nothing about the others, and no clock does.
//!
//! # Bounds
//!
//! [`OPENED_AT_ONCE_MAX`] scans are opened at a time on a node, each asking [`RANGES_AT_ONCE`] ranges at a
//! time.

use std::{sync::Arc, time::Duration};

use super::{CORRECTIONS_MAX, Router, routes::RANGES_MAX, way::Way};
use crate::{
    error::OpError,
    ids::{Generation, NodeId, RangeId},
    peer::{Kind, Lane},
    planted::{self, Bug},
    range::{
        replica::Replica,
        request::{Answer, Read, ReadKind, Reply, Scan},
    },
    request::{
        answer::{Answered, Answers, Once},
        decoded::Request,
        encode,
    },
    size::Size,
    storage::{
        Direction,
        format::{codec, descriptor::Descriptor},
        mvcc::PageLimit,
    },
    time::{
        AHEAD_MAX, Timestamp,
        local::{Instant, timeout},
    },
};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use quintet_proto::{
    internal::v1 as wire,
    v1::{self, session_request::Op, session_response::Result as Body},
};

/// Scans that are opened at the same time.
pub(super) const OPENED_AT_ONCE_MAX: usize = 256;
/// Ranges that one of them asks at a time.
const RANGES_AT_ONCE: Size = Size::new("scan-ranges-at-once", 32, 1);
/// How long one range may take for a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a step is sent on.
const STEP_TRIES: u32 = 1 + CORRECTIONS_MAX;

/// Answers the first page of a scan over several ranges.
pub(super) fn begin<S: Answers>(router: Arc<Router>, request: Request, sink: Arc<S>) {
    let id = request.wire.id;
    let Ok(slot) = router.scans.clone().try_acquire_owned() else {
        let message = "too many scans over several ranges begin at this moment; slow down";
        return sink.answered(id, Answered::Failed(OpError::overloaded(message)));
    };
    tokio::spawn(async move {
        let _slot = slot;
        let left = request.decoded.deadline().saturating_duration_since(Instant::now());
        let page = match timeout(left, first_page(&router, request)).await {
            Ok(page) => page.unwrap_or_else(Answered::Failed),
            Err(_) => Answered::Failed(OpError::deadline()),
        };
        sink.answered(id, page);
    });
}

async fn first_page(router: &Arc<Router>, request: Request) -> Result<Answered, OpError> {
    let Request { wire: mut asked, decoded } = request;
    let Some((start, end)) = decoded.first_page_span() else { return Err(OpError::stale_route()) };
    let Some(Op::Scan(scan)) = &mut asked.op else { return Err(OpError::stale_route()) };
    let mut routes = router.routes.covering(start, end, RANGES_MAX);
    let page_max = u64::from(router.limits.scan_page_records_max);
    let is_little = (1..=page_max).contains(&scan.limit);
    let by_first = is_little && planted::active(Bug::LimitedScanByFirstRange);
    if by_first {
        // The careless hand: "it will not come further than that".
        let first = router.routes.find(decoded.place());
        routes.retain(|route| first.as_ref().is_some_and(|first| first.range == route.range));
    }
    let newest = each(router, &routes, wire::scan_step::Kind::Newest(true)).await?;
    // Not below this node's clock either: what has expired by now shall not be shown.
    let at = newest.iter().copied().map(Timestamp).fold(router.hlc.peek(), Timestamp::max);
    let at = match newest.first() {
        // The careless hand: "one moment is as good as another".
        Some(one) if planted::active(Bug::ScanByOneRange) => Timestamp(*one),
        Some(one) if by_first => Timestamp(*one),
        _ => at,
    };
    each(router, &routes, wire::scan_step::Kind::Close(at.0)).await?;
    scan.at = at.0;
    // From now on it is a further page, which one range answers.
    let decoded = router.decoder.decode(&mut asked)?;
    let (sink, answer) = Once::new();
    router.go(Request { wire: asked, decoded }, sink, CORRECTIONS_MAX, None);
    answer.await.map_err(|_| OpError::unavailable("the node gave the scan up; try again"))
}

/// Takes a step on every range, some at a time.
async fn each(
    router: &Arc<Router>,
    routes: &[Arc<Descriptor>],
    step: wire::scan_step::Kind,
) -> Result<Vec<u64>, OpError> {
    let steps: Vec<_> =
        routes.iter().map(|route| on_range(router.clone(), route.clone(), step).boxed()).collect();
    stream::iter(steps).buffer_unordered(RANGES_AT_ONCE.get()).try_collect().await
}

async fn on_range(
    router: Arc<Router>,
    route: Arc<Descriptor>,
    step: wire::scan_step::Kind,
) -> Result<u64, OpError> {
    let mut better = None;
    let mut why = "no leader is known".to_owned();
    for _ in 0..STEP_TRIES {
        let leader =
            better.or_else(|| router.leader_of(route.range)).or_else(|| router.holder(&route));
        let Some(way) = router.way(&route, leader) else { break };
        let (answered, next) = match way.node == router.peers.me() {
            true => (router.step(route.range, route.generation, step).await, None),
            false => ask_leader(&router, route.range, route.generation, way, step).await,
        };
        match answered {
            Ok(newest) => return Ok(newest),
            Err(error) => why = format!("{} says: {}", way.node, error.message),
        }
        better = next.filter(|next| *next != way.node);
        if better.is_none() {
            break;
        }
    }
    let message = format!("range {} could not be asked for the scan ({why})", route.range);
    Err(OpError::unavailable(message))
}

/// Asks another node to take a step; its answer, and who leads if it does not.
async fn ask_leader(
    router: &Router,
    range: RangeId,
    generation: Generation,
    way: Way,
    step: wire::scan_step::Kind,
) -> (Result<u64, OpError>, Option<NodeId>) {
    let forward = wire::Forward {
        request: None,
        generation: generation.0,
        scan: Some(wire::ScanStep { kind: Some(step) }),
        relay: way.relay,
    };
    let message = wire::PeerMessage {
        range_id: range.0,
        kind: Some(Kind::Forward(forward)),
        ..wire::PeerMessage::default()
    };
    let Ok(Ok(Kind::ForwardAnswer(answer))) =
        router.peers.request(way.node, Lane::Urgent, message).await
    else {
        return (Err(OpError::unavailable("the link is down")), None);
    };
    let response = answer.response.unwrap_or_default();
    let Some(Body::Error(error)) = response.result else { return (Ok(answer.newest), None) };
    let error = OpError::from(error);
    let next = Some(NodeId(answer.leader_node)).filter(|node| node.0 != 0);
    let next = next.filter(|_| error.misrouted().is_some());
    router.correct(&answer.descriptors);
    (Err(OpError::unavailable(error.message)), next)
}

impl Router {
    /// Another node's step on a range of this one.
    pub(crate) async fn serve_step(
        &self,
        range: RangeId,
        generation: Generation,
        step: Option<wire::scan_step::Kind>,
        relay: bool,
    ) -> wire::ForwardAnswer {
        let leader = self.leader_of(range).filter(|leader| *leader != self.peers.me());
        let done = match (step, leader.filter(|_| relay)) {
            (Some(step), Some(node)) => {
                let way = Way { node, relay: false };
                ask_leader(self, range, generation, way, step).await.0
            }
            (Some(step), None) => self.step(range, generation, step).await,
            (None, _) => Err(OpError::invalid("a step of no kind")),
        };
        match done {
            Ok(newest) => wire::ForwardAnswer {
                newest,
                response: Some(v1::SessionResponse::default()),
                ..wire::ForwardAnswer::default()
            },
            Err(error) => wire::ForwardAnswer {
                leader_node: self.leader_of(range).map_or(0, |node| node.0),
                descriptors: self.replica(range).map_or_else(Vec::new, |replica| {
                    vec![codec::encode(&*replica.shared.state.descriptor()).into()]
                }),
                response: Some(encode::response(0, Err(error))),
                ..wire::ForwardAnswer::default()
            },
        }
    }

    async fn step(
        &self,
        range: RangeId,
        generation: Generation,
        step: wire::scan_step::Kind,
    ) -> Result<u64, OpError> {
        let replica = self.replica(range).ok_or_else(|| OpError::not_leader(None))?;
        let descriptor = replica.shared.state.descriptor();
        if generation < descriptor.generation {
            // Its next try finds the newer one, where it is this node's own.
            self.routes.learn(&descriptor);
            return Err(OpError::stale_route());
        }
        let deadline = Instant::now() + STEP_TIMEOUT;
        match step {
            wire::scan_step::Kind::Newest(_) => self.newest(&replica, deadline).await,
            wire::scan_step::Kind::Close(at) => {
                if Timestamp(at) > self.hlc.peek().saturating_add(AHEAD_MAX) {
                    return Err(OpError::invalid("a range is not closed that far ahead"));
                }
                replica.advance_time(Timestamp(at), deadline).await.map(|()| 0)
            }
        }
    }

    /// The newest version of a range that this node leads, confirmed: a read of nothing.
    async fn newest(&self, replica: &Replica, deadline: Instant) -> Result<u64, OpError> {
        let (sink, answer) = Once::new();
        let nothing = replica.shared.state.descriptor().start.clone();
        let kind = ReadKind::Scan(Scan {
            start: nothing.clone(),
            end: nothing,
            direction: Direction::Forward,
            at: None,
            limit: PageLimit { records: 1, bytes: 1, versions: 1 },
            keys_only: true,
        });
        let reply = Reply::uncounted(sink, 0);
        replica.read(Read { kind, deadline, reply });
        match answer.await {
            Ok(Answered::Found(Answer::Scan(page))) => Ok(page.at.0),
            Ok(Answered::Failed(error)) if error.code == v1::Code::NotLeader => {
                Err(OpError::not_leader(None))
            }
            _ => Err(OpError::unavailable("the range's newest version can't be told; try again")),
        }
    }
}
