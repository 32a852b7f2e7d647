//! Time: timestamps and the oracle that gives them.
//!
//! Every timestamp comes from a round of the timestamp oracle ([`oracle`]). No clock is trusted, for order or anything
//! else that must be right; clocks only keep timestamps close to what shows on walls. A node's monotonic clock is
//! behind [`local`], its wall clock behind [`Clock`].

pub mod local;
pub mod oracle;
mod source;
mod timestamp;
mod usual;
mod words;

pub use source::Clock;
pub use timestamp::Timestamp;
pub use usual::Usual;
pub use words::{beside, ms, ms_u32, patience, utc, words};
