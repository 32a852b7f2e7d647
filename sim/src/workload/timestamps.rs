//! Timestamps that clients take: above all that was acknowledged before, below all that is written later. The judge of
//! order has them beside the versions of writes.

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    settings::Settings,
};
use crate::{client::Caller, history::Call};

struct Timestamps {
    timestamp: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Timestamps { timestamp: settings.weight("timestamp") })
}

impl Workload for Timestamps {
    fn weight(&self) -> u64 {
        self.timestamp
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            caller.call("", Call::Timestamp).await;
        })
    }
}
