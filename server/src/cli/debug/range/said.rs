//! What the nodes said of one range.

use std::collections::BTreeMap;

use quintet_client::v1::ReplicaDebug;

/// What one node said.
#[derive(Debug)]
pub(super) enum Said {
    /// Its replica; none where it holds none.
    Replica(Option<Box<ReplicaDebug>>),
    /// It knows no such range.
    Unknown,
    /// It did not answer, and why.
    Silent(String),
}

/// By node.
pub(super) type ByNode = BTreeMap<u64, Said>;

/// The nodes that did not answer, and why.
pub(super) fn silent(nodes: &ByNode) -> Vec<(u64, &str)> {
    let silent = nodes.iter().filter_map(|(node, said)| match said {
        Said::Silent(why) => Some((*node, why.as_str())),
        Said::Replica(_) | Said::Unknown => None,
    });
    silent.collect()
}

/// The replicas, by node.
pub(super) fn replicas(nodes: &ByNode) -> Vec<(u64, &ReplicaDebug)> {
    let replicas = nodes.iter().filter_map(|(node, said)| match said {
        Said::Replica(Some(replica)) => Some((*node, &**replica)),
        Said::Replica(None) | Said::Unknown | Said::Silent(_) => None,
    });
    replicas.collect()
}
