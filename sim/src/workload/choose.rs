//! What a client does next, by the weights of the mix.

use std::sync::atomic::Ordering;

use super::{
    Caller, INSERT_PREFIX, LIST_PREFIX, REGISTER_PREFIX, TTL_PREFIX, TTL_SUM_PREFIX, pages::Pages,
};
use crate::{
    history::Call,
    scenario::{Choice, ExpiringChoice, Workload},
};

/// Registers of a batch, and as many new keys.
const BATCH_KEYS_MAX: u64 = 4;

/// What a client does next.
pub(super) enum Chosen {
    /// One operation on a key.
    One(String, Call),
    /// Writes of several keys, which expire after so many milliseconds, if they do.
    Batch(Vec<(String, Call)>, Option<u64>),
    /// Pages of a scan, one after the other.
    Pages(Pages),
}

impl Caller {
    pub(super) fn choose(&self, workload: &Workload) -> Chosen {
        // A draw less where no scenario asks for it: seeds keep their meaning.
        let batch = u64::from(workload.mix.batch);
        if batch > 0 && self.random() % workload.mix.total() < batch {
            return self.choose_batch(workload);
        }
        let chosen = self.choose_one(workload);
        // Only who makes unary calls has one that reads several keys.
        match chosen {
            Chosen::One(key, Call::Read)
                if self.unary.is_some() && self.random().is_multiple_of(4) =>
            {
                let prefix = key.trim_end_matches(|digit: char| digit.is_ascii_digit());
                let keys = workload.keys.clamp(1, BATCH_KEYS_MAX);
                let read = |number| (format!("{prefix}{number}"), Call::Read);
                Chosen::Batch((0..keys).map(read).collect(), None)
            }
            Chosen::Pages(_) if self.unary.is_some() => {
                Chosen::One(REGISTER_PREFIX.to_owned(), Call::ReadAll)
            }
            chosen => chosen,
        }
    }

    /// Some keys in a row, so that some of them are in one range: registers, or keys that expire, and new
    /// ones of the acknowledged set.
    fn choose_batch(&self, workload: &Workload) -> Chosen {
        let value = || format!("{}-{:x}", self.process, self.random() & 0xFFFF_FFFF);
        let expiring = workload.mix.expiring() > 0 && self.random().is_multiple_of(2);
        let ttl_ms = expiring.then(|| self.between(workload.ttl_ms_min, workload.ttl_ms_max));
        let prefix = if expiring { TTL_PREFIX } else { REGISTER_PREFIX };
        let keys = if expiring { workload.ttl_keys() } else { workload.keys.max(1) };
        let (first, count) = (self.random() % keys, self.between(1, keys.min(BATCH_KEYS_MAX)));
        let key = |offset| format!("{prefix}{}", (first + offset) % keys);
        let write = |offset| (key(offset), Call::Write { value: value(), ttl_ms });
        let mut items: Vec<_> = (0..count).map(write).collect();
        if self.random().is_multiple_of(4) {
            // A key once more: the writes are asked at the same time, and both are done.
            items.push(write(0));
        }
        if !expiring && workload.mix.insert > 0 {
            let inserts = self.between(0, BATCH_KEYS_MAX);
            items.extend((0..inserts).map(|_| self.insert(value())));
        }
        Chosen::Batch(items, ttl_ms)
    }

    fn insert(&self, value: String) -> (String, Call) {
        let number = self.shared.inserts.fetch_add(1, Ordering::Relaxed);
        (format!("{INSERT_PREFIX}{number:08}"), Call::Insert { value })
    }

