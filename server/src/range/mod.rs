//! One replicated range: its Raft group, the leader's write path, reads.
//!
//! ```text
//!   request --> executor --(evaluate under latches)--> proposal --> raft --> apply --> answer
//!           \-> reads    --(leadership confirmed)----> state  --------------------> answer
//!                    \-> expiring --(the range's time moved)--> state -----------> answer
//! ```

mod advance;
pub mod cadence;
pub mod check_quorum;
pub mod checksum;
pub mod command;
pub mod elections;
mod executor;
mod expiring;
pub mod faults;
pub mod known;
pub mod leadership;
pub mod members;
pub mod raft;
mod reads;
pub mod replica;
pub mod request;
pub mod snapshot;
