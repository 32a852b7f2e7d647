//! Scans of all that was inserted (`inserts.rs`), over all ranges that hold some. Each must show one moment of a set
//! that only grows.

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    keys::INSERT_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, history::Call, judge::Judge};

struct Scans {
    /// Read all keys of the acknowledged set.
    scan: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Scans { scan: settings.weight("scan") })
}

impl Workload for Scans {
    fn weight(&self) -> u64 {
        self.scan
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            caller.call(INSERT_PREFIX, Call::Scan).await;
        })
    }

    fn judges(&self) -> &'static [Judge] {
        if self.scan > 0 { &[Judge::Moment] } else { &[] }
    }
}
