//! What a range's replica has applied, and the thresholds below which it answers nothing any more.
//!
//! In [`Family::Meta`](crate::storage::Family::Meta) of the data engine. It is written in one batch with what
//! was applied, so that after a crash the log is applied again from just there.

use serde::{Deserialize, Serialize};

use super::{
    gc::GcThresholds,
    raft::{Membership, Position},
};
use crate::{
    ids::TimeDomain,
    time::{Timestamp, oracle::membership::Epochs},
};

/// What a range's replica has applied; written in the same batch as what it applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRecord {
    /// The last applied entry.
    pub applied: Option<Position>,
    /// The last applied membership and where it stood.
    pub membership: Membership,
    /// Position of that membership's entry.
    pub membership_at: Option<Position>,
    /// The newest version that the range holds: what is applied later is above it.
    pub newest: Timestamp,
    /// Requests with an earlier first attempt are refused.
    pub dedup_threshold: Timestamp,
    /// Reads of earlier moments are refused.
    pub gc: GcThresholds,
    /// Where those timestamps come from.
    pub time_domain: TimeDomain,
    /// Of the system range: the sets of time servers. Those of time domain 0, as there is no other.
    pub time_servers: Epochs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{NodeId, ReplicaId},
        storage::format::golden::holds,
        time::oracle::{Config, Epoch, ServerId},
    };

    #[test]
    fn format_1() {
        holds(
            &AppliedRecord {
                applied: Some(Position { term: 2, index: 7 }),
                membership: Membership {
                    configs: vec![vec![ReplicaId(1), ReplicaId(2)]],
                    replicas: vec![(ReplicaId(1), NodeId(11)), (ReplicaId(2), NodeId(12))],
                },
                membership_at: Some(Position { term: 1, index: 0 }),
                newest: Timestamp(9),
                dedup_threshold: Timestamp(3),
                gc: GcThresholds { threshold: Timestamp(4), ..GcThresholds::default() },
                time_domain: TimeDomain(0),
                time_servers: Epochs {
                    active: Config { epoch: Epoch(1), members: [ServerId(5)].into() },
                    begun: vec![Config { epoch: Epoch(2), members: [ServerId(6)].into() }],
                    lost: [ServerId(7)].into(),
                },
            },
            "010102070102010202010b020c010100090304000000010105010201060107",
        );
    }
}
