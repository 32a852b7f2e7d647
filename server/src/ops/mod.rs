//! What an operator sees of a node: metrics, and the HTTP port that serves them.

#[cfg(not(madsim))]
pub mod allocator;
#[cfg(not(madsim))]
pub mod http;
pub mod metrics;
pub mod operation;
#[cfg(not(madsim))]
mod process;
pub mod requests;
