//! The hybrid logical clock of a node (Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! Its reading never falls and never repeats within a process; every message between nodes carries
//! one and raises the receiver's, within reason. It does not survive a restart: a new leader raises
//! it above the newest version that its range has applied before it writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Timestamp;
use crate::seams::Clock;

/// How far a time may be ahead of this node's that somebody else claims: a peer's reading of the wall
/// clock, a client's first attempt of the cluster's time.
pub const AHEAD_MAX: Duration = Duration::from_secs(60);

/// A node's hybrid logical clock. Shared by all its ranges.
#[derive(Debug)]
pub struct Hlc {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl Hlc {
    /// A clock over the node's wall clock.
    pub fn new(clock: Arc<dyn Clock>) -> Hlc {
        Hlc { clock, last: AtomicU64::new(0) }
    }

    /// A timestamp above every one that this clock gave or saw.
    pub fn now(&self) -> Timestamp {
        self.take(1)
    }

    /// The first of `count` consecutive timestamps, all above every one that this clock gave or
    /// saw.
    pub fn take(&self, count: u64) -> Timestamp {
        let physical = Timestamp::from_us(self.clock.wall_us()).0;
        let advance =
            |last: u64| Some(physical.max(last.saturating_add(1)).saturating_add(count - 1));
        match self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance) {
            Ok(last) | Err(last) => Timestamp(physical.max(last.saturating_add(1))),
        }
    }

    /// The newest reading, or the wall clock where that is ahead; does not advance the clock.
    pub fn peek(&self) -> Timestamp {
        let physical = Timestamp::from_us(self.clock.wall_us());
        physical.max(Timestamp(self.last.load(Ordering::Acquire)))
    }

    /// The node's wall clock alone. Nothing may be decided by it.
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_us(self.clock.wall_us())
    }

    /// Raises the clock to a reading that a range has applied, which is a fact.
    pub fn observe(&self, seen: Timestamp) {
        self.last.fetch_max(seen.0, Ordering::AcqRel);
    }

    /// Raises the clock to a reading that a message carried. One more than [`AHEAD_MAX`] ahead of
    /// the wall clock is not believed: a single wrong clock would carry all others away, to the end
    /// of time at worst. Returns whether it was believed.
    pub fn merge(&self, heard: Timestamp) -> bool {
        let latest = Timestamp::from_us(self.clock.wall_us()).saturating_add(AHEAD_MAX);
        let believed = heard <= latest;
        if believed {
            self.observe(heard);
        }
        believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(AtomicU64);

    impl Clock for Fixed {
        fn wall_us(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn rises_when_the_wall_clock_falls() {
        let clock = Arc::new(Fixed(AtomicU64::new(1_000)));
        let hlc = Hlc::new(clock.clone());
        let first = hlc.now();
        clock.0.store(10, Ordering::Relaxed);
        let second = hlc.take(5);
        assert!(second > first);
        let third = hlc.now();
        assert!(third.0 >= second.0 + 5, "{third:?} overlaps a block of five from {second:?}");
        hlc.observe(Timestamp::from_us(5_000));
        assert!(hlc.now() > Timestamp::from_us(5_000));
    }

    #[test]
    fn a_peer_far_ahead_is_not_believed() {
        let hlc = Hlc::new(Arc::new(Fixed(AtomicU64::new(1_000))));
        let minute = Timestamp::from_us(1_000).saturating_add(AHEAD_MAX);
        assert!(!hlc.merge(Timestamp::MAX));
        assert!(!hlc.merge(minute.next()));
        assert!(hlc.now() < Timestamp::from_us(2_000));
        assert!(hlc.merge(minute));
        assert!(hlc.now() > minute);
    }
}
