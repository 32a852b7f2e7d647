//! Linearizable reads of one range: ReadIndex, batched.
//!
//! Reads that arrive while a confirmation round is under way are answered by the next one: a round
//! that began after a read arrived proves that this replica led at that moment; the read then sees
//! at least everything that was committed before (Ongaro's thesis, section 6.4). The first round of a
//! leadership goes through Raft, which also waits for the leader's first entry; further ones are
//! shared with the node's other ranges (`leadership`). Leader leases are not used: they need an
//! assumption on clock rates.
//!
//! # What a read has to wait for
//!
//! A get waits for the writes of its key that are on their way when it is looked at, a page of a scan for those that
//! may be at or below its moment (`range/guards.rs`). A get of a key that expires may have to wait for a timestamp
//! (`range/expiry.rs`). Both wait apart from the other reads (`waiting.rs`).
//!
//! ```text
//!   queue.rs     reads that wait for their turn
//!   confirm.rs   that this replica leads, after they arrived
//!   serve.rs     what they find in the applied state
//!   follower.rs  strict reads by a replica that does not lead
//!   waiting.rs   those that have to wait before they are answered
//!   task.rs      one task a replica that does it
//! ```
//!
//! # Invariants
//!
//! * A read is served only after a round that began after it arrived has confirmed the leadership (`task.rs`).
//! * A get looks at the span again, and at what has expired, at the moment at which it is served (`serve.rs`).
//! * A page's moment is published before its round of confirmations begins ([`Replica::read`]): no later leader writes
//!   anything at or below it.
//!
//! [`Replica::read`]: super::replica::Replica::read
//!
//! On a crash nothing is kept: a caller that got no answer asks again.

mod confirm;
pub(crate) mod follower;
pub(super) mod queue;
pub(super) mod serve;
pub(super) mod task;
pub(super) mod waiting;
