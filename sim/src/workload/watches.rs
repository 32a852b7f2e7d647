//! Feeds of what others write: each client follows several spans, a while at a time, in one stream or as a process that
//! knows nothing but where it stood. What a feed brings must be all that was written, once and in order; and once all
//! faults have ended every feed comes to its end.
//!
//! With `watch_lapse_s_max` readers take nothing for that long now and then, so that what they follow falls behind: it
//! has to be there when they go on, however short versions are kept. Feeds that are set aside are not held, so with
//! that they are followed in one stream each, and not read to their end.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Read, Turn, Workload},
    keys::{REGISTER_PREFIX, TTL_PREFIX},
    settings::Settings,
};
use crate::{
    client::{Caller, Follow},
    judge::Judge,
};

/// How long a step lasts at most.
const LASTS_MS_MAX: u64 = 1_500;
/// How long a slow reader pauses after each item.
const PAUSE_MS_MAX: u64 = 40;
/// Where it stands among the last reads.
const TURN: u64 = 8;

struct Watches {
    /// Follow a span for a while.
    watch: u64,
    registers: u64,
    lapse_s_max: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    let (watch, registers) = (settings.weight("watch"), settings.keys());
    Box::new(Watches { watch, registers, lapse_s_max: settings.number_or("watch_lapse_s_max", 0) })
}

impl Workload for Watches {
    fn weight(&self) -> u64 {
        self.watch
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let drawn = caller.random();
            let one = format!("{REGISTER_PREFIX}{}", turn.register % self.registers);
            let (prefix, is_key) = match drawn % 4 {
                0 => ("", false),
                1 => (REGISTER_PREFIX, false),
                2 => (TTL_PREFIX, false),
                _ => (&*one, true),
            };
            let is_slow = (drawn >> 8).is_multiple_of(8);
            let lapses = self.lapse_s_max > 0;
            let lapse_ms = if lapses { caller.between(0, 1_000 * self.lapse_s_max) } else { 0 };
            let follow = Follow {
                lasts: Duration::from_millis(caller.between(50, LASTS_MS_MAX)),
                is_anew: !lapses && (drawn >> 16).is_multiple_of(3),
                lapse: Duration::from_millis(lapse_ms),
                pause: Duration::from_millis(if is_slow { PAUSE_MS_MAX } else { 0 }),
                is_key,
            };
            caller.follow(prefix, follow).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        if self.watch == 0 || self.lapse_s_max > 0 {
            return Vec::new();
        }
        let registers = (0..self.registers).map(|number| format!("{REGISTER_PREFIX}{number}"));
        let spans = ["", REGISTER_PREFIX, TTL_PREFIX].map(str::to_owned).into_iter();
        let read = |prefix| LastRead { place: Place::after(TURN), read: Read::Feeds(prefix) };
        spans.chain(registers).map(read).collect()
    }

    fn judges(&self) -> &'static [Judge] {
        if self.watch > 0 { &[Judge::Feed] } else { &[] }
    }
}
