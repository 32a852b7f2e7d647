//! What a node's disk says of nodes: whose it is, and where the others listen.
//!
//! Both are in [`Family::Log`](crate::storage::Family::Log) of the log engine; addresses are also values of the
//! cluster's registry, in the system range.

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node that owns it.
    pub node: NodeId,
    /// How often the node has started on it.
    pub boots: u64,
    /// A random number, so that it is not taken for the node's directory of before.
    pub directory: u64,
}

/// A stored address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// Which node.
    pub node: NodeId,
    /// Its locality.
    pub city: String,
    /// Its locality.
    pub room: String,
    /// `host:port` of the internal port.
    pub internal: String,
    /// `host:port` of the client port.
    pub client: String,
    /// `host:port` of the HTTP port.
    pub http: String,
    /// Which start of the node said so.
    pub epoch: u64,
    /// The node's version.
    pub version: String,
    /// [`Identity::directory`].
    pub directory: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::holds;

    /// Came with `quintet 4` directories, or differs in them.
    #[test]
    fn replaced_nodes() {
        holds(&Identity { node: NodeId(3), boots: 2, directory: 300 }, "010302fb2c01");
        let address =
            AddressRecord { node: NodeId(3), epoch: 2, directory: 7, ..Default::default() };
        holds(&address, "01030000000000020007");
    }

    #[test]
    fn addresses() {
        let address = AddressRecord {
            node: NodeId(3),
            city: "c".to_owned(),
            room: "r".to_owned(),
            internal: "i:1".to_owned(),
            client: "c:2".to_owned(),
            http: "h:3".to_owned(),
            epoch: 2,
            version: "0.1".to_owned(),
            directory: 7,
        };
        // Node; city, room; the three ports; epoch, version, directory.
        holds(&address, "01030163017203693a3103633a3203683a330203302e3107");
    }
}
