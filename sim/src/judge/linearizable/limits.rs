//! What the search may cost, and what it takes for granted.

/// The name of the judge.
pub(super) const JUDGE: &str = "linearizable";

/// How much a judgement may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Search steps for one key, some hundred bytes of memory each at worst. A history without
    /// guessing needs fewer than it has operations.
    pub steps_max_per_key: u64,
    /// Steps after which it is examined whether what is stuck is stuck for a reason near by.
    pub patience_steps: u64,
    /// How far two clocks of the cluster may be apart: that much too early or too late may a value
    /// expire.
    pub skew_ns: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps_max_per_key: 200_000, patience_steps: 20_000, skew_ns: 0 }
    }
}
