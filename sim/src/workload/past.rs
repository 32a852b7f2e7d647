//! Reads of the past: of a state that may be a little old, and again at moments that were shown before, to whatever
//! client. What was shown at a moment must be shown there for ever, whoever answers.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    expiring::Expiring,
    keys::{REGISTER_PREFIX, TTL_PREFIX},
    settings::Settings,
};
use crate::{
    client::{Back, Caller},
    judge::Judge,
};

struct Past {
    /// Read registers, or keys that expire, as they were.
    past: u64,
    /// The oldest state that will do.
    stale_ms_max: u64,
    registers: u64,
    has_expiring: bool,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Past {
        past: settings.weight("past"),
        stale_ms_max: settings.number_or("stale_ms_max", 5_000),
        registers: settings.keys(),
        has_expiring: Expiring::of(settings).weight() > 0,
    })
}

impl Past {
    fn back(&self, caller: &Caller) -> Back {
        let drawn = caller.random();
        let again = caller.moment(drawn >> 32).filter(|_| drawn & 1 > 0);
        let stale = Duration::from_millis(1 + drawn % self.stale_ms_max.max(1));
        again.map_or(Back::Stale(stale), Back::At)
    }
}

impl Workload for Past {
    fn weight(&self) -> u64 {
        self.past
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let expiring = self.has_expiring && caller.random() & 1 > 0;
            let prefix = if expiring { TTL_PREFIX } else { REGISTER_PREFIX };
            let key = format!("{prefix}{}", turn.register % self.registers);
            let back = self.back(caller);
            let shown = caller.look_back(prefix, &key, back).await;
            if let (Some(moment), Back::Stale(_)) = (shown, back) {
                caller.keep_moment(moment);
            }
        })
    }

    fn judges(&self) -> &'static [Judge] {
        if self.past > 0 { &[Judge::Pages, Judge::Staleness] } else { &[] }
    }
}
