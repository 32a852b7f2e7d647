//! When a key that expires is absent.
//!
//! The rule is one sentence: at a timestamp at or above its expiry a key is absent, and nothing else makes it so
//! (`storage/life.rs`). What needs care is *whose* now that timestamp is:
//!
//! ```text
//!   the range's time     rises with what is applied; no clock and no failover takes it back
//!   the leader's clock   is ahead of it by some milliseconds, or by hours where nobody writes
//!
//!   ------ alive ------|------ alive by the one, absent by the other ------|------ absent for ever ------>
//!                 expiry, by the clock                            expiry, by the range's time
//! ```
//!
//! # Invariants
//!
//! * "Absent, because it expired" is said only by a range whose time has passed the expiry: otherwise the next
//!   leader, whose clock may be behind, would say "present". In between (`Life::Expiring`) the range's time is moved
//!   first: a read waits for that (`reads/wait_for_time.rs`), a refusal is proposed, and the entry moves it
//!   (`executor/evaluated.rs`).
//! * A write decides by its own timestamp, which becomes the range's time when it is applied.
//! * Scans and pages of deletions look by the same two moments (`storage/mvcc.rs`).
//!
//! On a crash nothing is lost: the range's time is part of the applied state.

use std::time::Duration;

use crate::{
    planted::{self, Bug},
    time::{Hlc, Timestamp},
};

/// Only with [`Bug::ExpiryShownLate`]: how much too late. Clocks of other scenarios differ by as much.
const SHOWN_LATE: Duration = Duration::from_secs(2);

/// When a key that is written at `at` expires.
pub fn expiry(at: Timestamp, ttl: Option<Duration>) -> Option<Timestamp> {
    ttl.map(|ttl| at.saturating_add(ttl))
}

/// How a read decides what has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// By the leader's clock: what that has passed and the range's time has not makes it wait.
    ByClock,
    /// By the range's time, which was moved since the read arrived.
    ByTime,
}

impl Expiry {
    /// The two moments that a get goes by, in a range whose time is `time`; `now` is the leader's clock.
    pub(super) fn moments(
        self,
        time: Timestamp,
        now: Timestamp,
        hlc: &Hlc,
    ) -> (Timestamp, Timestamp) {
        match self {
            // The careless hand: "everybody has a clock".
            _ if planted::active(Bug::ExpiryByReplicaClock) => (hlc.wall(), hlc.wall()),
            // The careless hand: "a little later does no harm".
            Expiry::ByClock if planted::active(Bug::ExpiryShownLate) => {
                (time.min(now.saturating_sub(SHOWN_LATE)), now.saturating_sub(SHOWN_LATE))
            }
            Expiry::ByClock => (time, now),
            Expiry::ByTime => (time, time),
        }
    }
}
