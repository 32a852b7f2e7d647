//! What goes through openraft as a raft snapshot's data: never the content itself.

use std::{fmt, sync::Arc};

use crate::range::snapshot::{source::Source, stage::Ticket};

/// What stands for a raft snapshot.
pub(in crate::range) enum SnapshotData {
    /// A durable point of this replica: permits to truncate its log, can't be sent.
    Durable,
    /// To be sent.
    Source(Arc<Source>),
    /// Received, staged and checked.
    Staged(Box<Ticket>),
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotData::Durable => f.write_str("durable point"),
            SnapshotData::Source(source) => write!(f, "source {:032x}", source.head().id),
            SnapshotData::Staged(ticket) => write!(f, "staged {:032x}", ticket.head.id),
        }
    }
}
