//! A cluster's plan on the wire: who its members are, and how its ranges were born.
//!
//! What a peer sends is checked here: a plan that makes no sense is none ([`from_wire`]).

use quintet_proto::internal::v1 as wire;

use crate::{
    ids::{Generation, NodeId, RangeId, ReplicaId},
    storage::format::{cluster::ClusterRecord, descriptor::Descriptor},
};

/// The plan as it is handed out; for no directory in particular.
pub(super) fn to_wire(cluster: &ClusterRecord) -> wire::Bootstrap {
    wire::Bootstrap {
        cluster_id: cluster.cluster.clone(),
        incarnation: cluster.incarnation,
        nodes: cluster
            .nodes
            .iter()
            .map(|node| wire::NodeAddress { node_id: node.0, ..wire::NodeAddress::default() })
            .collect(),
        directory: 0,
        ranges: cluster.ranges.iter().map(range_to_wire).collect(),
    }
}

/// How a range was born.
pub(super) fn range_to_wire(range: &Descriptor) -> wire::RangePlan {
    wire::RangePlan {
        range_id: range.range.0,
        start: range.start.clone().into(),
        end: range.end.clone().into(),
        replicas: range
            .replicas
            .iter()
            .map(|(replica, node)| wire::ReplicaPlan { replica_id: replica.0, node_id: node.0 })
            .collect(),
        next_replica: range.next_replica.0,
    }
}

/// The range as it is born. What a plan leaves out of `next_replica` its replicas say. It has none where
/// every node lost its disk since: each plan for such a node leaves out the replicas of that node.
pub(super) fn range_from_wire(range: wire::RangePlan) -> Option<Descriptor> {
    let replicas: Vec<_> = range
        .replicas
        .iter()
        .map(|replica| (ReplicaId(replica.replica_id), NodeId(replica.node_id)))
        .collect();
    let above = match replicas.iter().map(|(id, _)| id.0).max() {
        Some(highest) => highest.checked_add(1)?,
        None => std::num::NonZeroU64::new(range.next_replica)?.get(),
    };
    Some(Descriptor {
        range: RangeId(range.range_id),
        start: range.start.to_vec(),
        end: range.end.to_vec(),
        generation: Generation(1),
        replicas,
        next_replica: ReplicaId(above.max(range.next_replica)),
    })
}

/// The plan that another node handed out; none where it makes no sense.
pub(super) fn from_wire(plan: wire::Bootstrap) -> Option<ClusterRecord> {
    let ranges = plan.ranges.into_iter().map(range_from_wire);
    let ranges = ranges.collect::<Option<Vec<_>>>()?;
    if plan.cluster_id.is_empty() || plan.incarnation == 0 || ranges.is_empty() {
        return None;
    }
    Some(ClusterRecord {
        cluster: plan.cluster_id,
        incarnation: plan.incarnation,
        nodes: plan.nodes.iter().map(|node| NodeId(node.node_id)).collect(),
        untold: Vec::new(),
        ranges,
    })
}