    fn choose_one(&self, workload: &Workload) -> Chosen {
        let register = format!("{REGISTER_PREFIX}{}", self.random() % workload.keys.max(1));
        let counter = format!("counter/{}", self.random() % workload.keys.max(1));
        let value = || format!("{}-{:x}", self.process, self.random() & 0xFFFF_FFFF);
        let random = self.random();
        // Where all are batches none is asked for one by one.
        let (key, call) = match workload.mix.choose_single(random).unwrap_or(Choice::Insert) {
            Choice::Get => (register, Call::Read),
            Choice::Put => (register, Call::Write { value: value(), ttl_ms: None }),
            Choice::Cas => {
                let expected = self.seen.get(&register).copied().unwrap_or(0);
                (register, Call::Cas { expected, value: value(), ttl_ms: None, keep_ttl: false })
            }
            Choice::Delete => (register, Call::Delete { expected: None }),
            Choice::Increment => (counter, Call::Increment { delta: 1 }),
            Choice::Expiring => self.choose_expiring(workload, value()),
            Choice::Scan => (INSERT_PREFIX.to_owned(), Call::Scan),
            Choice::Append => {
                let element = self.shared.elements.fetch_add(1, Ordering::Relaxed);
                (self.list_key(workload), Call::Append { element })
            }
            Choice::List => (self.list_key(workload), Call::List),
            Choice::ReadAll => (REGISTER_PREFIX.to_owned(), Call::ReadAll),
            Choice::Pages => return Chosen::Pages(self.choose_pages(workload)),
            Choice::Sweep if random.is_multiple_of(2) => {
                // One of them and those that begin like it.
                (register, Call::Sweep)
            }
            Choice::Sweep => (REGISTER_PREFIX.to_owned(), Call::Sweep),
            Choice::Insert => self.insert(value()),
        };
        Chosen::One(key, call)
    }

    fn list_key(&self, workload: &Workload) -> String {
        format!("{LIST_PREFIX}{}", self.random() % workload.keys.max(1))
    }

    fn choose_expiring(&self, workload: &Workload, value: String) -> (String, Call) {
        let number = self.random() % workload.ttl_keys();
        let choice = workload.mix.choose_expiring(self.random());
        let is_sum = match choice {
            Some(ExpiringChoice::Add) => true,
            // What is there can be a sum as well, where there are any.
            Some(
                ExpiringChoice::Get
                | ExpiringChoice::Expire
                | ExpiringChoice::Persist
                | ExpiringChoice::Delete,
            ) => workload.mix.add_ttl > 0 && self.random().is_multiple_of(2),
            _ => false,
        };
        let prefix = if is_sum { TTL_SUM_PREFIX } else { TTL_PREFIX };
        let key = format!("{prefix}{number}");
        // The least of three: many that expire soon, and some that live longer than clocks differ.
        let (least, most) = (workload.ttl_ms_min, workload.ttl_ms_max);
        let ttl = (0..3).map(|_| self.between(least, most)).min();
        // Now and then one that stays, over one that would have expired.
        let ttl = ttl.filter(|_| !self.random().is_multiple_of(8));
        let expected = self.seen.get(&key).copied().unwrap_or(0);
        let call = match choice {
            Some(ExpiringChoice::Put) => Call::Write { value, ttl_ms: ttl },
            Some(ExpiringChoice::Cas) if expected > 0 && self.random().is_multiple_of(2) => {
                Call::Cas { expected, value, ttl_ms: None, keep_ttl: true }
            }
            Some(ExpiringChoice::Cas) => {
                Call::Cas { expected, value, ttl_ms: ttl, keep_ttl: false }
            }
            Some(ExpiringChoice::Expire) => Call::Expire { ttl_ms: ttl },
            Some(ExpiringChoice::Persist) => Call::Expire { ttl_ms: None },
            Some(ExpiringChoice::Add) => Call::Increment { delta: 1 },
            // Without a version that was seen there is no condition to delete on.
            Some(ExpiringChoice::Delete) if expected > 0 => {
                Call::Delete { expected: Some(expected) }
            }
            Some(ExpiringChoice::Get | ExpiringChoice::Delete) | None => Call::Read,
        };
        (key, call)
    }
}
