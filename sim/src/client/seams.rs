//! What clients take from around them.

use std::sync::Arc;

/// What clients take from around them, simulated or real.
#[derive(Clone)]
pub struct Seams {
    /// Nanoseconds since some moment before the run; never fewer than before.
    pub now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// 64 random bits, from the run's seed.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How many seconds the slowest clock of a node counts in one of the run.
    pub slowest_clock: f64,
}

impl Seams {
    /// A number in `[least, most]`.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + (self.random)() % (most.saturating_sub(least) + 1)
    }
}
