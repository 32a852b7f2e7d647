//! Where a node's wall clock comes from: the machine's in production, a simulated one in the simulation.

use std::fmt;

/// A node's wall clock. It may jump, run fast or slow, or be wrong by hours.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since 2020-01-01 UTC.
    fn wall_us(&self) -> u64;
}
