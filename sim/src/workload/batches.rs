//! Batches: writes of several keys at once, some of them in one range, each an operation of its own. They are
//! registers, or keys that expire, and new ones of the acknowledged set.
//!
//! Whether a client writes one is drawn before everything else, and only where the scenario has batches at all.

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    expiring::Expiring,
    inserts,
    keys::{REGISTER_PREFIX, TTL_PREFIX},
    settings::Settings,
};
use crate::{client::Caller, history::Call};

/// Registers of a batch, and as many new keys.
const KEYS_MAX: u64 = 4;

struct Batches {
    /// Write several keys at once.
    batch: u64,
    registers: u64,
    has_inserts: bool,
    expiring: Expiring,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Batches {
        batch: settings.weight("batch"),
        registers: settings.keys(),
        has_inserts: settings.weight("insert") > 0,
        expiring: Expiring::of(settings),
    })
}

impl Batches {
    /// Some keys in a row, so that some of them are in one range, and after how many milliseconds they expire, if
    /// they do.
    fn choose(&self, caller: &Caller) -> (Vec<(String, Call)>, Option<u64>) {
        let expires = self.expiring.weight() > 0 && caller.random().is_multiple_of(2);
        let ttl_ms = expires.then(|| self.expiring.draw_ttl_ms(caller));
        let prefix = if expires { TTL_PREFIX } else { REGISTER_PREFIX };
        let keys = if expires { self.expiring.keys() } else { self.registers };
        let (first, count) = (caller.random() % keys, caller.between(1, keys.min(KEYS_MAX)));
        let key = |offset| format!("{prefix}{}", (first + offset) % keys);
        let write = |offset| (key(offset), Call::Write { value: caller.value(), ttl_ms });
        let mut items: Vec<_> = (0..count).map(write).collect();
        if caller.random().is_multiple_of(4) {
            // A key once more: the writes are asked at the same time, and both are done.
            items.push(write(0));
        }
        if !expires && self.has_inserts {
            let inserts = caller.between(0, KEYS_MAX);
            items.extend((0..inserts).map(|_| inserts::insert(caller)));
        }
        (items, ttl_ms)
    }
}

impl Workload for Batches {
    fn weight(&self) -> u64 {
        self.batch
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (items, ttl_ms) = self.choose(caller);
            caller.batch(items, ttl_ms).await;
        })
    }
}
