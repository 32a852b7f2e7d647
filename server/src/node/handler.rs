//! What a node answers its peers.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use quintet_proto::{internal::v1 as wire, v1};
use tokio::sync::oneshot;

use super::bootstrap::Bootstrap;
use crate::{
    api::encode_response,
    error::OpError,
    ids::{NodeId, RangeId},
    peer::{Handler, Kind},
    range::{
        raft::wire as raft_wire,
        replica::Replica,
        request::{OpResult, ReplySink},
    },
};

pub(super) struct NodeHandler {
    bootstrap: Arc<Bootstrap>,
}

impl NodeHandler {
    pub(super) fn new(bootstrap: Arc<Bootstrap>) -> NodeHandler {
        NodeHandler { bootstrap }
    }

    /// The replica that a message is for: never another one than it names.
    fn replica(&self, message: &wire::PeerMessage) -> Option<Replica> {
        let replica = self.bootstrap.router().replica(RangeId(message.range_id))?;
        (replica.id.0 == message.to_replica).then_some(replica)
    }
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
        match kind {
            Kind::Append(_) | Kind::Vote(_) | Kind::PreVote(_) | Kind::Transfer(_) => {
                match self.replica(&message) {
                    Some(replica) => raft(replica, kind),
                    None => failed("no such replica here"),
                }
            }
            Kind::Forward(request) => {
                let (tx, rx) = oneshot::channel();
                let sink = Arc::new(ForwardedOnce(Mutex::new(Some(tx))));
                let range = RangeId(message.range_id);
                self.bootstrap.router().serve_forwarded(request, range, sink);
                async move { rx.await.ok().map(Kind::ForwardAnswer) }.boxed()
            }
            Kind::Ping(ping) => {
                self.heard(from, ping);
                async { Some(Kind::Pong(wire::Pong {})) }.boxed()
            }
            Kind::Bootstrap(plan) => {
                let bootstrap = self.bootstrap.clone();
                async move {
                    let refusal = bootstrap.take_from(plan).await.err().unwrap_or_default();
                    Some(Kind::BootstrapAnswer(wire::BootstrapAnswer { refusal }))
                }
                .boxed()
            }
            Kind::Init(request) => {
                let bootstrap = self.bootstrap.clone();
                async move {
                    let result = match bootstrap.init(request, false).await {
                        Ok(formed) => wire::init_answer::Result::Ok(formed),
                        Err(error) => wire::init_answer::Result::Error(error),
                    };
                    Some(Kind::InitAnswer(wire::InitAnswer { result: Some(result) }))
                }
                .boxed()
            }
            _ => failed("an answer where a request belongs"),
        }
    }
}

impl NodeHandler {
    fn heard(&self, from: NodeId, ping: wire::Ping) {
        self.bootstrap.draining.lock().insert(from, ping.draining);
        let mut news = self.bootstrap.news.lock();
        for range in ping.ranges {
            let id = RangeId(range.range_id);
            // Only of ranges that this node knows: a peer can't make the map grow.
            if self.bootstrap.router().replica(id).is_none() {
                continue;
            }
            match news.get(&id) {
                Some(known) if known.term > range.term => {}
                _ => {
                    news.insert(id, range);
                }
            }
        }
    }
}

fn raft(replica: Replica, kind: Kind) -> BoxFuture<'static, Option<Kind>> {
    let nonsense = || Some(Kind::Failed("a request that makes no sense".to_owned()));
    async move {
        let raft = &replica.raft;
        let stopped = |error: &dyn std::fmt::Display| Some(Kind::Failed(error.to_string()));
        match kind {
            Kind::Append(append) => {
                let Some(append) = raft_wire::append_in(append) else { return nonsense() };
                match raft.append_entries(append).await {
                    Ok(answer) => Some(Kind::AppendAnswer(raft_wire::append_answer_out(&answer))),
                    Err(error) => stopped(&error),
                }
            }
            Kind::Vote(request) => {
                let Some(request) = raft_wire::vote_request_in(request) else { return nonsense() };
                match raft.vote(request).await {
                    Ok(answer) => Some(Kind::VoteAnswer(raft_wire::vote_answer_out(&answer))),
                    Err(error) => stopped(&error),
                }
            }
            Kind::PreVote(request) => {
                let Some(request) = raft_wire::vote_request_in(request) else { return nonsense() };
                match raft.pre_vote(request).await {
                    Ok(answer) => Some(Kind::VoteAnswer(raft_wire::vote_answer_out(&answer))),
                    Err(error) => stopped(&error),
                }
            }
            Kind::Transfer(request) => {
                let Some(request) = raft_wire::transfer_in(request) else { return nonsense() };
                match raft.handle_transfer_leader(request).await {
                    Ok(answer) => {
                        let refusal = answer.err().map(|error| error.to_string());
                        let refusal = refusal.unwrap_or_default();
                        Some(Kind::TransferAnswer(wire::TransferResponse { refusal }))
                    }
                    Err(error) => stopped(&error),
                }
            }
            _ => nonsense(),
        }
    }
    .boxed()
}

/// The way back of a forwarded request.
struct ForwardedOnce(Mutex<Option<oneshot::Sender<v1::SessionResponse>>>);

impl ReplySink for ForwardedOnce {
    fn answer(&self, id: u64, result: OpResult) {
        if let Some(waiting) = self.0.lock().take() {
            // The link may have gone.
            waiting.send(encode_response(id, result)).ok();
        }
    }
}

impl Drop for ForwardedOnce {
    fn drop(&mut self) {
        self.answer(0, Err(OpError::ambiguous("the node gave the request up")));
    }
}
