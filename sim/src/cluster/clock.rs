//! The clocks of nodes: a monotonic one, which runs at a rate of its own, and the wall clock, which
//! goes on with it and may jump.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use madsim::time::TimeHandle;
use parking_lot::Mutex;
use quintet_server::{
    time::Clock,
    time::local::simulated::{self, IDEAL_PPM, LocalClock},
};

/// What an ideal wall clock shows at the beginning of a run, in microseconds: 2026-01-01, so that no
/// offset reaches the epoch.
const BEGINNING_US: u64 = 6 * 365 * 24 * 3600 * 1_000_000;

/// Both clocks of a node.
#[derive(Debug)]
pub(super) struct NodeClock {
    pub(super) local: Arc<LocalClock>,
    /// The rate at which it runs where no fault has changed that.
    pub(super) rate_ppm: u64,
    /// How far its wall clock is off where no fault has changed that, in microseconds.
    pub(super) first_offset_us: i64,
    pub(super) offset_us: AtomicI64,
    /// How far it has leapt from there, for a while: the product has to see through that, so it is no
    /// excuse for anything.
    pub(super) leapt_us: AtomicI64,
    /// The least and the most by which its wall clock was ever ahead of ideal time.
    pub(super) ahead_us: Mutex<(i64, i64)>,
}

impl NodeClock {
    pub(super) fn new(offset_ms: i64, rate_ppm: u64) -> NodeClock {
        let offset_us = offset_ms.saturating_mul(1_000);
        NodeClock {
            local: Arc::new(LocalClock::new(rate_ppm)),
            rate_ppm,
            first_offset_us: offset_us,
            offset_us: AtomicI64::new(offset_us),
            leapt_us: AtomicI64::new(0),
            ahead_us: Mutex::new((offset_us, offset_us)),
        }
    }

    /// By how much the wall clock is ahead of ideal time, a leap aside.
    fn ahead_us(&self) -> i64 {
        let ideal = elapsed();
        let (shown, ideal) = (micros(self.local.shows(ideal)), micros(ideal));
        self.offset_us.load(Ordering::Relaxed) + (shown - ideal)
    }

    /// Notes how far it is off. Between two changes that only grows or only falls, so it is enough to
    /// look before and after each.
    pub(super) fn note(&self) {
        let now = self.ahead_us();
        let mut seen = self.ahead_us.lock();
        *seen = (seen.0.min(now), seen.1.max(now));
    }

    pub(super) fn change(&self, change: impl FnOnce(&NodeClock)) {
        self.note();
        change(self);
        self.note();
    }
}

/// Ideal time since the beginning of the run.
pub(super) fn elapsed() -> Duration {
    TimeHandle::current().elapsed()
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

impl Clock for NodeClock {
    fn wall_us(&self) -> u64 {
        let shown = u64::try_from(micros(self.local.shows(elapsed()))).unwrap_or(0);
        let offset_us = self.offset_us.load(Ordering::Relaxed);
        let leapt_us = self.leapt_us.load(Ordering::Relaxed);
        (BEGINNING_US + shown).saturating_add_signed(offset_us.saturating_add(leapt_us))
    }
}

thread_local! {
    // One run a thread: the clocks of the run's machines.
    static BY_MACHINE: RefCell<Vec<(madsim::task::NodeId, Arc<LocalClock>)>> =
        const { RefCell::new(Vec::new()) };
}

/// Lets a machine's tasks read its clock. Those without one have the simulation's own.
pub(super) fn install(machine: madsim::task::NodeId, clock: &NodeClock) {
    simulated::set_source(of_this_machine);
    BY_MACHINE.with_borrow_mut(|clocks| clocks.push((machine, clock.local.clone())));
}

fn of_this_machine() -> Option<Arc<LocalClock>> {
    let on = madsim::plugin::node();
    BY_MACHINE.with_borrow(|clocks| {
        clocks.iter().find(|(machine, _)| *machine == on).map(|(_, clock)| clock.clone())
    })
}

/// A rate in parts per million.
pub(super) fn ppm(rate: f64) -> u64 {
    (rate * IDEAL_PPM as f64).round().max(1.0) as u64
}
