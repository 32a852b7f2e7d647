//! When a key that expires is absent.
//!
//! The rule is one sentence: at a timestamp at or above its expiry a key is absent, and nothing else makes it so
//! (`storage/life.rs`). What needs care is *whose* timestamp that is:
//!
//! ```text
//!   a write     its own: a condition that meets an expired key finds none
//!   a scan      the moment that its pages show
//!   a get       what the node knows to be published, where that is at or above the expiry: absent for everybody
//!               from then on. Where it is not, a round of the oracle decides (`reads/waiting.rs`)
//! ```
//!
//! # Invariants
//!
//! * "Absent, because it expired" rests on a published timestamp: whoever asks later, of whatever leader, is answered
//!   by a timestamp that is not below.
//! * "There, though it expires" rests on a round that began after the request came: nobody was told before that the key
//!   is absent.
//!
//! No clock has a say in it, but for how close timestamps are to what clocks on walls show.

use std::time::Duration;

use crate::time::Timestamp;

/// Only with [`Bug::ExpiryShownLate`](crate::planted::Bug): how much too late.
pub(super) const SHOWN_LATE: Duration = Duration::from_secs(2);

/// When a key that is written at `at` expires.
pub fn expiry(at: Timestamp, ttl: Option<Duration>) -> Option<Timestamp> {
    ttl.map(|ttl| at.saturating_add(ttl))
}

/// By what a get decides whether what it finds has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// By what is known to be published; where that does not decide it, it has to wait for a round.
    Known {
        /// It has waited for the guards that it met.
        guarded: bool,
    },
    /// By this timestamp, of a round that began after it came.
    At(Timestamp),
}
