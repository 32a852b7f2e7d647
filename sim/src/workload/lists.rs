//! Lists: numbers that are appended, each once in a run, and lists that are read. All reads must show one order.
//!
//! To the history an append is one operation; what it takes, a read and a compare-and-set, is for the clients.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::LIST_PREFIX,
    settings::{Settings, Weights},
};
use crate::{client::Caller, history::Call, judge::Judge};

#[derive(Clone, Copy)]
enum Choice {
    /// Append to a list of numbers: a read and a compare-and-set.
    Append,
    /// Read such a list.
    List,
}

struct Lists {
    keys: u64,
    /// Without it there is nothing in them.
    append: u64,
    weights: Weights<Choice>,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    let weights = settings.weights([("append", Choice::Append), ("list", Choice::List)]);
    Box::new(Lists { keys: settings.keys(), append: settings.weight("append"), weights })
}

impl Workload for Lists {
    fn weight(&self) -> u64 {
        self.weights.total()
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let call = match self.weights.at(turn.fall) {
                Choice::Append => Call::Append { element: 1 + caller.unique(LIST_PREFIX) },
                Choice::List => Call::List,
            };
            let key = format!("{LIST_PREFIX}{}", caller.random() % self.keys);
            caller.call(&key, call).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let keys = if self.append > 0 { self.keys } else { 0 };
        let read = |number| {
            let key = format!("{LIST_PREFIX}{number}");
            LastRead::call(Place::beside(number, 1), key, Call::List)
        };
        (0..keys).map(read).collect()
    }

    fn judges(&self) -> &'static [Judge] {
        if self.append > 0 { &[Judge::List] } else { &[] }
    }
}
