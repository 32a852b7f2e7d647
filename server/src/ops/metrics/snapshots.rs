//! Figures of raft snapshots.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{Gauge, add};

/// Figures of raft snapshots.
pub struct SnapshotMetrics {
    /// Sent and installed by the receiver.
    pub sent: Counter,
    /// Received and installed.
    pub received: Counter,
    /// Transfers that ended otherwise, on the sender's side.
    pub send_failed: Counter,
    /// Transfers that ended otherwise, on the receiver's side.
    pub receive_failed: Counter,
    /// Bytes of chunks sent.
    pub bytes_sent: Counter,
    /// Bytes of chunks received.
    pub bytes_received: Counter,
    /// Chunks sent.
    pub chunks_sent: Counter,
    /// Chunks sent more than once to a replica.
    pub chunks_resent: Counter,
    /// Being installed at the moment.
    pub installing: Gauge,
}

impl SnapshotMetrics {
    pub(super) fn new(r: &mut Registry) -> SnapshotMetrics {
        SnapshotMetrics {
            sent: add(r, "snapshots_sent", "Raft snapshots sent and installed by the receiver"),
            received: add(r, "snapshots_received", "Raft snapshots received and installed"),
            send_failed: add(
                r,
                "snapshots_send_failed",
                "Sendings of raft snapshots that were cut or refused; most go on later",
            ),
            receive_failed: add(
                r,
                "snapshots_receive_failed",
                "Receivings of raft snapshots that were cut or refused; most go on later",
            ),
            bytes_sent: add(r, "snapshot_sent_bytes", "Bytes of chunks of raft snapshots sent"),
            bytes_received: add(
                r,
                "snapshot_received_bytes",
                "Bytes of chunks of raft snapshots received",
            ),
            chunks_sent: add(r, "snapshot_chunks_sent", "Chunks of raft snapshots sent"),
            chunks_resent: add(
                r,
                "snapshot_chunks_resent",
                "Chunks of raft snapshots sent more than once to a replica",
            ),
            installing: add(r, "snapshots_installing", "Raft snapshots being installed"),
        }
    }
}
