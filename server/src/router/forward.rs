//! A request goes to the node that leads its range, and its answer comes back.
//!
//! # Invariants
//!
//! * It is sent to a second node only where the first says that it has done nothing.
//! * Where the link breaks after a request was sent, its outcome is unknown: a write is answered as ambiguous, and
//!   only its caller may repeat it.

use std::sync::Arc;

use quintet_proto::{internal::v1 as wire, v1};

use super::{
    Router,
    way::{Way, lost, lost_sight_of},
};
use crate::{
    error::OpError,
    ids::NodeId,
    ops::metrics::{Held, Queue},
    peer::{Kind, Lane, LinkDown},
    planted::{self, Bug},
    request::{
        answer::{Answered, Answers},
        context::named,
        decoded::Request,
    },
    storage::format::{codec, descriptor::Descriptor},
};

impl Router {
    /// Sends a request on, by the descriptor that it was routed by.
    pub(super) fn forward<S: Answers>(
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
        let named = named(request.op.as_ref(), Some(route.range));
        let waiting = Held::one(self.metrics.queue(Queue::Forward));
        let writes = writes(&request) && !is_too_late(&request);
        let again = (corrections > 0).then(|| request.clone());
        let generation = route.generation.0;
        let forward = wire::Forward { request: Some(request), generation, relay };
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
                let error = match answer {
                    Ok(Kind::ForwardAnswer(mut answer)) => {
                        let response = answer.response.take().unwrap_or_default();
                        let answered = Answered::from_wire(response);
                        let is_misrouted =
                            answered.error().is_some_and(|error| error.misrouted().is_some());
                        if let Some(again) = again.filter(|_| is_misrouted) {
                            return router.follow(again, answer, node, sink, corrections - 1);
                        }
                        let leader = if relay { NodeId(answer.leader_node) } else { node };
                        if leader.0 != 0 {
                            sink.note_route(&route, leader);
                        }
                        return sink.answered(id, answered);
                    }
                    Ok(_) | Err(LinkDown { was_sent: true }) => lost(writes),
                    Err(LinkDown { was_sent: false }) => {
                        lost_sight_of(node, router.peers.client_address(node))
                    }
                };
                router.refuse(sink, id, named, error);
            }),
        );
    }

    /// A node that was asked is the wrong one: learns from its answer and goes on where that says.
    fn follow<S: Answers>(
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
            let named = named(request.op.as_ref(), None);
            return self.refuse(sink, id, named, OpError::not_leader(None));
        }
        match self.decoder.decode(&mut request) {
            Ok(decoded) => self.go(Request { wire: request, decoded }, sink, corrections, better),
            Err(error) => self.refuse(sink, id, named(request.op.as_ref(), None), error),
        }
    }

    /// Takes over what another node knows; whether it told anything.
    pub(super) fn correct(&self, stored: &[bytes::Bytes]) -> bool {
        let told = stored.iter().filter_map(|stored| codec::decode::<Descriptor>(stored).ok());
        told.map(|descriptor| self.routes.learn(&Arc::new(descriptor))).count() > 0
    }
}

/// Whether a request may change something. One that asks nothing is taken for a write: it is refused anyway.
pub(super) fn writes(request: &v1::SessionRequest) -> bool {
    request.op.as_ref().is_none_or(|op| op.is_write())
}

/// Only with [`Bug::LostIsTooLate`].
fn is_too_late(request: &v1::SessionRequest) -> bool {
    if !planted::active(Bug::LostIsTooLate) {
        return false;
    }
    // The careless hand: "there is no time left to ask again, so it has failed".
    let context = request.op.as_ref().and_then(|op| op.context());
    context.is_some_and(|context| (1..=300).contains(&context.timeout_ms))
}
