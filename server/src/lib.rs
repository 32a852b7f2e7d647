//! A Quintet node.
//!
//! In the order a request meets it:
//!
//! ```text
//!   api/      decode, validate, map errors
//!   router/   key -> range -> replica, here or on another node
//!   range/    one replicated range: latches, proposals, reads, its Raft group
//!   storage/  engine trait; RocksDB in production, memory engine in the simulation
//!   beside:   time/  placement/  ops/  peer/ (links between nodes)
//! ```

pub mod api;
pub mod cluster;
pub mod config;
pub mod error;
pub mod failpoint;
pub mod ids;
pub mod node;
pub mod observe;
pub mod ops;
pub mod peer;
pub mod placement;
pub mod planted;
#[cfg(not(madsim))]
pub mod ports;
pub mod range;
mod request;
pub mod router;
pub mod seams;
pub mod size;
pub mod storage;
#[cfg(test)]
mod testscript;
pub mod time;
pub mod trace;
mod upkeep;
mod wire;
