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
    ids::NodeId,
    time::local::simulated::{self, IDEAL_PPM, LocalClock},
    time::{Clock, discipline::BOUND},
};

use super::{Cluster, machine::Machine};
use crate::{dice::Dice, trace};

/// What an ideal wall clock shows at the beginning of a run, in microseconds: 2026-01-01, so that no
/// offset reaches the epoch.
const BEGINNING_US: u64 = 6 * 365 * 24 * 3600 * 1_000_000;

/// Both clocks of a node.
#[derive(Debug)]
pub(super) struct NodeClock {
    local: Arc<LocalClock>,
    /// The rate at which it runs where no fault has changed that.
    rate_ppm: u64,
    /// How far its wall clock is off where no fault has changed that, in microseconds.
    first_offset_us: i64,
    offset_us: AtomicI64,
    /// How far it has leapt from there, for a while: the product has to see through that, so it is no
    /// excuse for anything.
    leapt_us: AtomicI64,
    /// The least and the most by which its wall clock was ever ahead of ideal time.
    ahead_us: Mutex<(i64, i64)>,
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
    fn note(&self) {
        let now = self.ahead_us();
        let mut seen = self.ahead_us.lock();
        *seen = (seen.0.min(now), seen.1.max(now));
    }

    fn change(&self, change: impl FnOnce(&NodeClock)) {
        self.note();
        change(self);
        self.note();
    }
}

fn elapsed() -> Duration {
    TimeHandle::current().elapsed()
}

fn micros(duration: Duration) -> i64 {
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

impl Cluster {
    /// A node's wall clock jumps to where it is off by so much more than at first, at most, either
    /// way.
    pub fn jump(&self, node: NodeId, most: Duration, dice: &mut Dice) {
        let Some(machine) = self.machines.get(&node) else { return };
        let most = most.as_secs_f64();
        let by_us = (dice.real(-most, most) * 1e6) as i64;
        trace::event("fault", format_args!("{node}: the wall clock jumps to {by_us} us"));
        self.clocks_were_wrong.store(true, Ordering::Relaxed);
        machine.lock().clock.change(|clock| {
            clock.offset_us.store(clock.first_offset_us.saturating_add(by_us), Ordering::Relaxed);
        });
    }

    /// A node's wall clock leaps, unless another one has; whether it does.
    pub fn leap(&self, node: NodeId, by_s: f64) -> bool {
        let away =
            |machine: &Mutex<Machine>| machine.lock().clock.leapt_us.load(Ordering::Relaxed) != 0;
        if self.machines.values().any(away) {
            return false;
        }
        let Some(machine) = self.machines.get(&node) else { return false };
        let by_us = (by_s * 1e6) as i64;
        trace::event("fault", format_args!("{node}: the wall clock leaps by {by_us} us"));
        machine.lock().clock.leapt_us.store(by_us, Ordering::Relaxed);
        self.clocks_were_wrong.store(true, Ordering::Relaxed);
        by_us != 0
    }

    /// A node's wall clock is where it was before it leapt.
    pub fn end_leap(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        if machine.lock().clock.leapt_us.swap(0, Ordering::Relaxed) != 0 {
            trace::event("fault", format_args!("{node}: the wall clock is back"));
        }
    }

    /// A node's clocks run at another rate from now on, which is returned; at their own again where
    /// none is given.
    pub fn set_clock_rate(&self, node: NodeId, rate: Option<f64>) {
        let Some(machine) = self.machines.get(&node) else { return };
        self.clocks_were_wrong.store(true, Ordering::Relaxed);
        machine.lock().clock.change(|clock| {
            let rate_ppm = rate.map_or(clock.rate_ppm, ppm);
            trace::event("fault", format_args!("{node}: its clocks run at {rate_ppm} ppm"));
            clock.local.set_rate(elapsed(), rate_ppm);
        });
    }

    /// An operator sets all clocks: from now on they show ideal time, and run at its rate. A node whose clock
    /// is away takes no leaders, and could not be well again.
    pub(super) fn set_clocks(&self) {
        for (node, machine) in &self.machines {
            self.end_leap(*node);
            machine.lock().clock.change(|clock| {
                let ideal = elapsed();
                if self.has_clocks {
                    clock.local.set_rate(ideal, IDEAL_PPM);
                }
                let away_us = micros(clock.local.shows(ideal)) - micros(ideal);
                clock.offset_us.store(-away_us, Ordering::Relaxed);
            });
            trace::event("fault", format_args!("{node}: its clocks are right"));
        }
    }

    /// Between what two nodes ever went by at the same moment, or one at two moments beyond the time
    /// between them: the most. That is between what their wall clocks showed, leaps aside, and where
    /// these jumped, leapt or ran at other rates, as far as a node follows its own before it knows better.
    pub fn clock_spread(&self) -> Duration {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for machine in self.machines.values() {
            let clock = machine.lock().clock.clone();
            clock.note();
            let (low, high) = *clock.ahead_us.lock();
            (least, most) = (least.min(low), most.max(high));
        }
        let spread = Duration::from_micros(u64::try_from(most.saturating_sub(least)).unwrap_or(0));
        // A node goes that far along with its wall clock, either way, and with its monotonic clock.
        let held =
            if self.clocks_were_wrong.load(Ordering::Relaxed) { 2 * BOUND } else { Duration::ZERO };
        spread + held
    }
}

/// A rate in parts per million.
pub(super) fn ppm(rate: f64) -> u64 {
    (rate * IDEAL_PPM as f64).round().max(1.0) as u64
}
