//! Linearizable reads of one range: ReadIndex, batched.
//!
//! Reads that arrive while a confirmation round is under way are answered by the next one: a round
//! that began after a read arrived proves that this replica led at that moment; the read then sees
//! at least everything that was committed before (Ongaro's thesis, section 6.4). The first round of a
//! leadership goes through Raft, which also waits for the leader's first entry; further ones are
//! shared with the node's other ranges (`leadership`). Leader leases are not used: they need an
//! assumption on clock rates.
//!
//! # Expiry
//!
//! Whether a key has expired is decided by the range's time, which no clock and no failover takes
//! back. Where only the leader's clock has passed an expiry, the read waits until the time is moved
//! past it (`wait_for_time.rs`), apart from the other reads: nobody else waits for that. The rule is in
//! `range/expiry.rs`.
//!
//! ```text
//!   queue.rs          reads that wait for their turn
//!   confirm.rs        that this replica leads, after they arrived
//!   serve.rs          what they find in the applied state
//!   wait_for_time.rs  those that the range's time keeps from their answer
//!   task.rs           one task a replica that does it
//! ```
//!
//! # Invariants
//!
//! * A read is served only after a round that began after it arrived has confirmed the leadership (`task.rs`).
//! * A get looks at the span again, and at what has expired, at the moment at which it is served (`serve.rs`).
//!
//! On a crash nothing is kept: a caller that got no answer asks again.

mod confirm;
pub(super) mod queue;
mod serve;
pub(super) mod task;
pub(super) mod wait_for_time;
