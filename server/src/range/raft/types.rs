//! What openraft is configured with, and its types under short names.

use std::{fmt, time::Duration};

use bytes::Bytes;
use openraft::{RaftTypeConfig, impls};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::{
    ids::{NodeId, ReplicaId},
    storage::{
        Error,
        codec::{self, Position},
    },
    time::local,
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

/// What became of a command when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It was no write.
    Done,
    /// Nothing was done: another leader's entry (design, section 3).
    ReEvaluate,
    /// One flag a group, then one a batch: whether it was applied. What was not left no trace.
    Groups(Vec<bool>),
    /// The replica id that was reserved.
    Replica(ReplicaId),
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
    // One leader a term, so that a term is a fence (design, section 3).
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

/// A Raft group's handle.
pub type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;
/// A log id.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// A log entry.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// What an entry says.
pub type Payload = openraft::alias::PayloadOf<TypeConfig>;
/// A membership.
pub type Membership = openraft::Membership<u64, Holder>;
/// A membership and where it stands in the log.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;

/// What a group's handle knows of its state.
pub type RaftMetrics = openraft::RaftMetrics<TypeConfig>;

/// The index up to which another replica is known to hold the log; only the leader knows.
pub fn matched(metrics: &RaftMetrics, replica: u64) -> Option<u64> {
    metrics.replication.as_ref()?.get(&replica).copied().flatten().map(|at| at.index())
}

/// When that was sent which another replica answered last; only the leader knows.
pub fn answered_at(metrics: &RaftMetrics, replica: u64) -> Option<local::Instant> {
    let heard = metrics.heartbeat.as_ref()?.get(&replica).copied().flatten()?;
    Some(heard.into_inner().local())
}

/// Whether another replica has answered the leader within so long; only the leader knows.
pub fn has_answered(metrics: &RaftMetrics, replica: u64, within: Duration) -> bool {
    answered_at(metrics, replica).is_some_and(|asked_at| asked_at.elapsed() <= within)
}

/// How long ago the leader asked what another replica answered last; only the leader knows.
pub fn answered_ago(metrics: &RaftMetrics, replica: u64) -> Option<Duration> {
    answered_at(metrics, replica).map(|asked_at| asked_at.elapsed())
}

/// openraft's log id of a position.
pub fn log_id(position: Position) -> LogId {
    LogId::new(position.term.into(), position.index)
}

/// The position of a log id.
pub fn position(log_id: &LogId) -> Position {
    Position { term: **log_id.committed_leader_id(), index: log_id.index() }
}

/// Bytes of an entry's command; 0 for other entries.
pub fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.0.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

/// The stored form of a membership.
pub fn membership_record(membership: &Membership) -> codec::Membership {
    codec::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| config.iter().map(|id| ReplicaId(*id)).collect())
            .collect(),
        replicas: membership.nodes().map(|(id, holder)| (ReplicaId(*id), holder.node)).collect(),
    }
}

/// The membership of a stored form.
pub fn membership(record: &codec::Membership) -> Result<Membership, Error> {
    if record.configs.is_empty() {
        return Ok(Membership::default());
    }
    let configs =
        record.configs.iter().map(|config| config.iter().map(|id| id.0).collect()).collect();
    let nodes: std::collections::BTreeMap<u64, Holder> =
        record.replicas.iter().map(|(id, node)| (id.0, Holder { node: *node })).collect();
    Membership::new(configs, nodes)
        .map_err(|error| Error::Corrupt(format!("a membership that cannot be: {error}")))
}

/// The stored form of a vote.
pub fn vote_record(vote: &Vote) -> codec::VoteRecord {
    codec::VoteRecord {
        term: vote.leader_id.term,
        replica: ReplicaId(vote.leader_id.voted_for),
        committed: vote.committed,
    }
}

/// The vote of a stored form.
pub fn vote(record: codec::VoteRecord) -> Vote {
    if record.committed {
        Vote::new_committed(record.term, record.replica.0)
    } else {
        Vote::new(record.term, record.replica.0)
    }
}
