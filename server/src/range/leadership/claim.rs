//! What a leader claims, and whose word confirms it.

use super::expected::Expected;
use crate::{
    ids::{NodeId, RangeId, ReplicaId},
    range::{
        members::is_majority,
        raft::group::{Group, Leadership},
    },
};

/// That a replica leads its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(super) range: RangeId,
    pub(super) leader: ReplicaId,
    pub(super) term: u64,
    pub(super) electorate: Electorate,
}

impl Claim {
    /// What a replica may claim; none where it does not lead.
    pub fn of(range: RangeId, raft: &Group) -> Option<Claim> {
        let Leadership { leader, term, configs, mut holders } = raft.leadership()?;
        holders.retain(|(replica, _)| {
            *replica != leader && configs.iter().any(|config| config.contains(replica))
        });
        Some(Claim { range, leader, term, electorate: Electorate { configs, others: holders } })
    }

    /// The nodes of the voters that may be asked for it.
    pub(super) fn voters_asked(&self) -> impl Iterator<Item = NodeId> {
        self.electorate.others.iter().map(|(_, node)| *node)
    }

    /// The term that it is for.
    pub fn term(&self) -> u64 {
        self.term
    }
}

/// Whose majority counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Electorate {
    /// One, or two while the membership is joint.
    pub(super) configs: Vec<Vec<ReplicaId>>,
    /// All voters but the leader, and who holds them.
    pub(super) others: Vec<(ReplicaId, NodeId)>,
}

impl Electorate {
    /// Whether these are a majority of each configuration.
    pub(super) fn is_quorum(&self, replicas: &[ReplicaId]) -> bool {
        is_majority(&self.configs, |voter| replicas.contains(&voter))
    }

    /// The others that make a majority with these, the fastest ones.
    pub(super) fn needed(
        &self,
        mut with: Vec<ReplicaId>,
        expected: &Expected,
    ) -> Vec<(ReplicaId, NodeId)> {
        let mut others = self.others.clone();
        others.sort_by_key(|(_, node)| expected.of(*node));
        let mut needed = Vec::with_capacity(others.len());
        others.retain(|(replica, _)| !with.contains(replica));
        for (replica, node) in others {
            if self.is_quorum(&with) {
                break;
            }
            with.push(replica);
            needed.push((replica, node));
        }
        needed
    }
}
