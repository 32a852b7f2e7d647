//! Sweeps: deletions of all registers (`registers.rs`) that were there at one moment, or of those that begin like one
//! of them. The judge of linearizability knows what a sweep must have left.

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    keys::REGISTER_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, history::Call};

struct Sweeps {
    /// Remove all registers, or some.
    sweep: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Sweeps { sweep: settings.weight("sweep") })
}

impl Workload for Sweeps {
    fn weight(&self) -> u64 {
        self.sweep
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let prefix = match turn.random.is_multiple_of(2) {
                // One of them and those that begin like it.
                true => format!("{REGISTER_PREFIX}{}", turn.register),
                false => REGISTER_PREFIX.to_owned(),
            };
            caller.call(&prefix, Call::Sweep).await;
        })
    }
}
