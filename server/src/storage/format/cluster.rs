//! What a node's disk says of its cluster: the plan that the cluster was born from, and the replicas that came
//! later.
//!
//! Both are in [`Family::Log`](crate::storage::Family::Log) of the log engine.

use serde::{Deserialize, Serialize};

use super::descriptor::Descriptor;
use crate::ids::{NodeId, ReplicaId};

/// The plan of a new cluster, as every member keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Id of the cluster.
    pub cluster: String,
    /// 1 at birth, raised by a recovery.
    pub incarnation: u64,
    /// Its first nodes.
    pub nodes: Vec<NodeId>,
    /// Its first ranges.
    pub ranges: Vec<Descriptor>,
    /// On the node that made the plan: members that are not known to have taken it, each with its
    /// directory of then. None takes the plan on another one: if it lost its disk since, it must not
    /// come back as who it was.
    pub untold: Vec<(NodeId, u64)>,
}

/// A replica that a node holds beside those of its first plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its id.
    pub replica: ReplicaId,
    /// Its range as it was born: what the log begins from.
    pub birth: Descriptor,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Generation, RangeId},
        storage::format::golden::holds,
    };

    /// Came with `quintet 4` directories, or differs in them.
    #[test]
    fn replaced_nodes() {
        let birth = Descriptor {
            range: RangeId(2),
            start: b"a".to_vec(),
            end: Vec::new(),
            generation: Generation(1),
            replicas: vec![(ReplicaId(1), NodeId(11))],
            next_replica: ReplicaId(6),
        };
        let held = ReplicaRecord { replica: ReplicaId(6), birth: birth.clone() };
        holds(&held, "0106020161000101010b06");
        let cluster = ClusterRecord {
            cluster: "c".to_owned(),
            incarnation: 1,
            nodes: vec![NodeId(11)],
            ranges: vec![birth],
            untold: vec![(NodeId(11), 7)],
        };
        holds(&cluster, "01016301010b01020161000101010b06010b07");
    }
}
