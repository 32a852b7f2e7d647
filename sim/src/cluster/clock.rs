//! The wall clocks of nodes.

use quintet_server::seams::Clock;

/// A wall clock that is off by a fixed time.
#[derive(Debug)]
pub(super) struct SkewedClock {
    pub(super) offset_ms: i64,
}

impl Clock for SkewedClock {
    fn wall_us(&self) -> u64 {
        // 2026-01-01 at the start of a run, so that offsets never reach the epoch.
        let base = 6 * 365 * 24 * 3600 * 1_000_000_u64;
        let elapsed = madsim::time::TimeHandle::current().elapsed();
        let now = base + u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX / 2);
        now.saturating_add_signed(self.offset_ms * 1_000)
    }
}
