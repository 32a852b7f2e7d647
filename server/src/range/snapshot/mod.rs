//! Raft snapshots: a range's state, sent to a replica that the log no longer reaches.
//!
//! ```text
//!   leader                                              follower
//!   read snapshot of the data engine                    chunks are staged (Family::Staged), synced
//!     source.rs: chunk 0, 1, 2 …  --- peer stream --->  all there and checked
//!     send.rs: throttled, one at a time                   receive.rs, stage.rs
//!                                                       marker written: the commit point
//!                                                       old content cleared, new content written
//!                                                       applied record + descriptor, marker removed
//!                                                         install.rs
//! ```
//!
//! *What is in it.* Every record of the range at one applied position: versions, locks, transaction
//! records and marks of the span, what is remembered of requests whose anchor lies in the span, and
//! the range's own records. All of it comes from one read snapshot of the data engine, applied record
//! and descriptor included, so writes go on meanwhile (`content.rs`).
//!
//! *Resuming.* A chunk's bounds follow from the read snapshot alone, so a stream that was cut goes on
//! at the first chunk that the receiver lacks; at most the one under way is sent twice. The leader
//! keeps the read snapshot for a while for that ([`source::Outbox`]); the receiver keeps its chunks,
//! also across a restart, as far as they had become durable.
//!
//! # Invariants
//!
//! * A replica's state is that of an applied position, whole: before the marker is written the old
//!   one, from then on the new one. Whoever opens a replica completes the installation first
//!   ([`install::recover`]); nobody reads the state meanwhile.
//! * The log is truncated for a raft snapshot only after its state is durable: the installation ends
//!   with a sync, before openraft is told.
//! * A raft snapshot is refused where it could rewind or mix: another cluster's, another replica's, of
//!   an older position than the applied one, under a lower vote, or over a span of which another
//!   replica of the node holds a part.
//! * Memory is bounded: one chunk on either side, and the engine's memtables, which are flushed every
//!   [`SYNC_BYTES`].
//!
//! # On a crash
//!
//! The data engine comes back with a prefix of its batches, and that is all that this needs: chunks
//! come before the marker, the marker before the first change, the last change takes the marker away.

pub mod content;
pub mod install;
pub mod limits;
pub mod receive;
pub mod send;
pub mod source;
pub mod stage;
#[cfg(all(test, not(madsim)))]
mod tests;

use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::storage::codec::SnapshotHead;

/// Bytes that are staged or installed before the data engine is flushed.
pub const SYNC_BYTES: usize = 16 << 20;

/// What goes through openraft as a raft snapshot's data: never the content itself.
pub enum SnapshotData {
    /// A durable point of this replica: permits to truncate its log, can't be sent.
    Durable,
    /// To be sent.
    Source(Arc<source::Source>),
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

/// The right to install what is staged.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Of what.
    pub head: SnapshotHead,
    /// How many chunks are staged.
    pub chunks: u64,
}

/// The checksum over the checksums of chunks, one chunk further.
pub fn sum_with(sum: u64, chunk: u64) -> u64 {
    let mut both = [0; 16];
    let (first, second) = both.split_at_mut(8);
    first.copy_from_slice(&sum.to_le_bytes());
    second.copy_from_slice(&chunk.to_le_bytes());
    xxh3_64(&both)
}
