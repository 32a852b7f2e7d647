//! Raft's messages to a replica of this node.

use futures::{FutureExt, future::BoxFuture};
use quintet_proto::internal::v1 as wire;

use crate::{
    ids::NodeId,
    peer::Kind,
    range::{raft::wire as raft_wire, replica::Replica},
};

/// Hands a message to the replica's group.
pub(super) fn hand_over(
    replica: Replica,
    from: NodeId,
    kind: Kind,
) -> BoxFuture<'static, Option<Kind>> {
    let nonsense = || Some(Kind::Failed("a request that makes no sense".to_owned()));
    async move {
        let raft = &replica.raft;
        let stopped = |error: &dyn std::fmt::Display| Some(Kind::Failed(error.to_string()));
        match kind {
            Kind::Append(append) => {
                let Some(append) = raft_wire::append_in(append) else { return nonsense() };
                match raft.append_entries(append).await {
                    Ok(answer) => {
                        if raft_wire::is_accepted(&answer) {
                            replica.shared.leader_heard.note(from);
                        }
                        Some(Kind::AppendAnswer(raft_wire::append_answer_out(&answer)))
                    }
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
