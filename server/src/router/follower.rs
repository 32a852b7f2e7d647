//! Reads whose caller wants the newest state from the replica of the node that it asks (`from_follower`).
//!
//! The range's leader is asked for an index only, and this node's replica serves the read once it has applied that
//! (`range/reads/follower.rs`). Where it can't, the read goes to the leader as any other: no replica here, one that is
//! behind or is being replaced, a leader that is not reached, a disk that does not answer. It has half of its time for
//! that, and [`APPLIED_WITHIN`] at most to apply what it lacks.
//!
//! # Bounds
//!
//! [`AT_ONCE_MAX`] such reads are under way at a time on a node; more go to the leader.

use std::{sync::Arc, time::Duration};

use super::{CORRECTIONS_MAX, Router};
use crate::{
    error::OpError,
    ids::{Generation, NodeId},
    peer::ask::ReadIndex,
    range::{
        reads::follower::{Followed, PointOf},
        replica::Replica,
        request::{OpResult, ReadKind},
    },
    request::{
        answer::Answers,
        context::named,
        decoded::{Decoded, DecodedRead, Request},
    },
    time::{
        local::{Instant, timeout},
        ms_u32,
    },
};

/// Such reads that are under way at the same time.
pub(super) const AT_ONCE_MAX: usize = 4_096;
/// How long a replica is waited for that has to apply more: commits are told within 20 ms, one that takes longer is
/// behind.
const APPLIED_WITHIN: Duration = Duration::from_millis(500);

impl Router {
    /// Has this node's replica serve a read, where its caller wants that and the replica can; otherwise the request is
    /// given back.
    pub(super) fn serve_as_follower<S: Answers>(
        self: &Arc<Self>,
        request: Request,
        sink: &Arc<S>,
    ) -> Option<Request> {
        if !request.decoded.is_for_follower() {
            return Some(request);
        }
        let asked = self.follower_of(&request.decoded);
        let Some((replica, leader, generation)) = asked else { return self.not_followed(request) };
        let Ok(slot) = self.follower_reads.clone().try_acquire_owned() else {
            return self.not_followed(request);
        };
        let (router, sink) = (self.clone(), sink.clone());
        tokio::spawn(async move {
            let named = named(request.wire.op.as_ref(), Some(replica.range));
            let deadline = request.decoded.deadline();
            let within = deadline.saturating_duration_since(Instant::now()) / 2;
            let followed = match request.decoded.read() {
                Some(DecodedRead { kind, .. }) => {
                    let asked = (leader, generation, within);
                    let read = router.read_behind(&replica, kind, asked, || sink.has_room());
                    timeout(within, read).await.ok().flatten()
                }
                None => None,
            };
            drop(slot);
            match followed {
                Some(result) => {
                    router.metrics.follower_reads.inc();
                    router.metrics.reads_without_leading.inc();
                    router.reply(sink, request.wire.id, named).send(result);
                }
                None => {
                    if let Some(request) = router.not_followed(request) {
                        router.go(request, sink, CORRECTIONS_MAX, None);
                    }
                }
            }
        });
        None
    }

    /// The replica of this node that a read may be served by, the node that leads its range, and the generation that it
    /// is routed by.
    fn follower_of(&self, decoded: &Decoded) -> Option<(Replica, NodeId, Generation)> {
        let route = self.routes.find(decoded.place())?;
        let replica = self.replica(route.range)?;
        let leader = self.leader_of(route.range)?;
        let is_near = leader != self.peers.me() && self.peers.is_live(leader);
        let holds = decoded.lies_in(&replica.shared.state.descriptor());
        (is_near && holds && replica.can_follow()).then_some((replica, leader, route.generation))
    }

    /// The read goes to the leader, with what is left of its time.
    fn not_followed(&self, mut request: Request) -> Option<Request> {
        let left = request.decoded.deadline().saturating_duration_since(Instant::now());
        request.decoded.goes_to_leader();
        if let Some(op) = &mut request.wire.op {
            op.leave_to_leader();
            op.context_mut().timeout_ms = ms_u32(left).max(1);
        }
        self.metrics.follower_reads_forwarded.inc();
        Some(request)
    }

    /// Asks the leader how far this node's replica has to be, and has it serve the read then. None: it can't.
    async fn read_behind(
        &self,
        replica: &Replica,
        kind: &ReadKind,
        (leader, generation, within): (NodeId, Generation, Duration),
        has_room: impl Fn() -> bool,
    ) -> Option<OpResult> {
        let PointOf { key, at, mut decides } = replica.point_of(kind)?;
        loop {
            let question = ReadIndex { generation, within, key: key.clone(), at, decides };
            let point = self.peers.ask(leader, Some(replica.range), question).await.ok()?.ok()?;
            if !has_room() {
                return Some(Err(OpError::no_room()));
            }
            let read = replica.read_behind(kind, point, decides);
            match timeout(APPLIED_WITHIN, read).await.ok()? {
                Followed::Answer(result) => return Some(result),
                Followed::Undecided if !decides => decides = true,
                Followed::Undecided | Followed::Cannot => return None,
            }
        }
    }
}
