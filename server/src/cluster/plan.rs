//! A cluster's plan on the wire: who its members are, and how its ranges were born.
//!
//! What a peer sends is checked here: a plan that makes no sense is none ([`from_wire`]).

use quintet_proto::internal::v1 as wire;

use crate::{
    ids::{Generation, KeyspaceId, NodeId, RangeId, ReplicaId, SYSTEM_RANGE},
    storage::{
        format::{cluster::ClusterRecord, descriptor::Descriptor},
        keys,
    },
};

/// The span of a range: its stored keys from `start` (inclusive) to `end` (exclusive; empty is the
/// end of the key space).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Which range.
    pub(super) range: RangeId,
    /// First stored key.
    pub(super) start: Vec<u8>,
    /// End of the stored keys.
    pub(super) end: Vec<u8>,
}

/// The spans of a new cluster: the system range's, then those of data, which divide at these user keys.
pub(super) fn spans(points: &[Vec<u8>]) -> Vec<Span> {
    let mut starts = vec![Vec::new(), keys::keyspace_start(KeyspaceId::DEFAULT)];
    starts.extend(points.iter().map(|point| keys::encode(KeyspaceId::DEFAULT, point).to_vec()));
    let mut ends: Vec<_> = starts.iter().skip(1).cloned().collect();
    ends.push(Vec::new());
    let ids = (SYSTEM_RANGE.0..).map(RangeId);
    ids.zip(starts.into_iter().zip(ends))
        .map(|(range, (start, end))| Span { range, start, end })
        .collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(spans: &[Span]) {
        assert_eq!(spans.first().map(|span| span.start.clone()), Some(Vec::new()));
        assert_eq!(spans.last().map(|span| span.end.clone()), Some(Vec::new()));
        for pair in spans.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            assert!(pair[0].start < pair[1].start);
            assert_eq!(pair[0].range.0 + 1, pair[1].range.0);
        }
    }

    #[test]
    fn spans_tile_the_key_space() {
        for points in [vec![], vec![b"m".to_vec()], vec![vec![0, 1], vec![0, 2], vec![9]]] {
            let spans = spans(&points);
            assert_eq!(spans.len(), points.len() + 2);
            tile(&spans);
        }
        let by_points = spans(&[b"b".to_vec(), b"b\0".to_vec(), b"c".to_vec()]);
        assert_eq!(by_points.len(), 5);
        tile(&by_points);
        // A point is the first key of the range behind it.
        let point = keys::encode(KeyspaceId::DEFAULT, b"b\0");
        assert_eq!(by_points[3].start, point);
    }
}
