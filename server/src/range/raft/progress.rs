//! What a replica's Raft group knows of itself, in our words.
//!
//! openraft keeps this as metrics, in its own types and with fields whose meaning one has to look up there. Whoever
//! is not in `range/raft/` sees these plain values instead: copies of one moment, which hold no lock and go out of
//! date at once. Nothing that must be right rests on them but what says so: a leadership is confirmed
//! (`range/leadership.rs`), a proposal and a change carry the term and the membership that they were decided on.

use std::{collections::BTreeMap, time::Duration};

use openraft::ServerState;

use super::types::{self, RaftMetrics};
use crate::{
    ids::ReplicaId,
    range::members::Members,
    storage::format::raft::{Position, VoteRecord},
    time::local::Instant,
};

/// Who a replica votes for, and in which term.
pub type Vote = VoteRecord;

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads, as far as it knows.
    Leader,
    /// It votes, and follows or waits for a leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It does not vote.
    Learner,
    /// The group was told to end.
    Stopped,
}

/// What a leader knows of another replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follower {
    /// The index up to which it is known to hold the log.
    pub matched: Option<u64>,
    /// When that was sent which it answered last.
    pub answered_at: Option<Instant>,
}

/// A replica's group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whose group it is.
    pub me: ReplicaId,
    /// What that replica is in it, or was when an error ended it.
    pub role: Role,
    /// The error that ended the group.
    pub stopped: Option<String>,
    /// The term.
    pub term: u64,
    /// Its vote.
    pub vote: Vote,
    /// Whom it takes for the leader; it may be gone by now.
    pub leader: Option<ReplicaId>,
    /// The index of its log's end.
    pub last_index: u64,
    /// What it knows to be committed.
    pub committed: Option<Position>,
    /// What it has applied.
    pub applied: Option<Position>,
    /// What is noted as durable, or was installed.
    pub snapshot: Option<Position>,
    /// The replicas of the range, be that committed or not.
    pub members: Members,
    /// When that was sent which a majority answered last; only the leader knows.
    pub quorum_answered_at: Option<Instant>,
    /// What the leader knows of each replica.
    pub followers: BTreeMap<ReplicaId, Follower>,
}

impl Progress {
    pub(super) fn of(metrics: &RaftMetrics) -> Progress {
        let mut followers = BTreeMap::<ReplicaId, Follower>::new();
        for (replica, matched) in metrics.replication.iter().flatten() {
            let follower = followers.entry(ReplicaId(*replica)).or_default();
            follower.matched = matched.as_ref().map(|at| at.index());
        }
        for (replica, answered_at) in metrics.heartbeat.iter().flatten() {
            let follower = followers.entry(ReplicaId(*replica)).or_default();
            follower.answered_at = answered_at.map(|at| at.into_inner().local());
        }
        let position = |at: &Option<types::LogId>| at.as_ref().map(types::position);
        Progress {
            me: ReplicaId(metrics.id),
            role: match metrics.state {
                ServerState::Shutdown => Role::Stopped,
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
            },
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
            term: metrics.current_term,
            vote: types::vote_record(&metrics.vote),
            leader: metrics.current_leader.map(ReplicaId),
            last_index: metrics.last_log_index.unwrap_or(0),
            committed: position(&metrics.local_committed),
            applied: position(&metrics.last_applied),
            snapshot: position(&metrics.snapshot),
            members: types::members(&metrics.membership_config),
            quorum_answered_at: metrics.last_quorum_acked.map(|at| at.into_inner().local()),
            followers,
        }
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// The index up to which it has applied everything; 0 where that is nothing.
    pub fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |at| at.index)
    }

    /// The index up to which another replica is known to hold the log; only the leader knows.
    pub fn matched(&self, replica: ReplicaId) -> Option<u64> {
        self.followers.get(&replica)?.matched
    }

    /// How long ago the leader asked what another replica answered last; only the leader knows.
    pub fn answered_ago(&self, replica: ReplicaId) -> Option<Duration> {
        Some(self.followers.get(&replica)?.answered_at?.elapsed())
    }
}
