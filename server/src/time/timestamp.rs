//! A point in cluster time.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// 52 bits of microseconds since 2020-01-01 UTC, then a 12-bit logical counter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Bits of the logical counter.
    pub const LOGICAL_BITS: u32 = 12;
    /// Before every write.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every write.
    pub const MAX: Timestamp = Timestamp(u64::MAX);
    /// Microseconds from the Unix epoch to 2020-01-01 UTC.
    pub const EPOCH_UNIX_US: u64 = 1_577_836_800_000_000;

    /// The first timestamp of a microsecond since 2020-01-01 UTC.
    pub fn from_us(us: u64) -> Timestamp {
        Timestamp(us << Self::LOGICAL_BITS)
    }

    /// Microseconds since 2020-01-01 UTC.
    pub fn us(self) -> u64 {
        self.0 >> Self::LOGICAL_BITS
    }

    /// Milliseconds from `now` to this timestamp, rounded up; 0 where it has come.
    pub fn ms_after(self, now: Timestamp) -> u64 {
        self.0.saturating_sub(now.0).div_ceil(1_000 << Self::LOGICAL_BITS)
    }

    /// The timestamp right after this one.
    pub fn next(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1))
    }

    /// This timestamp moved ahead.
    pub fn saturating_add(self, duration: Duration) -> Timestamp {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX >> Self::LOGICAL_BITS);
        Timestamp(self.0.saturating_add(us.saturating_mul(1 << Self::LOGICAL_BITS)))
    }

    /// This timestamp moved back, not below [`Timestamp::ZERO`].
    pub fn saturating_sub(self, duration: Duration) -> Timestamp {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX >> Self::LOGICAL_BITS);
        Timestamp(self.0.saturating_sub(us.saturating_mul(1 << Self::LOGICAL_BITS)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.us(), self.0 & ((1 << Self::LOGICAL_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_rounded_up_to_milliseconds() {
        let now = Timestamp::from_us(5_000);
        assert_eq!(now.ms_after(now), 0);
        assert_eq!(now.next().ms_after(now), 1);
        assert_eq!(now.saturating_add(Duration::from_millis(7)).ms_after(now), 7);
        assert_eq!(now.ms_after(now.next()), 0, "it has come");
        assert!(Timestamp::MAX.ms_after(Timestamp::ZERO) > 0);
    }
}
