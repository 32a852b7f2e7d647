//! What the range's other replicas send: messages of Raft, and raft snapshots that are received by now.
//!
//! Nothing that a peer sends may panic, or be taken by openraft for a broken invariant, which would end the group:
//! what makes no sense is refused by name before it gets there.

use openraft::alias::SnapshotOf;
use quintet_proto::internal::v1 as net;

use super::{
    group::Group, snapshot_data::SnapshotData, state_machine::snapshot_meta, types,
    types::TypeConfig, wire,
};
use crate::{peer::Kind, range::snapshot::stage::Ticket, storage::format::snapshot::SnapshotHead};

impl Group {
    /// The answer to a message of Raft. `heard` is called where the sender leads, and this replica follows it.
    pub async fn receive(&self, kind: Kind, heard: impl FnOnce() + Send) -> Kind {
        let nonsense = || Kind::Failed("a request that makes no sense".to_owned());
        let stopped = |error: &dyn std::fmt::Display| Kind::Failed(error.to_string());
        match kind {
            Kind::Append(append) => {
                let Some(append) = wire::append_in(append) else { return nonsense() };
                match self.raft.append_entries(append).await {
                    Ok(answer) => {
                        if wire::is_accepted(&answer) {
                            heard();
                        }
                        Kind::AppendAnswer(wire::append_answer_out(&answer))
                    }
                    Err(error) => stopped(&error),
                }
            }
            Kind::Vote(request) => {
                let Some(request) = wire::vote_request_in(request) else { return nonsense() };
                match self.raft.vote(request).await {
                    Ok(answer) => Kind::VoteAnswer(wire::vote_answer_out(&answer)),
                    Err(error) => stopped(&error),
                }
            }
            Kind::PreVote(request) => {
                let Some(request) = wire::vote_request_in(request) else { return nonsense() };
                match self.raft.pre_vote(request).await {
                    Ok(answer) => Kind::VoteAnswer(wire::vote_answer_out(&answer)),
                    Err(error) => stopped(&error),
                }
            }
            Kind::Transfer(request) => {
                let Some(request) = wire::transfer_in(request) else { return nonsense() };
                match self.raft.handle_transfer_leader(request).await {
                    Ok(answer) => {
                        let refusal = answer.err().map(|error| error.to_string());
                        let refusal = refusal.unwrap_or_default();
                        Kind::TransferAnswer(net::TransferResponse { refusal })
                    }
                    Err(error) => stopped(&error),
                }
            }
            _ => nonsense(),
        }
    }

    /// This replica's vote, for the wire.
    pub fn vote_out(&self) -> net::Vote {
        wire::vote_out(&types::vote(self.vote()))
    }

    /// Why openraft would take a raft snapshot of a leader for a broken invariant, and stop.
    pub fn check_snapshot(&self, vote: &net::Vote, head: &SnapshotHead) -> Result<(), String> {
        let applied = head.applied.applied.ok_or("it is of nothing")?;
        if !vote.committed {
            return Err("whoever sends it is no leader".to_owned());
        }
        if applied.term > vote.term {
            return Err(format!("its term {} is above its leader's {}", applied.term, vote.term));
        }
        types::membership(&head.applied.membership).map_err(|error| error.to_string())?;
        match self.committed() {
            Some(known) if applied > known && applied.index <= known.index => {
                Err(format!("it contradicts what is committed here: {applied:?} against {known:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Installs a raft snapshot that is staged; the replica's vote when that is done.
    pub async fn install(&self, vote: net::Vote, ticket: Ticket) -> Result<net::Vote, String> {
        let vote = wire::vote_in(Some(vote)).ok_or("an offer without a vote")?;
        let meta = snapshot_meta(&ticket.head.applied).map_err(|error| error.to_string())?;
        let snapshot = SnapshotOf::<TypeConfig, SnapshotData> {
            meta,
            snapshot: SnapshotData::Staged(Box::new(ticket)),
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(|answer| wire::vote_out(&answer.vote)).map_err(|error| error.to_string())
    }
}
