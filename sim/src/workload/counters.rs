//! Counters: numbers that are only added to, and read at the end. Each increment must count exactly once.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::COUNTER_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, history::Call, judge::Judge};

struct Counters {
    keys: u64,
    /// Add to a counter.
    increment: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Counters { keys: settings.keys(), increment: settings.weight("increment") })
}

impl Workload for Counters {
    fn weight(&self) -> u64 {
        self.increment
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let key = format!("{COUNTER_PREFIX}{}", turn.counter);
            caller.call(&key, Call::Increment { delta: 1 }).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let keys = if self.increment > 0 { self.keys } else { 0 };
        let read = |number| {
            let key = format!("{COUNTER_PREFIX}{number}");
            LastRead::call(Place::beside(number, 2), key, Call::Read)
        };
        (0..keys).map(read).collect()
    }

    fn judges(&self) -> &'static [Judge] {
        if self.increment > 0 { &[Judge::Counter] } else { &[] }
    }
}
