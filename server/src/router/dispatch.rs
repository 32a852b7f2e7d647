//! A request goes where its route says: to this node's replica, or to the node that leads its range.
//!
//! The order is the route, then the leader (who is said to know better, who is known to lead, who holds a replica),
//! then the way there. A correction learns newer descriptors and goes through the same steps once more, with one
//! correction fewer: a loop between nodes with outdated routes ends.
//!
//! # Invariants
//!
//! * A replica gets a request only if its descriptor is no newer than the route and covers the keys (`admit`; planted
//!   bug `stale-route-accepted`). Executor and reads look again, because a descriptor may change behind this check.
//! * Whatever is refused here was not begun; it is counted and logged as if it had been (`refuse`).

use std::sync::Arc;

use quintet_proto::v1::session_request::Op;

use super::{CORRECTIONS_MAX, Router, scan};
use crate::{
    error::OpError,
    ids::{Generation, NodeId, RangeId},
    ops::requests::Named,
    planted::{self, Bug},
    range::{
        replica::Replica,
        request::{OpResult, Reply, ReplySink},
    },
    request::{
        answer::Answers,
        context::named,
        decoded::{Decoded, Request},
    },
    storage::format::descriptor::Descriptor,
};

/// Descriptors that one answer carries to correct a route.
const CORRECTING_DESCRIPTORS_MAX: usize = 256;

impl Router {
    /// Serves a client's request: here, or on the node that leads its range.
    pub(crate) fn dispatch<S: Answers>(self: &Arc<Self>, request: Request, sink: Arc<S>) {
        self.go(request, sink, CORRECTIONS_MAX, None);
    }

    /// Answers a request that was not begun here; it is counted and logged like those that were.
    pub(crate) fn refuse(&self, sink: Arc<dyn ReplySink>, id: u64, named: Named, error: OpError) {
        self.reply(sink, id, named).send(Err(error));
    }

    /// The way back of a request's answer; counted, timed and, where it fails or is slow, logged.
    pub(super) fn reply(&self, sink: Arc<dyn ReplySink>, id: u64, named: Named) -> Reply {
        Reply::new(sink, id, self.metrics.clone(), named)
    }

    /// Sends a request on: to a node that is said to know better, or where the routes say. A scan that begins gets its
    /// moment first.
    pub(super) fn go<S: Answers>(
        self: &Arc<Self>,
        request: Request,
        sink: Arc<S>,
        corrections: u32,
        better: Option<NodeId>,
    ) {
        if request.decoded.first_page_span().is_some() {
            scan::begin(self.clone(), request, sink);
        } else {
            self.route(request, sink, corrections, better);
        }
    }

    /// The answer of this node's replica to a read of the past, where that can tell by itself. It reads nothing for
    /// which there is no room.
    pub(super) fn closed_answer(
        &self,
        replica: &Replica,
        decoded: &Decoded,
        has_room: bool,
    ) -> Option<OpResult> {
        if !decoded.is_of_the_past() || !decoded.lies_in(&replica.shared.state.descriptor()) {
            return None;
        }
        if !has_room {
            return decoded.is_closed_at(replica).then(|| Err(OpError::no_room()));
        }
        let result = decoded.serve_closed(replica)?;
        self.metrics.closed_reads.inc();
        if !replica.is_leader() {
            self.metrics.reads_without_leading.inc();
        }
        Some(result)
    }

    /// Serves a read of the past by this node's replica, where that can.
    fn serve_closed<S: Answers>(&self, request: &Request, sink: &Arc<S>) -> bool {
        if !request.decoded.is_of_the_past() {
            return false;
        }
        let Some(route) = self.routes.find(request.decoded.place()) else { return false };
        let Some(replica) = self.replica(route.range) else { return false };
        let Some(result) = self.closed_answer(&replica, &request.decoded, sink.has_room()) else {
            return false;
        };
        let (id, op) = (request.wire.id, request.wire.op.as_ref());
        self.reply(sink.clone(), id, named(op, Some(route.range))).send(result);
        true
    }

