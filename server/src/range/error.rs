//! Why a replica can't be started on this node, or its log not be truncated.

use crate::storage;

/// Why a replica can't be loaded or founded, which keeps its node from starting, or its log not be truncated, which is
/// tried again at the next look.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its storage failed, or holds what it must not.
    #[error("{0}")]
    Storage(#[from] storage::Error),
    /// Its Raft group refuses, or has ended; in openraft's words.
    #[error("{0}")]
    Group(String),
}
