//! Why a replica can't do its work on this node.

use crate::storage;

/// Why a replica can't be loaded, founded or truncated. Its node can't go on with the first, and tries again after
/// the second.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its storage failed, or holds what it must not.
    #[error("{0}")]
    Storage(#[from] storage::Error),
    /// Its Raft group refuses, or has ended; in openraft's words.
    #[error("{0}")]
    Group(String),
}
