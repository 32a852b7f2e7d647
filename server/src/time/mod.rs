//! Time: timestamps and the hybrid logical clock that gives them.
//!
//! Until there is an oracle, a range's leader takes a write's timestamp from its node's [`Hlc`]. No
//! clock is trusted for order: apply asserts that versions rise along the log, and a new leader
//! first raises its clock above everything that the range has applied.

mod hlc;
mod timestamp;

pub use hlc::{AHEAD_MAX, Hlc};
pub use timestamp::Timestamp;
