//! Requests that another node forwarded: served by this node's replica, or refused with what is known instead.

use std::sync::Arc;

use quintet_proto::{
    internal::v1 as wire,
    v1::{self, Code, session_request::Op},
};

use super::Router;
use crate::{
    error::OpError,
    ids::{Generation, RangeId},
    range::request::ReplySink,
    request::context::named,
    storage::format::codec,
};

impl Router {
    /// Serves a request that another node forwarded: here or not at all.
    pub(crate) fn serve_forwarded(
        &self,
        mut forward: wire::Forward,
        range: RangeId,
        sink: Arc<dyn ReplySink>,
    ) {
        let mut request = forward.request.take().unwrap_or_default();
        let reply = self.reply(sink, request.id, named(request.op.as_ref(), Some(range)));
        // First of all: a node that lost its disk has no cluster to compare the request's with.
        let Some(replica) = self.replica(range) else {
            return reply.send(Err(OpError::not_leader(None)));
        };
        let decoded = match self.decoder.decode(&mut request) {
            Ok(decoded) => decoded,
            Err(error) => return reply.send(Err(error)),
        };
        if decoded.first_page_span().is_some() {
            return reply.send(Err(OpError::invalid("a forwarded scan names its moment")));
        }
        match self.admit(&replica, &decoded, Generation(forward.generation)) {
            Ok(()) => match self.closed_answer(&replica, &decoded, reply.has_room()) {
                Some(result) => reply.send(result),
                None => decoded.submit(&replica, reply),
            },
            Err(_) => reply.send(Err(OpError::stale_route())),
        }
    }

    /// Whether this node's replica serves a request that it is asked to pass on: a read of the past, by itself.
    pub(crate) fn serves_instead(&self, request: &v1::SessionRequest, range: RangeId) -> bool {
        if !request.op.as_ref().is_some_and(is_of_the_past) {
            return false;
        }
        let decoded = self.decoder.decode(&mut request.clone());
        let replica = self.replica(range);
        replica.zip(decoded.ok()).is_some_and(|(replica, decoded)| decoded.is_closed_at(&replica))
    }

    /// Where a forwarded request that was refused for having come to the wrong place ([`OpError::misrouted`])
    /// is to go instead, as far as this node knows.
    pub(crate) fn correction(
        &self,
        misrouted: Code,
        mut request: v1::SessionRequest,
        range: RangeId,
    ) -> wire::ForwardAnswer {
        let mut answer = wire::ForwardAnswer::default();
        if misrouted == Code::NotLeader {
            answer.leader_node = self.leader_of(range).map_or(0, |node| node.0);
            return answer;
        }
        let newer = self.decoder.decode(&mut request).map(|decoded| self.newer(&decoded));
        let newer = newer.unwrap_or_default();
        answer.descriptors =
            newer.iter().map(|descriptor| codec::encode(&**descriptor).into()).collect();
        answer
    }
}

/// Whether a request names a moment, or how old a state may be.
fn is_of_the_past(op: &Op) -> bool {
    match op {
        Op::Get(get) => get.at > 0 || get.stale_ms > 0,
        Op::Scan(scan) => scan.at > 0,
        _ => false,
    }
}
