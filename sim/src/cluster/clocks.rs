//! What faults and operators do to the clocks of nodes, and how far these were off in a run.
//!
//! The judges allow what [`Cluster::clock_spread`] says, and nothing for a leap: the product has to see through that.

use std::{sync::atomic::Ordering, time::Duration};

use parking_lot::Mutex;
use quintet_server::{
    ids::NodeId,
    time::{
        local::simulated::IDEAL_PPM,
        oracle::{AHEAD, HEADROOM, REPORT_LASTS},
    },
};

use super::{
    Cluster,
    clock::{elapsed, micros, ppm},
    machine::Machine,
};
use crate::{dice::Dice, trace};

/// How far the clock of a proposer that runs at another rate, by half at most, may carry the others' away until it
/// hears them again.
const CARRIED_AWAY: Duration = Duration::from_millis(REPORT_LASTS.as_millis() as u64 / 2);

impl Cluster {
    /// A node's wall clock jumps to where it is off by at most `most` more than at first, either
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

    /// Wall clocks leap by these seconds, unless some have; whether they do.
    pub fn leap(&self, off: &[(NodeId, f64)]) -> bool {
        let away =
            |machine: &Mutex<Machine>| machine.lock().clock.leapt_us.load(Ordering::Relaxed) != 0;
        if self.machines.values().any(away) {
            return false;
        }
        if off.iter().any(|(node, _)| !self.machines.contains_key(node)) {
            return false;
        }
        for (node, by_s) in off {
            let Some(machine) = self.machines.get(node) else { continue };
            let by_us = (by_s * 1e6) as i64;
            trace::event("fault", format_args!("{node}: the wall clock leaps by {by_us} us"));
            machine.lock().clock.leapt_us.store(by_us, Ordering::Relaxed);
        }
        self.clocks_were_wrong.store(true, Ordering::Relaxed);
        off.iter().any(|(_, by_s)| *by_s != 0.0)
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

    /// An operator sets all clocks: from now on they show ideal time, and run at its rate.
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

    /// How far cluster time may have been apart from real time at two moments: what the wall clocks of nodes ever
    /// showed differed by as much, leaps aside, since the median of five lies between them; and cluster time may be
    /// ahead of the median by what a proposer may go ahead and what a restarted time server begins above what it
    /// promised.
    pub fn clock_spread(&self) -> Duration {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for machine in self.machines.values() {
            let clock = machine.lock().clock.clone();
            clock.note();
            let (low, high) = *clock.ahead_us.lock();
            (least, most) = (least.min(low), most.max(high));
        }
        let spread = Duration::from_micros(u64::try_from(most.saturating_sub(least)).unwrap_or(0));
        let were_wrong = self.clocks_were_wrong.load(Ordering::Relaxed);
        spread + AHEAD + HEADROOM + if were_wrong { CARRIED_AWAY } else { Duration::ZERO }
    }
}
