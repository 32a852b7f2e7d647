//! The node's monotonic clock: all of the server's waiting and measuring of time goes through here.
//!
//! In production these are Tokio's own, under another name and at no cost. In the simulation each node
//! has a clock that runs at a rate of its own, which may change ([`LocalClock`]): a second on one node
//! is not a second on another, for its timers, for Raft's, and for its wall clock alike. So code that
//! asks Tokio for the time would be right on all nodes but never be tested: `script/tidy/src/rules/randomness.rs`
//! looks for it.
//!
//! [`LocalClock`]: simulated::LocalClock

#[cfg(not(madsim))]
pub use tokio::time::{Instant, Sleep, interval, sleep, sleep_until, timeout};

#[cfg(madsim)]
pub mod simulated;

#[cfg(madsim)]
pub use self::simulated::{Instant, Sleep, interval, sleep, sleep_until, timeout};
