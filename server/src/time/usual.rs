//! How long something usually takes, and after how long it is late: who asks several nodes goes by it.

use std::{ops::RangeInclusive, time::Duration};

/// A time counts as one part in this many in what is usual.
const PARTS: u32 = 8;
/// Late is what takes this many times as long.
const LATE_FACTOR: u32 = 4;

/// How long something usually takes. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usual {
    took: Duration,
    failed: bool,
}

impl Usual {
    /// As it is taken to be before anything is known.
    pub fn new(took: Duration) -> Usual {
        Usual { took, failed: false }
    }

    /// How long it takes.
    pub fn get(self) -> Duration {
        self.took
    }

    /// It has taken this time. After a failure this alone counts.
    pub fn took(&mut self, took: Duration) {
        self.took = if self.failed { took } else { (self.took * (PARTS - 1) + took) / PARTS };
        self.failed = false;
    }

    /// It has failed: until it succeeds it is taken to need this time.
    pub fn fails(&mut self, took: Duration) {
        *self = Usual { took, failed: true };
    }

    /// After how long it is late, within bounds.
    pub fn late_after(self, bounds: &RangeInclusive<Duration>) -> Duration {
        (self.took * LATE_FACTOR).clamp(*bounds.start(), *bounds.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_time_changes_little_and_a_failure_all() {
        let mut usual = Usual::new(8 * MS);
        usual.took(16 * MS);
        assert_eq!(usual.get(), 9 * MS);
        assert_eq!(usual.late_after(&(MS..=100 * MS)), 36 * MS);
        assert_eq!(usual.late_after(&(40 * MS..=100 * MS)), 40 * MS);
        usual.fails(1_000 * MS);
        assert_eq!((usual.get(), usual.late_after(&(MS..=100 * MS))), (1_000 * MS, 100 * MS));
        usual.took(2 * MS);
        assert_eq!(usual.get(), 2 * MS);
    }
}
