//! What openraft is built with, its types under short names, and their stored and plain forms.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use openraft::{RaftTypeConfig, impls};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::{
    ids::{NodeId, ReplicaId},
    range::{command::outcome::Applied, members::Members},
    storage::{
        Error,
        format::{
            self,
            raft::{EntryRecord, PayloadRecord, Position},
        },
    },
};

/// A replicated command, encoded: the log and the network pass it on as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A replica of the membership: which node holds it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

/// openraft's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Applied;
    type NodeId = u64;
    type Node = Holder;
    type Term = u64;
    // One leader a term, so that a term is a fence
    // (`docs/decisions/2026-11-29-evaluated-once-under-one-term.md`).
    type LeaderId = impls::leader_id_std::LeaderId<u64, u64>;
    type Vote = impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, u64, Holder>;
    type Entry =
        impls::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

/// A log id.
pub(super) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote.
pub(super) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// A log entry.
pub(super) type Entry = openraft::alias::EntryOf<TypeConfig>;
/// What an entry says.
pub(super) type Payload = openraft::alias::PayloadOf<TypeConfig>;
/// A membership.
pub(super) type Membership = openraft::Membership<u64, Holder>;
/// A membership and where it stands in the log.
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;

/// Why another replica could not be asked.
pub(super) type RpcError = openraft::errors::RPCError<TypeConfig>;

/// What a group's handle knows of its state.
pub(super) type RaftMetrics = openraft::RaftMetrics<TypeConfig>;

/// openraft's log id of a position.
pub(super) fn log_id(position: Position) -> LogId {
    LogId::new(position.term.into(), position.index)
}

/// The position of a log id.
pub(super) fn position(log_id: &LogId) -> Position {
    Position { term: **log_id.committed_leader_id(), index: log_id.index() }
}

/// Bytes of an entry's command; 0 for other entries.
pub(super) fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.0.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

/// An entry in its stored form.
pub(super) fn entry_record(entry: &Entry) -> EntryRecord<'_> {
    let payload = match &entry.payload {
        Payload::Blank => PayloadRecord::Blank,
        Payload::Normal(proposal) => PayloadRecord::Command(&proposal.0),
        Payload::Membership(membership) => PayloadRecord::Membership(membership_record(membership)),
    };
    EntryRecord { position: position(&entry.log_id), payload }
}

/// The stored form of a membership.
pub(super) fn membership_record(membership: &Membership) -> format::raft::Membership {
    format::raft::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| config.iter().map(|id| ReplicaId(*id)).collect())
            .collect(),
        replicas: membership.nodes().map(|(id, holder)| (ReplicaId(*id), holder.node)).collect(),
    }
}

/// The membership of a stored form.
pub(super) fn membership(record: &format::raft::Membership) -> Result<Membership, Error> {
    if record.configs.is_empty() {
        return Ok(Membership::default());
    }
    let configs =
        record.configs.iter().map(|config| config.iter().map(|id| id.0).collect()).collect();
    let nodes: BTreeMap<u64, Holder> =
        record.replicas.iter().map(|(id, node)| (id.0, Holder { node: *node })).collect();
    Membership::new(configs, nodes)
        .map_err(|error| Error::Corrupt(format!("a membership that cannot be: {error}")))
}

/// A membership and its place in plain words.
pub(super) fn members(stored: &StoredMembership) -> Members {
    let membership = stored.membership();
    let config = |config: &BTreeSet<u64>| config.iter().copied().map(ReplicaId).collect();
    Members {
        at: stored.log_id().as_ref().map(position),
        configs: membership.get_joint_config().iter().map(config).collect(),
        holders: membership.nodes().map(|(id, holder)| (ReplicaId(*id), holder.node)).collect(),
    }
}

/// The stored form of a vote.
pub(super) fn vote_record(vote: &Vote) -> format::raft::VoteRecord {
    format::raft::VoteRecord {
        term: vote.leader_id.term,
        replica: ReplicaId(vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

/// The vote of a stored form.
pub(super) fn vote(record: format::raft::VoteRecord) -> Vote {
    if record.committed {
        Vote::new_committed(record.term, record.replica.0)
    } else {
        Vote::new(record.term, record.replica.0)
    }
}
