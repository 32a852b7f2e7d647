//! The replicas of a range: who votes, who only learns, and which node holds each.
//!
//! A plain value, as Raft's log has it at one moment, be it committed or not. While a change of the voters is half
//! done there are two sets of voters (the membership is *joint*), and a majority means one of each.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{NodeId, ReplicaId},
    storage::format::raft::Position,
};

/// Whether the voters that count are a majority of each set; of nobody there is none.
pub fn is_majority<Config>(configs: &[Config], counts: impl Fn(ReplicaId) -> bool) -> bool
where
    for<'c> &'c Config: IntoIterator<Item = &'c ReplicaId>,
{
    let is_majority = |config: &Config| {
        let voters = config.into_iter().map(|voter| counts(*voter));
        let (all, counted) = voters.fold((0, 0), |(all, n), it| (all + 1, n + usize::from(it)));
        counted * 2 > all
    };
    !configs.is_empty() && configs.iter().all(is_majority)
}

/// The replicas of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Where this membership stands in the log; nowhere in a group without one.
    pub at: Option<Position>,
    /// One set of voters, or two while a change is half done.
    pub configs: Vec<BTreeSet<ReplicaId>>,
    /// Every replica and the node that holds it.
    pub holders: BTreeMap<ReplicaId, NodeId>,
}

impl Members {
    /// Of a group without a log; for tests.
    #[cfg(test)]
    pub(crate) fn of(is_joint: bool, voters: &[u64], holders: &[(u64, u64)]) -> Members {
        let config: BTreeSet<_> = voters.iter().copied().map(ReplicaId).collect();
        Members {
            at: None,
            configs: vec![config; if is_joint { 2 } else { 1 }],
            holders: holders.iter().map(|(id, node)| (ReplicaId(*id), NodeId(*node))).collect(),
        }
    }

    /// Whether a change of the voters is half done.
    pub fn is_joint(&self) -> bool {
        self.configs.len() > 1
    }

    /// All voters, of both sets where there are two.
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        self.configs.iter().flatten().copied().collect()
    }

    /// Replicas that do not vote.
    pub fn learners(&self) -> impl Iterator<Item = ReplicaId> {
        self.holders.keys().copied().filter(|replica| !self.is_voter(*replica))
    }

    /// Whether a replica votes.
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.configs.iter().any(|config| config.contains(&replica))
    }

    /// The node that holds a replica.
    pub fn holder(&self, replica: ReplicaId) -> Option<NodeId> {
        self.holders.get(&replica).copied()
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

    /// Whether voters are a majority, of each set where there are two.
    pub fn is_majority(&self, counts: impl Fn(ReplicaId) -> bool) -> bool {
        is_majority(&self.configs, counts)
    }

    /// How many replicas there are, and how many of them vote.
    pub fn count(&self) -> (usize, usize) {
        (self.holders.len(), self.voters().len())
    }
}
