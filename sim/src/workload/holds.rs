//! Snapshots that are held: a client holds a moment for longer than versions are kept, and reads it again and again
//! meanwhile. What it shows must stay the same, and readable, whatever happens to leaders and to the node that holds.
//!
//! Registers have a retention of their own, `register_retention_s`, set in the cluster by whoever comes first.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    keys::REGISTER_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, judge::Judge};

struct Holds {
    hold: u64,
    /// For how long a moment is held at most.
    hold_s_max: u64,
    register_retention_s: u64,
    registers: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Holds {
        hold: settings.weight("hold"),
        hold_s_max: settings.number_or("hold_s_max", 30),
        register_retention_s: settings.number_or("register_retention_s", 10),
        registers: settings.keys(),
    })
}

impl Workload for Holds {
    fn weight(&self) -> u64 {
        self.hold
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let retention = Duration::from_secs(self.register_retention_s);
            caller.set_retention(REGISTER_PREFIX, retention).await;
            let how_long = Duration::from_millis(caller.between(1_000, 1_000 * self.hold_s_max));
            let key = format!("{REGISTER_PREFIX}{}", turn.register % self.registers);
            caller.look_for_long(REGISTER_PREFIX, &key, how_long).await;
        })
    }

    fn judges(&self) -> &'static [Judge] {
        if self.hold > 0 { &[Judge::Pages] } else { &[] }
    }
}
