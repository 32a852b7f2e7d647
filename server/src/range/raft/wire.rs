//! Raft messages on the wire: openraft's types to and from `quintet.internal.v1`.
//!
//! Nothing that a peer sends may panic: what is missing or inconsistent is `None`.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use quintet_proto::internal::v1 as wire;

use super::types::{self, Entry, LogId, Payload, Proposal, TypeConfig, Vote};
use crate::storage::format::{codec, raft::Position};

/// A vote, for the wire.
pub(super) fn vote_out(vote: &Vote) -> wire::Vote {
    wire::Vote {
        term: vote.leader_id.term,
        replica_id: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

/// A vote, from the wire.
pub(super) fn vote_in(vote: Option<wire::Vote>) -> Option<Vote> {
    let vote = vote?;
    Some(if vote.committed {
        Vote::new_committed(vote.term, vote.replica_id)
    } else {
        Vote::new(vote.term, vote.replica_id)
    })
}

fn log_id_out(log_id: &LogId) -> wire::LogId {
    let Position { term, index } = types::position(log_id);
    wire::LogId { term, index }
}

fn log_id_in(log_id: wire::LogId) -> LogId {
    types::log_id(Position { term: log_id.term, index: log_id.index })
}

/// An append for the wire, and the bytes of its entries.
pub(super) fn append_out(
    request: AppendEntriesRequest<TypeConfig>,
) -> (wire::AppendRequest, usize) {
    let mut bytes = 0;
    let entries = request
        .entries
        .into_iter()
        .map(|entry| {
            let payload = match entry.payload {
                Payload::Blank => None,
                Payload::Normal(proposal) => {
                    bytes += proposal.0.len();
                    Some(wire::entry::Payload::Command(proposal.0))
                }
                Payload::Membership(membership) => {
                    let record = codec::encode(&types::membership_record(&membership));
                    Some(wire::entry::Payload::Membership(record.into()))
                }
            };
            bytes += 32;
            wire::Entry { log_id: Some(log_id_out(&entry.log_id)), payload }
        })
        .collect();
    let append = wire::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_out),
        commit: request.leader_commit.as_ref().map(log_id_out),
        entries,
    };
    (append, bytes)
}

/// An append from the wire.
pub(super) fn append_in(append: wire::AppendRequest) -> Option<AppendEntriesRequest<TypeConfig>> {
    let prev_log_id = append.prev.map(log_id_in);
    let mut entries = Vec::with_capacity(append.entries.len());
    let mut expected = prev_log_id.map_or(Some(0), |prev| prev.index().checked_add(1));
    for entry in append.entries {
        let log_id = log_id_in(entry.log_id?);
        if Some(log_id.index()) != expected {
            return None;
        }
        expected = log_id.index().checked_add(1);
        let payload = match entry.payload {
            None => Payload::Blank,
            Some(wire::entry::Payload::Command(command)) => Payload::Normal(Proposal(command)),
            Some(wire::entry::Payload::Membership(record)) => {
                Payload::Membership(types::membership(&codec::decode(&record).ok()?).ok()?)
            }
        };
        entries.push(Entry { log_id, payload });
    }
    let leader_commit = append.commit.map(log_id_in);
    Some(AppendEntriesRequest { vote: vote_in(append.vote)?, prev_log_id, entries, leader_commit })
}

/// The answer to an append, for the wire.
pub(super) fn append_answer_out(
    answer: &AppendEntriesResponse<TypeConfig>,
) -> wire::AppendResponse {
    use wire::append_response::Result;
    let result = match answer {
        AppendEntriesResponse::Success => Result::Success(true),
        AppendEntriesResponse::PartialSuccess(Some(upto)) => Result::Partial(log_id_out(upto)),
        AppendEntriesResponse::PartialSuccess(None) => Result::PartialNone(true),
        AppendEntriesResponse::Conflict => Result::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Result::HigherVote(vote_out(vote)),
    };
    wire::AppendResponse { result: Some(result) }
}

/// Whether who answers so follows the sender of the append as its leader.
pub(super) fn is_accepted(answer: &AppendEntriesResponse<TypeConfig>) -> bool {
    !matches!(answer, AppendEntriesResponse::HigherVote(_))
}

/// The answer to an append, from the wire.
pub(super) fn append_answer_in(
    answer: wire::AppendResponse,
) -> Option<AppendEntriesResponse<TypeConfig>> {
    use wire::append_response::Result;
    Some(match answer.result? {
        Result::Success(_) => AppendEntriesResponse::Success,
        Result::Partial(upto) => AppendEntriesResponse::PartialSuccess(Some(log_id_in(upto))),
        Result::PartialNone(_) => AppendEntriesResponse::PartialSuccess(None),
        Result::Conflict(_) => AppendEntriesResponse::Conflict,
        Result::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_in(Some(vote))?),
    })
}

/// A request for a vote, for the wire.
pub(super) fn vote_request_out(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

/// A request for a vote, from the wire.
pub(super) fn vote_request_in(request: wire::VoteRequest) -> Option<VoteRequest<TypeConfig>> {
    let mut out = VoteRequest::new(vote_in(request.vote)?, request.last.map(log_id_in));
    out.leadership_transfer = request.leadership_transfer;
    Some(out)
}

/// The answer to a request for a vote, for the wire.
pub(super) fn vote_answer_out(answer: &VoteResponse<TypeConfig>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_out(&answer.vote)),
        granted: answer.vote_granted,
        last: answer.last_log_id.as_ref().map(log_id_out),
    }
}

/// The answer to a request for a vote, from the wire.
pub(super) fn vote_answer_in(answer: wire::VoteResponse) -> Option<VoteResponse<TypeConfig>> {
    let vote = vote_in(answer.vote)?;
    Some(VoteResponse::new(vote, answer.last.map(log_id_in), answer.granted))
}

/// A leader's wish to hand over, for the wire.
pub(super) fn transfer_out(request: &TransferLeaderRequest<TypeConfig>) -> wire::TransferRequest {
    wire::TransferRequest {
        from_leader: Some(vote_out(request.from_leader())),
        to_replica: *request.to_node_id(),
        last: request.last_log_id().map(log_id_out),
    }
}

/// A leader's wish to hand over, from the wire.
pub(super) fn transfer_in(
    request: wire::TransferRequest,
) -> Option<TransferLeaderRequest<TypeConfig>> {
    let from = vote_in(request.from_leader)?;
    Some(TransferLeaderRequest::new(from, request.to_replica, request.last.map(log_id_in)))
}
