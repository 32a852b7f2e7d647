//! The Rust client of Quintet, a distributed, strictly serializable key-value database.
//!
//! ```no_run
//! # async fn example() -> Result<(), quintet_client::Error> {
//! use quintet_client::{Client, Condition};
//!
//! let client = Client::connect(["127.0.0.1:7001", "127.0.0.1:7002"]).await?;
//! let version = client.put("greeting", "hello").await?;
//! client.put_if("greeting", "hello again", Condition::Version(version)).await?;
//! let found = client.get("greeting").await?;
//! assert!(found.is_some_and(|found| found.value == "hello again"));
//! # Ok(())
//! # }
//! ```
//!
//! What the library does for its caller:
//!
//! - **One stream per node.** Operations travel on long-lived `Session` streams, many in flight,
//!   answered out of order. They go to the node that leads the key's range where the client knows
//!   it, else to any node: that node forwards them and names the leader. Operations that are queued
//!   at the same moment share a frame. A [`Client`] is cheap to clone and every method takes
//!   `&self`: share one client, run many operations at the same time.
//! - **A deadline on every call** ([`Builder::timeout`], [`Client::with_timeout`]). It bounds the
//!   whole call, retries and reconnecting included.
//! - **Exactly once.** A write has a request id that stays the same through all retries, so that
//!   the cluster does it once, whichever copy arrives. If the deadline runs out while the outcome
//!   is unknown, the error says so: [`Error::maybe_committed`].
//! - **Backpressure.** The operations in flight are bounded by the number that the server
//!   announces; over it a call waits.
//! - **Bulk loads.** [`Client::batch_writer`] writes any number of keys with bounded memory, many of a range
//!   in one request, in order per key, and reports each that failed or whose outcome is unknown.
//!
//! ```text
//! lib.rs
//!   keys.rs  batch.rs  admin.rs     the calls: single keys, several at once, the cluster as a whole
//!   client.rs                       the handle that they belong to
//!   builder.rs                      settings, the first connection
//!   past.rs  held.rs                reads of the past; a moment that stays readable while it is read
//!   scan.rs  deletion.rs  writer.rs  pages as a stream, a range page by page, many puts in bounded memory
//!   watch.rs                        what is written, as a stream
//!   timestamps.rs                   timestamps, one request for all who wait
//!   caller.rs                       what every call needs: attachment, keyspace, timeout
//!   call.rs                         one operation: send, judge, retry   (op.rs, checks.rs, retry.rs)
//!   attachment.rs                   what clones share                   (request_ids.rs, gathering.rs)
//!   pool.rs                         which node is used                  (routes.rs, nearness.rs, time.rs)
//!   connection.rs                   dial, read, stall
//!   session.rs                      the live stream: send, deliver      (pending.rs)
//!   error.rs  types.rs  deadline.rs
//! ```
//!
//! Imports run downwards.
//!
//! The same code runs in the deterministic simulation (`--cfg madsim`): no threads, no clock but
//! tokio's, and randomness that can be seeded.

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing))]

mod admin;
mod attachment;
mod batch;
mod builder;
mod call;
mod caller;
mod checks;
mod client;
mod connection;
mod deadline;
mod deletion;
mod error;
mod follower;
mod gathering;
mod held;
mod keys;
mod nearness;
mod op;
mod past;
mod pending;
mod pool;
mod request_ids;
mod retry;
mod routes;
mod scan;
mod session;
mod time;
mod timestamps;
mod types;
mod watch;
mod writer;

pub use builder::Builder;
pub use client::Client;
pub use deletion::RangeDeletion;
pub use error::{Error, wire_error};
pub use follower::FollowerReads;
pub use held::HeldSnapshot;
pub use past::{Snapshot, StaleReads};
pub use scan::{Scan, ScanOptions, ScanPage};
pub use types::{
    ClusterInfo, Condition, Incremented, IntoBytes, Limits, PutOptions, Record, Shown, Ttl,
    Version, VersionKept, Versioned,
};
pub use watch::{Change, Watch, WatchPosition, Watched};
pub use writer::{BatchWriter, BatchWriterBuilder, ItemError, ItemOutcome, Progress, Summary};

/// The wire types, for what [`Client::status`] and [`Client::init_cluster`] return.
pub use quintet_proto::v1;

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
