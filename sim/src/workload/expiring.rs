//! Keys that expire, and numbers that do: they are put with a time to live, read, given another one, made to stay,
//! and removed. Nobody may see one after its time, nor miss one before.
//!
//! The judge of linearizability knows when which of them must be there or gone, give or take what clocks differ by.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::{TTL_PREFIX, TTL_SUM_PREFIX},
    settings::{Settings, Weights},
};
use crate::{client::Caller, history::Call};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Put a key that expires; these keys are others than the registers.
    Put,
    /// Put such a key on the version last seen, or on absence.
    Cas,
    /// Read such a key.
    Get,
    /// Give such a key another expiry.
    Expire,
    /// Let such a key stay for ever.
    Persist,
    /// Add to a number that expires, where it was told to.
    Add,
    /// Remove such a key on the version last seen.
    Delete,
}

pub(super) struct Expiring {
    /// As many as registers: a unary call reads no more.
    registers: u64,
    /// Keys that expire, and as many numbers that do where there are any. Many are left alone for longer than
    /// versions are kept.
    keys: u64,
    /// Least time after which a key expires that is told to, in milliseconds.
    ttl_ms_min: u64,
    /// Most time. Short ones are drawn more often.
    ttl_ms_max: u64,
    has_sums: bool,
    weights: Weights<Choice>,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Expiring::of(settings))
}

impl Expiring {
    pub(super) fn of(settings: &mut Settings<'_>) -> Expiring {
        let registers = settings.keys();
        let keys = settings.number_or("ttl_keys", registers);
        settings.ensure(keys > 0, "ttl_keys", || "must be at least 1".to_owned());
        let (least, most) =
            (settings.number_or("ttl_ms_min", 50), settings.number_or("ttl_ms_max", 8_000));
        settings.ensure(least > 0, "ttl_ms_min", || "must be at least 1".to_owned());
        settings.ensure(least <= most, "ttl_ms_min", || {
            format!("is {least}, above workload.ttl_ms_max, {most}")
        });
        let weights = settings.weights([
            ("put_ttl", Choice::Put),
            ("cas_ttl", Choice::Cas),
            ("get_ttl", Choice::Get),
            ("expire_ttl", Choice::Expire),
            ("persist_ttl", Choice::Persist),
            ("add_ttl", Choice::Add),
            ("delete_ttl", Choice::Delete),
        ]);
        let has_sums = settings.weight("add_ttl") > 0;
        Expiring { registers, keys, ttl_ms_min: least, ttl_ms_max: most, has_sums, weights }
    }

    /// How many keys expire; 1 at least.
    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    /// A time to live within the bounds, in milliseconds.
    pub(super) fn draw_ttl_ms(&self, caller: &Caller) -> u64 {
        caller.between(self.ttl_ms_min, self.ttl_ms_max)
    }

    fn choose(&self, caller: &Caller) -> (String, Call) {
        let value = caller.value();
        let number = caller.random() % self.keys;
        let choice = self.weights.draw(caller);
        let is_sum = match choice {
            Choice::Add => true,
            Choice::Put | Choice::Cas => false,
            // What is there can be a sum as well, where there are any.
            Choice::Get | Choice::Expire | Choice::Persist | Choice::Delete => {
                self.has_sums && caller.random().is_multiple_of(2)
            }
        };
        let prefix = if is_sum { TTL_SUM_PREFIX } else { TTL_PREFIX };
        let key = format!("{prefix}{number}");
        // The least of three: many that expire soon, and some that live longer than clocks differ.
        let ttl = (0..3).map(|_| self.draw_ttl_ms(caller)).min();
        // Now and then one that stays, over one that would have expired.
        let ttl = ttl.filter(|_| !caller.random().is_multiple_of(8));
        let expected = caller.seen(&key);
        let call = match choice {
            Choice::Put => Call::Write { value, ttl_ms: ttl },
            Choice::Cas if expected > 0 && caller.random().is_multiple_of(2) => {
                Call::Cas { expected, value, ttl_ms: None, keep_ttl: true }
            }
            Choice::Cas => Call::Cas { expected, value, ttl_ms: ttl, keep_ttl: false },
            Choice::Expire => Call::Expire { ttl_ms: ttl },
            Choice::Persist => Call::Expire { ttl_ms: None },
            Choice::Add => Call::Increment { delta: 1 },
            // Without a version that was seen there is no condition to delete on.
            Choice::Delete if expected > 0 => Call::Delete { expected: Some(expected) },
            Choice::Get | Choice::Delete => Call::Read,
        };
        (key, call)
    }
}

impl Workload for Expiring {
    fn weight(&self) -> u64 {
        self.weights.total()
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (key, call) = self.choose(caller);
            match call {
                Call::Read => caller.read(key, self.registers).await,
                call => drop(caller.call(&key, call).await),
            }
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let keys = if self.weight() > 0 { self.keys } else { 0 };
        let prefixes: &[_] =
            if self.has_sums { &[TTL_PREFIX, TTL_SUM_PREFIX] } else { &[TTL_PREFIX] };
        let read = |number| {
            prefixes.iter().map(move |prefix| {
                LastRead::call(Place::after(0), format!("{prefix}{number}"), Call::Read)
            })
        };
        (0..keys).flat_map(read).collect()
    }
}
