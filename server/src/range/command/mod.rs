//! Replicated commands: one file per command, pure rules, no clocks, no randomness, no hash order.
//!
//! ```text
//!   evaluate.rs         the leader's half: what a request means on the state of its key, before it is proposed
//!   put.rs delete.rs increment.rs expire.rs    and what each of them does where its condition holds
//!
//!   apply.rs            every replica's half: which command an entry holds
//!   target.rs           what it is applied to, and the conditions that all writes are held to
//!   write.rs            results of requests on one key, in groups, and of requests on several
//!   put_many.rs         a request on several keys
//!   delete_range.rs     a page of a deletion
//!   thresholds.rs       dedup threshold and gc thresholds move, or are held
//!   time_servers.rs     another set of time servers, in the system range
//!   reserve_replica.rs  a replica id is given, once
//!   outcome.rs          what a command came to
//! ```
//!
//! # Invariants
//!
//! * The same command on the same state gives the same state and the same outcome on every replica.
//! * A command that was evaluated in another term than its entry's leaves no trace: between the two another leader
//!   may have changed what it was evaluated on.
//!
//! `testscripts/` has both halves one after the other, one scenario per file: the leader's is the executor's own
//! (`executor/scripts.rs`).

pub mod apply;
mod delete;
mod delete_range;
pub mod evaluate;
mod expire;
mod increment;
pub mod outcome;
mod put;
mod put_many;
mod reserve_replica;
pub mod target;
mod thresholds;
mod time_servers;
mod write;

#[cfg(all(test, not(madsim)))]
mod tests;
