//! Inserts: keys that nobody else ever writes. What was acknowledged must be there at the end, and nothing else.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::INSERT_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, history::Call, judge::Judge};

struct Inserts {
    /// Put a key that nobody else writes.
    insert: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Inserts { insert: settings.weight("insert") })
}

/// A new key, and what is written to it.
pub(super) fn insert(caller: &Caller) -> (String, Call) {
    let value = caller.value();
    let number = caller.unique(INSERT_PREFIX);
    (format!("{INSERT_PREFIX}{number:08}"), Call::Insert { value })
}

impl Workload for Inserts {
    fn weight(&self) -> u64 {
        self.insert
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (key, call) = insert(caller);
            caller.call(&key, call).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let scan = LastRead::call(Place::after(2), INSERT_PREFIX, Call::Scan);
        if self.insert > 0 { vec![scan] } else { Vec::new() }
    }

    fn judges(&self) -> &'static [Judge] {
        if self.insert > 0 { &[Judge::Acknowledged] } else { &[] }
    }
}
