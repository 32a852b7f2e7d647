//! One replicated range: its Raft group, the leader's write path, reads.
//!
//! ```text
//!   replica.rs       a replica on this node: its queues and tasks      shared.rs  what they share
//!   request.rs       requests and answers                              answer.rs  what a caller is told
//!   executor/        writes: gathered, latched, stamped, evaluated, proposed, applied
//!     cadence.rs       when they are proposed                          dedup.rs   exactly once
//!   reads/           reads: leadership confirmed, served               expiry.rs  when a key is absent
//!     leadership.rs    confirmations, for all ranges of a node         guards.rs  writes on their way
//!   command/         what a command does, pure                         held.rs    what a key holds
//!   state.rs         the applied state                                 checksum.rs a hash over it
//!   raft/            openraft, and the only user of it                 snapshot/  raft snapshots
//!   truncation.rs    how far the log may go                            closed.rs   moments that are over
//!   members.rs       who the replicas are                              change.rs  changing them
//!   elections.rs     when replicas stand for election                  check_quorum.rs  leaders that give up
//!   known.rs         who leads, for people                             faults.rs  what went wrong last
//!   changes.rs       what is written, in order, for feeds              recent.rs  what was written lately
//!                                                                      error.rs   why one does not start
//! ```
//!
//! Files know only what is below them: `request.rs`, `members.rs`, `expiry.rs` at the bottom, then `dedup.rs`,
//! `command/`, `snapshot/`, `state.rs`, `raft/`, `shared.rs`, reads and executor, and `replica.rs` with what is done
//! to a replica on top.

mod answer;
pub mod cadence;
mod change;
pub mod changes;
pub mod check_quorum;
pub mod checksum;
pub mod closed;
pub mod command;
pub mod dedup;
pub mod elections;
pub mod error;
mod executor;
pub mod expiry;
pub mod faults;
mod guards;
pub mod held;
pub mod known;
pub mod leadership;
pub mod members;
pub mod raft;
pub(crate) mod reads;
pub mod recent;
pub mod replica;
pub mod request;
pub mod shared;
pub mod snapshot;
pub mod state;
mod truncation;
