//! Requests for a leader that this node does not reach, by way of a node that does.
//!
//! Networks fail in parts: all other nodes may reach a leader, and one node does not. It need not make its
//! callers wait for a link that is down: another node that holds a replica of the range is asked to pass the
//! request on, with what it was routed by. That one passes it to the leader as it knows it, once and no
//! further, and what the leader answers goes back the same way.
//!
//! ```text
//!   caller ---> this node --X  leader        the link is down
//!                   |             ^
//!                   '--> another -'          relay: true; between the two it is false
//! ```
//!
//! # Invariants
//!
//! * A relay passes on what it was given and does nothing of its own: that a request goes to a second node
//!   only where the first has done nothing holds for relays too.
//! * A request is relayed once: the relaying node asks the leader itself or answers that it can't.
//! * Where a link breaks behind a request that was sent, its outcome is unknown, whichever link it was.

use quintet_proto::{internal::v1 as wire, v1};

use super::{
    Router,
    forward::writes,
    way::{lost, lost_sight_of},
};
use crate::{
    error::OpError,
    ids::{NodeId, RangeId},
    peer::{Kind, Lane, LinkDown},
    request::encode,
};

impl Router {
    /// Passes on what another node can't send to the range's leader itself; `done` is called once.
    pub(crate) fn relay(
        &self,
        mut forward: wire::Forward,
        range: RangeId,
        done: Box<dyn FnOnce(wire::ForwardAnswer) + Send>,
    ) {
        let (id, writes) =
            forward.request.as_ref().map_or((0, false), |request| (request.id, writes(request)));
        let refusal = move |error| wire::ForwardAnswer {
            response: Some(encode::response(id, Err(error))),
            ..wire::ForwardAnswer::default()
        };
        let Some(leader) = self.leader_of(range).filter(|leader| *leader != self.peers.me()) else {
            return done(refusal(OpError::not_leader(None)));
        };
        self.metrics.forwarded.inc();
        forward.relay = false;
        let message = wire::PeerMessage {
            range_id: range.0,
            kind: Some(Kind::Forward(forward)),
            ..wire::PeerMessage::default()
        };
        let address = self.peers.client_address(leader);
        self.peers.send(
            leader,
            Lane::Urgent,
            message,
            Box::new(move |answer| {
                done(match answer {
                    Ok(Kind::ForwardAnswer(answer)) => by_way_of_us(answer, leader),
                    Ok(_) => refusal(lost(writes)),
                    Err(LinkDown { was_sent: true }) => refusal(lost(writes)),
                    Err(LinkDown { was_sent: false }) => refusal(lost_sight_of(leader, address)),
                });
            }),
        );
    }
}

/// The leader's answer, with who gave it, unless it says that somebody else leads.
fn by_way_of_us(mut answer: wire::ForwardAnswer, leader: NodeId) -> wire::ForwardAnswer {
    let is_refused = matches!(
        answer.response.as_ref().and_then(|response| response.result.as_ref()),
        Some(v1::session_response::Result::Error(_))
    );
    if answer.leader_node == 0 && !is_refused {
        answer.leader_node = leader.0;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_result_names_who_gave_it() {
        let answer = |leader_node, error: bool| {
            let error = error.then(|| v1::session_response::Result::Error(v1::Error::default()));
            wire::ForwardAnswer {
                leader_node,
                response: Some(v1::SessionResponse { id: 1, result: error }),
                ..wire::ForwardAnswer::default()
            }
        };
        assert_eq!(by_way_of_us(answer(0, false), NodeId(1)).leader_node, 1);
        // Who leads is not known there, and it is not the one that said so.
        assert_eq!(by_way_of_us(answer(0, true), NodeId(1)).leader_node, 0);
        assert_eq!(by_way_of_us(answer(3, true), NodeId(1)).leader_node, 3);
    }
}
