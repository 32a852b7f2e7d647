//! Timestamps for whoever asks: a round of the oracle each, shared by all that wait on this node.
//!
//! No range is asked, and nothing is kept. Who waits is bounded where rounds are (`cluster/oracle/rounds.rs`).

use std::sync::Arc;

use quintet_proto::v1;

use super::Router;
use crate::{
    planted::{self, Bug},
    range::request::Answer,
    request::{answer::Answers, context::named, place::Place},
};

impl Router {
    /// Answers a request for a timestamp, from a round that begins now or later.
    pub(crate) fn tell_timestamp<S: Answers>(
        self: &Arc<Self>,
        mut request: v1::SessionRequest,
        sink: Arc<S>,
    ) {
        let reply = self.reply(sink, request.id, named(request.op.as_ref(), None));
        let until = match self.decoder.until(&mut request) {
            // As every request is refused there.
            Ok(_) if self.routes.find(Place::Key(&[])).is_none() => Err(self.peers.no_cluster()),
            until => until,
        };
        let until = match until {
            Ok(until) => until,
            Err(error) => return reply.send(Err(error)),
        };
        // The careless hand: "what is known is the newest".
        if planted::active(Bug::TimestampAtKnown) {
            return reply.send(Ok(Answer::Timestamp(self.oracle.now())));
        }
        let oracle = self.oracle.clone();
        tokio::spawn(async move {
            let decided = oracle.round_until(Some(until)).await;
            reply.send(decided.map(|block| Answer::Timestamp(block.last())).map_err(Into::into));
        });
    }
}
