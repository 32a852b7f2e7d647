//! The hybrid logical clock of a node (Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! Its reading never falls and never repeats within a process; every message between nodes carries
//! one and raises the receiver's, within reason. It does not survive a restart: a new leader raises
//! it above the newest version that its range has applied before it writes.
//!
//! Under it lies the *disciplined clock*: the node's wall clock, as far as its monotonic clock and the
//! other nodes bear it out (`discipline`). What a window was chosen for holds from reading to reading, so a
//! jump of the wall clock is not followed even before anybody has looked at it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Clock, Timestamp,
    discipline::{BOUND, Discipline, Seen, Window},
    local::Instant,
};
use crate::{
    ids::NodeId,
    planted::{self, Bug},
};

/// How far a time may be ahead of this node's that a client claims for the cluster's, or a scan for its
/// moment.
pub const AHEAD_MAX: Duration = Duration::from_secs(60);

/// How far a peer's clock may be ahead of this node's to be followed: each is within [`BOUND`] of a
/// majority of the others, as far as each can tell.
const MERGED_MAX: Duration = BOUND.saturating_mul(3);

/// A node's hybrid logical clock. Shared by all its ranges.
#[derive(Debug)]
pub struct Hlc {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
    /// Where this node's monotonic clock begins.
    began: Instant,
    /// Of the window: offsets from the monotonic clock in microseconds.
    low_us: AtomicI64,
    high_us: AtomicI64,
    /// What the last look found: see [`Seen::wrong_by_us`].
    wrong_by_us: AtomicI64,
    /// Whether it waits to hear a majority.
    is_unconfirmed: AtomicBool,
    discipline: Mutex<Discipline>,
}

impl Hlc {
    /// A clock over the node's wall clock, which is followed anywhere until the first [`Hlc::look`].
    pub fn new(clock: Arc<dyn Clock>) -> Hlc {
        Hlc {
            clock,
            last: AtomicU64::new(0),
            began: Instant::now(),
            low_us: AtomicI64::new(Window::ALL.low_us),
            high_us: AtomicI64::new(Window::ALL.high_us),
            wrong_by_us: AtomicI64::new(0),
            is_unconfirmed: AtomicBool::new(false),
            discipline: Mutex::default(),
        }
    }

    /// A timestamp above every one that this clock gave or saw.
    pub fn now(&self) -> Timestamp {
        self.take(1)
    }

