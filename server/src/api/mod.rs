//! The front doors: take requests off the wire, bound what answers hold, map errors.
//!
//! ```text
//!   kv.rs      unary calls     session.rs  many operations on one stream     scan.rs  pages as a stream
//!   admin.rs   forming the cluster and looking at it                        delete_range.rs  pages to their end
//!   hold.rs    a moment is kept while the call is open
//!   watch/     a feed as a stream
//!   call.rs    how a request enters the router, whichever door it came by; deadline and retries
//!   status.rs  errors in gRPC's model
//!   budget.rs line.rs outgoing.rs  bytes of answers: until they are encoded, and until the peer took them
//! ```
//!
//! What requests and answers are is said in [`crate::request`].

pub mod admin;
mod budget;
mod call;
mod delete_range;
#[cfg(not(madsim))]
pub(crate) mod health;
mod hold;
pub mod kv;
pub(crate) mod line;
#[cfg(not(madsim))]
pub(crate) mod outgoing;
mod scan;
mod session;
mod status;
mod watch;
