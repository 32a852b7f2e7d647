//! A Quintet node.
//!
//! In the order a request meets it:
//!
//! ```text
//!   api/      the doors: admission, deadlines, errors as clients see them
//!   request/  what a request and its answer are; decoded and encoded here
//!   router/   key -> range -> replica, here or on another node
//!   range/    one replicated range: latches, proposals, reads, its Raft group
//!   peer/     links between nodes
//!   storage/  engine trait; RocksDB in production, memory engine in the simulation
//! ```
//!
//! Above the router `cluster/` is what a node knows and does as a member, `upkeep/` its background jobs, and `node/`
//! starts and stops all of it. Beside the path are `time/`, `placement/` and `ops/`.

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
