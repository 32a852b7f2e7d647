//! Changing the replicas of a range, as its leader.
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

use std::collections::BTreeSet;

use super::{command::outcome::Applied, members::Members, replica::Replica};
use crate::{
    ids::{NodeId, ReplicaId},
    storage::format::command::Command,
};

impl Replica {
    /// The replicas of the range as this one knows them.
    pub fn members(&self) -> Members {
        self.raft.progress().members
    }

    /// How many entries another replica is known to lack. Nothing is known of it at first.
    pub fn lag_of(&self, replica: ReplicaId) -> Option<u64> {
        let progress = self.raft.progress();
        progress.matched(replica).map(|matched| progress.last_index.saturating_sub(matched))
    }

    /// Reserves a replica id of the range. `Err`: perhaps one was reserved; nobody will have it.
    pub async fn reserve_id(&self) -> Result<ReplicaId, String> {
        let term = self.raft.leads().ok_or("this replica leads no more")?;
        let command = Command::ReserveReplica { evaluated_under: term };
        let applied = async { self.raft.propose_command(term, &command).await?.await };
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
        self.raft.add_learner(decided_on, replica, node).await
    }

    /// Makes a learner a voter in the place of others, which are replicas of the range no more.
    pub async fn put_in_place(
        &self,
        decided_on: &Members,
        replica: ReplicaId,
        of: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        self.raft.replace_voters(decided_on, &BTreeSet::from([replica]), of).await
    }

    /// Ends a change that somebody else began.
    pub async fn end_change(&self, decided_on: &Members) -> Result<(), String> {
        self.raft.end_change(decided_on).await
    }

    /// Removes replicas that do not vote.
    pub async fn remove_learners(
        &self,
        decided_on: &Members,
        replicas: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        self.raft.remove_learners(decided_on, replicas).await
    }
}
