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
//!   [`stage::SYNC_BYTES`].
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