    /// The first of `count` consecutive timestamps, all above every one that this clock gave or
    /// saw.
    pub fn take(&self, count: u64) -> Timestamp {
        let physical = self.disciplined().0;
        let advance =
            |last: u64| Some(physical.max(last.saturating_add(1)).saturating_add(count - 1));
        match self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance) {
            Ok(last) | Err(last) => Timestamp(physical.max(last.saturating_add(1))),
        }
    }

    /// The newest reading, or the disciplined clock where that is ahead; does not advance the clock.
    pub fn peek(&self) -> Timestamp {
        self.disciplined().max(Timestamp(self.last.load(Ordering::Acquire)))
    }

    /// The cluster's time, for clients, who carry it on and do not forget it: until a majority of nodes was
    /// heard it is what the node's ranges have seen, and nothing of its wall clock.
    pub fn told(&self) -> Timestamp {
        match self.is_unconfirmed.load(Ordering::Acquire) {
            true => Timestamp(self.last.load(Ordering::Acquire)),
            false => self.peek(),
        }
    }

    /// The node's wall clock, as far as its monotonic clock and the other nodes bear it out. Unlike a
    /// reading it is not raised by what was seen of others.
    pub fn disciplined(&self) -> Timestamp {
        let wall_us = self.clock.wall_us();
        if planted::active(Bug::WildClockFollowed) {
            // The careless hand: "the machine knows what time it is".
            return Timestamp::from_us(wall_us);
        }
        let now_us = signed(self.monotonic_us());
        let low_us = now_us.saturating_add(self.low_us.load(Ordering::Acquire));
        let high_us = now_us.saturating_add(self.high_us.load(Ordering::Acquire));
        // Both may be on their way to other values: no `clamp`, which wants them in order.
        let us = signed(wall_us).max(low_us).min(high_us);
        Timestamp::from_us(u64::try_from(us).unwrap_or(0))
    }

    /// By how much a time is ahead of the disciplined clock, where that is more than clocks differ by
    /// anyway.
    pub fn ahead_by(&self, time: Timestamp) -> Option<Duration> {
        let ahead_us = time.us().saturating_sub(self.disciplined().us());
        Some(Duration::from_micros(ahead_us)).filter(|ahead| *ahead > MERGED_MAX)
    }

    /// Judges the wall clock anew, in a cluster of `nodes` nodes.
    pub fn look(&self, nodes: usize) -> Seen {
        self.judge(&mut self.discipline.lock(), nodes)
    }

    fn judge(&self, discipline: &mut Discipline, nodes: usize) -> Seen {
        let now_us = self.monotonic_us();
        let seen = discipline.look(self.offset_us(self.clock.wall_us(), now_us), now_us, nodes);
        self.low_us.store(seen.window.low_us, Ordering::Release);
        self.high_us.store(seen.window.high_us, Ordering::Release);
        self.wrong_by_us.store(seen.wrong_by_us, Ordering::Release);
        self.is_unconfirmed.store(discipline.is_unconfirmed(), Ordering::Release);
        seen
    }

    /// By how many microseconds the wall clock is ahead of the time that the node goes by, or behind where
    /// it is negative; 0 while it counts as right.
    pub fn wrong_by_us(&self) -> i64 {
        self.wrong_by_us.load(Ordering::Acquire)
    }

    /// Notes what a peer's wall clock shows, in a cluster of `nodes` nodes. Until this node has heard a majority it
    /// looks at once.
    pub fn hear(&self, node: NodeId, wall: Timestamp, nodes: usize) {
        let now_us = self.monotonic_us();
        let mut discipline = self.discipline.lock();
        discipline.hear(node, self.offset_us(wall.us(), now_us), now_us);
        if discipline.is_unconfirmed() {
            self.judge(&mut discipline, nodes);
        }
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn offset_us(&self, wall_us: u64, now_us: u64) -> i64 {
        signed(wall_us).saturating_sub(signed(now_us))
    }

    /// The node's wall clock alone. Nothing may be decided by it.
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_us(self.clock.wall_us())
    }

    /// Raises the clock to a reading that a range has applied, which is a fact.
    pub fn observe(&self, seen: Timestamp) {
        self.last.fetch_max(seen.0, Ordering::AcqRel);
    }

    /// Raises the clock to a reading that a message carried. One that is further ahead than disciplined
    /// clocks are is not believed: a single wrong clock would carry all others away, to the end of time
    /// at worst. Returns whether it was believed.
    pub fn merge(&self, heard: Timestamp) -> bool {
        let latest = self.disciplined().saturating_add(MERGED_MAX);
        let believed = heard <= latest;
        if believed {
            self.observe(heard);
        }
        believed
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
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
        let latest = Timestamp::from_us(1_000).saturating_add(MERGED_MAX);
        assert!(!hlc.merge(Timestamp::MAX));
        assert!(!hlc.merge(latest.next()));
        assert!(hlc.now() < Timestamp::from_us(2_000));
        assert!(hlc.merge(latest));
        assert!(hlc.now() > latest);
    }

    const HOUR_US: u64 = 3_600_000_000;

    /// Regression: a wall clock that jumped took the time of all ranges along, and keys did not expire
    /// until the clocks had caught up.
    #[test]
    fn time_does_not_stand_still_after_a_clock_jumped() {
        let at = 10 * HOUR_US;
        let clock = Arc::new(Fixed(AtomicU64::new(at)));
        let hlc = Hlc::new(clock.clone());
        hlc.look(3);
        hlc.hear(NodeId(2), Timestamp::from_us(at), 3);
        hlc.hear(NodeId(3), Timestamp::from_us(at), 3);
        let most = Timestamp::from_us(at).saturating_add(BOUND * 2);
        let least = Timestamp::from_us(at).saturating_sub(BOUND * 2);
        for jumped in [at + 2 * HOUR_US, at - 2 * HOUR_US] {
            // Before anybody has looked, and afterwards.
            clock.0.store(jumped, Ordering::Relaxed);
            assert!((least..most).contains(&hlc.now()), "{jumped}");
            hlc.look(3);
            assert!((least..most).contains(&hlc.now()), "{jumped}");
            assert_eq!(hlc.look(3).wrong_by_us, hlc.wrong_by_us());
            assert!(hlc.wrong_by_us().unsigned_abs() > HOUR_US, "{jumped}");
            clock.0.store(at, Ordering::Relaxed);
            hlc.look(3);
            assert!((least..most).contains(&hlc.now()), "{jumped}");
        }
    }

    #[test]
    fn clients_are_not_told_the_time_of_a_clock_that_nobody_has_confirmed() {
        let hlc = Hlc::new(Arc::new(Fixed(AtomicU64::new(3 * HOUR_US))));
        hlc.look(3);
        assert_eq!(hlc.told(), Timestamp::ZERO);
        hlc.observe(Timestamp::from_us(HOUR_US));
        assert_eq!(hlc.told(), Timestamp::from_us(HOUR_US));
        hlc.hear(NodeId(2), Timestamp::from_us(HOUR_US), 3);
        assert!(hlc.told() <= Timestamp::from_us(HOUR_US).saturating_add(BOUND * 2));
        assert!(hlc.told() > Timestamp::from_us(HOUR_US));
    }

    #[test]
    fn a_range_that_is_ahead_is_known_by_the_disciplined_clock() {
        let hlc = Hlc::new(Arc::new(Fixed(AtomicU64::new(HOUR_US))));
        hlc.observe(Timestamp::from_us(2 * HOUR_US));
        assert_eq!(hlc.ahead_by(hlc.peek()), Some(Duration::from_secs(3_600)));
        assert_eq!(hlc.ahead_by(hlc.disciplined().saturating_add(BOUND)), None);
        assert!(hlc.disciplined() < hlc.peek());
    }
}
