//! The replicas of a range, and changing them, as its leader.
//!
//! Everything here is one step of Raft's own protocol: a replica joins as a learner, catches up, and is a
//! voter by joint consensus in the place of another. Who wants which steps, and in which order, is decided
//! in `cluster/replace/mod.rs`.
//!
//! # Invariants
//!
//! * An id that was reserved ([`Replica::reserve_id`]) is nobody else's, ever: the counter is a part of the
//!   range's applied state.
//! * A change is proposed only on the membership that it was decided on: otherwise Raft refuses it.
//!
//! # On a crash
//!
//! A change may be left half done: then the membership is joint ([`Members::is_joint`]), which is safe and
//! needs majorities of both sets. Whoever leads next ends it with [`Replica::end_change`], which keeps
//! those that were to go as learners: whoever began the change wanted something that is not known here.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{ChangeMembers, async_runtime::watch::WatchReceiver, raft::Precondition};

use super::{
    advance,
    raft::types::{self, Applied, Holder, LogId, TypeConfig},
    replica::Replica,
};
use crate::{
    ids::{NodeId, ReplicaId},
    storage::codec::Command,
};

/// The replicas of a range as its leader sees them, be it committed or not.
#[derive(Clone, Debug)]
pub struct Members {
    /// Where it stands in the log.
    at: Option<LogId>,
    /// A change of the voters is half done.
    is_joint: bool,
    voters: BTreeSet<ReplicaId>,
    holders: BTreeMap<ReplicaId, NodeId>,
}

impl Members {
    /// Of a group without a log; for tests.
    #[cfg(test)]
    pub(crate) fn of(is_joint: bool, voters: &[u64], holders: &[(u64, u64)]) -> Members {
        Members {
            at: None,
            is_joint,
            voters: voters.iter().map(|id| ReplicaId(*id)).collect(),
            holders: holders.iter().map(|(id, node)| (ReplicaId(*id), NodeId(*node))).collect(),
        }
    }

    /// Whether a change of the voters is half done.
    pub fn is_joint(&self) -> bool {
        self.is_joint
    }

    /// Whether a replica votes.
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica)
    }

    /// The replicas that a node holds, or held.
    pub fn on(&self, node: NodeId) -> BTreeSet<ReplicaId> {
        let on_it = self.holders.iter().filter(|(_, holder)| **holder == node);
        on_it.map(|(replica, _)| *replica).collect()
    }

    /// The nodes of all replicas.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.holders.values().copied().collect()
    }

    /// How many replicas there are, and how many of them vote.
    pub fn count(&self) -> (usize, usize) {
        (self.holders.len(), self.voters.len())
    }
}

impl Replica {
    /// The replicas of the range as this one knows them.
    pub fn members(&self) -> Members {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Members {
            at: *metrics.membership_config.log_id(),
            is_joint: membership.get_joint_config().len() > 1,
            voters: membership.voter_ids().map(ReplicaId).collect(),
            holders: membership.nodes().map(|(id, holder)| (ReplicaId(*id), holder.node)).collect(),
        }
    }

    /// How many entries another replica is known to lack. Nothing is known of it at first.
    pub fn lag_of(&self, replica: ReplicaId) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        types::matched(&metrics, replica.0).map(|matched| last.saturating_sub(matched))
    }

    /// Reserves a replica id of the range. `Err`: perhaps one was reserved; nobody will have it.
    pub async fn reserve_id(&self) -> Result<ReplicaId, String> {
        let leader = self.raft.as_leader().map_err(|error| error.to_string())?;
        let term = leader.term();
        let command = Command::ReserveReplica { evaluated_under: term };
        let applied = async { advance::propose(&self.raft, term, &command).await?.await };
        match applied.await {
            Some(Applied::Replica(id)) => Ok(id),
            _ => Err("leadership changed".to_owned()),
        }
    }

    /// Adds a replica that does not vote.
    pub async fn add_learner(
        &self,
        decided_on: &Members,
        replica: ReplicaId,
        node: NodeId,
    ) -> Result<(), String> {
        let learner = BTreeMap::from([(replica.0, Holder { node })]);
        self.change(decided_on, ChangeMembers::AddNodes(learner), true).await
    }

    /// Makes a learner a voter in the place of others, which are replicas of the range no more.
    pub async fn put_in_place(
        &self,
        decided_on: &Members,
        replica: ReplicaId,
        of: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let changes = ChangeMembers::Batch(vec![
            ChangeMembers::AddVoterIds(BTreeSet::from([replica.0])),
            ChangeMembers::RemoveVoters(of.iter().map(|id| id.0).collect()),
        ]);
        self.change(decided_on, changes, false).await
    }

    /// Ends a change that somebody else began.
    pub async fn end_change(&self, decided_on: &Members) -> Result<(), String> {
        self.change(decided_on, ChangeMembers::AddVoterIds(BTreeSet::new()), true).await
    }

    /// Removes replicas that do not vote.
    pub async fn remove_learners(
        &self,
        decided_on: &Members,
        replicas: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let ids = replicas.iter().map(|id| id.0).collect();
        self.change(decided_on, ChangeMembers::RemoveNodes(ids), true).await
    }

    async fn change(
        &self,
        decided_on: &Members,
        changes: ChangeMembers<u64, Holder>,
        retain: bool,
    ) -> Result<(), String> {
        let unchanged: Precondition<TypeConfig> =
            Precondition::LastMembershipLogId { last_membership_log_id: decided_on.at };
        let changed = self.raft.change_membership_if(changes, retain, [unchanged]).await;
        changed.map(drop).map_err(|error| error.to_string())
    }
}
