//! Registers: keys that are read, overwritten, exchanged and removed. Few of them make contention.
//!
//! They are the keys of other workloads as well, which remove them (`sweeps.rs`), write several at once
//! (`batches.rs`), and read all or some of them at one moment (`read_all.rs`, `pages.rs`).

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::REGISTER_PREFIX,
    settings::{Settings, Weights},
};
use crate::{client::Caller, history::Call};

#[derive(Clone, Copy)]
enum Choice {
    /// Read a key.
    Get,
    /// Write a key unconditionally.
    Put,
    /// Write a key on the version last seen, or on absence.
    Cas,
    /// Remove a key.
    Delete,
}

struct Registers {
    keys: u64,
    weights: Weights<Choice>,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    let weights = settings.weights([
        ("get", Choice::Get),
        ("put", Choice::Put),
        ("cas", Choice::Cas),
        ("delete", Choice::Delete),
    ]);
    Box::new(Registers { keys: settings.keys(), weights })
}

impl Workload for Registers {
    fn weight(&self) -> u64 {
        self.weights.total()
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let key = format!("{REGISTER_PREFIX}{}", turn.register);
            let call = match self.weights.at(turn.fall) {
                Choice::Get => return caller.read(key, self.keys).await,
                Choice::Put => Call::Write { value: caller.value(), ttl_ms: None },
                Choice::Cas => {
                    let (expected, value) = (caller.seen(&key), caller.value());
                    Call::Cas { expected, value, ttl_ms: None, keep_ttl: false }
                }
                Choice::Delete => Call::Delete { expected: None },
            };
            caller.call(&key, call).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let read = |number| {
            let key = format!("{REGISTER_PREFIX}{number}");
            LastRead::call(Place::beside(number, 0), key, Call::Read)
        };
        (0..self.keys).map(read).collect()
    }
}
