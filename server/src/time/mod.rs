//! Time: timestamps and the hybrid logical clock that gives them.
//!
//! Until there is an oracle, a range's leader takes a write's timestamp from its node's [`Hlc`]. No
//! clock is trusted for order: apply refuses a version at or below the range's time, which is at or
//! above every version that was applied, and a new leader first raises its clock above it. For how long a key
//! lives they are trusted as far as other clocks bear them out ([`discipline`]).

pub mod discipline;
mod hlc;
pub mod local;
pub mod oracle;
mod source;
mod timestamp;
mod words;

pub use hlc::{AHEAD_MAX, Hlc};
pub use source::Clock;
pub use timestamp::Timestamp;
pub use words::{ms, ms_u32, patience, utc, words};