    /// Has this node's replica answer for a feed, where that can.
    fn serve_changes<S: Answers>(&self, request: Request, sink: &Arc<S>) -> Option<Request> {
        let asked = request.decoded.changes().zip(self.routes.find(request.decoded.place()));
        let Some((changes, route)) = asked else { return Some(request) };
        let replica = self.replica(route.range).filter(|replica| {
            let holds = request.decoded.lies_in(&replica.shared.state.descriptor());
            holds && replica.shows_changes(&changes.after)
        });
        let Some(replica) = replica else { return Some(request) };
        let named = named(request.wire.op.as_ref(), Some(route.range));
        let reply = self.reply(sink.clone(), request.wire.id, named);
        request.decoded.submit(&replica, reply);
        None
    }

    fn route<S: Answers>(
        self: &Arc<Self>,
        request: Request,
        sink: Arc<S>,
        corrections: u32,
        better: Option<NodeId>,
    ) {
        if self.serve_closed(&request, &sink) {
            return;
        }
        let Some(request) = self.serve_changes(request, &sink) else { return };
        let Some(request) = self.serve_as_follower(request, &sink) else { return };
        let (id, op) = (request.wire.id, request.wire.op.as_ref());
        let refuse = |sink, range: Option<RangeId>, error| {
            self.refuse(sink, id, named(op, range), error);
        };
        let Some(route) = self.routes.find(request.decoded.place()) else {
            return refuse(sink, None, self.peers.no_cluster());
        };
        let leader = better.or_else(|| self.leader_of(route.range)).or_else(|| self.holder(&route));
        let Some(way) = self.way(&route, leader) else {
            let message = "the range has no leader at the moment; try again";
            return refuse(sink, Some(route.range), OpError::unavailable(message));
        };
        if way.node != self.peers.me() {
            return self.forward(way, route, request.wire, sink, corrections);
        }
        let Some(replica) = self.replica(route.range) else {
            let message = "this node has no replica of the range; try again";
            return refuse(sink, Some(route.range), OpError::unavailable(message));
        };
        match self.admit(&replica, &request.decoded, route.generation) {
            Ok(()) => {
                self.note_span(&replica, op, &*sink);
                let reply = self.reply(sink, id, named(op, Some(route.range)));
                request.decoded.submit(&replica, reply);
            }
            Err(newer) if corrections > 0 => {
                newer.iter().for_each(|descriptor| self.routes.learn(descriptor));
                self.go(request, sink, corrections - 1, None);
            }
            Err(_) => refuse(sink, Some(route.range), OpError::stale_route()),
        }
    }

    /// Tells who sent several keys which ones can go together, if it does not know.
    fn note_span<S: Answers>(&self, replica: &Replica, op: Option<&Op>, sink: &S) {
        let Some(Op::PutMany(many)) = op else { return };
        let routed_by = many.context.as_ref().map_or((0, 0), |by| (by.range_id, by.generation));
        let descriptor = replica.shared.state.descriptor();
        if routed_by != (descriptor.range.0, descriptor.generation.0) {
            sink.note_route(&descriptor, self.peers.me());
        }
    }

    /// Some node that should have a replica, where nothing is known about the leader.
    pub(super) fn holder(&self, route: &Descriptor) -> Option<NodeId> {
        if self.replica(route.range).is_some() {
            return None;
        }
        let me = self.peers.me();
        let mut nodes = route.replicas.iter().map(|(_, node)| *node);
        nodes.find(|node| *node != me && self.peers.is_live(*node))
    }

    /// Whether a replica may serve a request that was routed by a generation. `Err`: it has moved on;
    /// what is true by now, as far as this node knows.
    pub(super) fn admit(
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
    pub(super) fn newer(&self, decoded: &Decoded) -> Vec<Arc<Descriptor>> {
        let replicas = self.replicas.read();
        let descriptors = replicas.values().map(|replica| replica.shared.state.descriptor());
        let wanted = descriptors.filter(|descriptor| decoded.overlaps(descriptor));
        wanted.take(CORRECTING_DESCRIPTORS_MAX).collect()
    }
}
