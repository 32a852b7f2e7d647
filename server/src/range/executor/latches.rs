//! Latches: which keys are taken, and who waits for each.
//!
//! Pure: it knows no request, no range and no time. A latch is taken by whoever finds it free and is released by
//! the holder; who waits is handed back then, in order, and looked at again: nobody inherits a latch. So nobody who
//! waits holds one, and there are no two that wait for each other.
//!
//! # Invariants
//!
//! * A key is taken once at a time ([`Latches::take`]).
//! * Who waits behind a key stands behind all that came before ([`Latches::wait`], [`Latches::release`]).

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use bytes::Bytes;

/// Keys that are taken, each with its queue.
pub(super) struct Latches<W> {
    taken: HashMap<Bytes, VecDeque<W>>,
    waiting: usize,
}

impl<W> Latches<W> {
    pub(super) fn new() -> Latches<W> {
        Latches { taken: HashMap::new(), waiting: 0 }
    }

    /// Whether a key is taken.
    pub(super) fn is_taken(&self, key: &[u8]) -> bool {
        self.taken.contains_key(key)
    }

    /// Takes a key if it is free.
    pub(super) fn take(&mut self, key: Bytes) -> bool {
        match self.taken.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                true
            }
        }
    }

    /// Puts somebody behind a key. `Err`: it is free.
    pub(super) fn wait(&mut self, key: &[u8], who: W) -> Result<(), W> {
        match self.taken.get_mut(key) {
            Some(queue) => {
                queue.push_back(who);
                self.waiting += 1;
                Ok(())
            }
            None => Err(who),
        }
    }

    /// Frees a key; who waited behind it, in order.
    pub(super) fn release(&mut self, key: &[u8]) -> VecDeque<W> {
        let queue = self.taken.remove(key).unwrap_or_default();
        self.waiting -= queue.len();
        queue
    }

    /// How many wait, behind all keys together.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Who waits, by key and in order; the keys stay taken.
    pub(super) fn send_away(&mut self) -> Vec<W> {
        self.waiting = 0;
        let mut taken: Vec<_> = self.taken.iter_mut().collect();
        // Not in the order of hashes.
        taken.sort_by(|a, b| a.0.cmp(b.0));
        taken.into_iter().flat_map(|(_, queue)| queue.drain(..)).collect()
    }

    /// Frees all keys; who waited, by key and in order.
    pub(super) fn release_all(&mut self) -> Vec<W> {
        let waited = self.send_away();
        self.taken.clear();
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latches(taken: &[&'static str]) -> Latches<u32> {
        let mut latches = Latches::new();
        assert!(taken.iter().all(|key| latches.take(Bytes::from_static(key.as_bytes()))));
        latches
    }

    #[test]
    fn a_key_is_taken_once() {
        let mut latches = latches(&["a"]);
        assert_eq!(latches.wait(b"a", 1), Ok(()));
        assert!(!latches.take(Bytes::from_static(b"a")));
        assert_eq!(latches.waiting(), 1, "whoever waits goes on waiting");
        assert_eq!(latches.release(b"a"), [1]);
        assert!(latches.take(Bytes::from_static(b"a")));
    }

    #[test]
    fn who_waits_is_handed_back_in_order_when_the_key_is_free() {
        let mut latches = latches(&["a", "b"]);
        for who in 1..=3 {
            assert_eq!(latches.wait(b"a", who), Ok(()));
        }
        assert_eq!(latches.wait(b"b", 4), Ok(()));
        assert_eq!(latches.waiting(), 4);
        assert_eq!(latches.release(b"a"), [1, 2, 3]);
        assert!(!latches.is_taken(b"a"), "nobody inherits it");
        assert!(latches.is_taken(b"b"));
        assert_eq!(latches.waiting(), 1);
        assert!(latches.release(b"a").is_empty(), "it was free");
    }

    #[test]
    fn nobody_waits_for_a_key_that_is_free() {
        let mut latches = latches(&["a"]);
        assert_eq!(latches.wait(b"b", 1), Err(1));
        assert_eq!(latches.waiting(), 0);
        // A key is itself, not what begins with it.
        assert!(!latches.is_taken(b"") && !latches.is_taken(b"ab"));
    }

    #[test]
    fn all_are_sent_away_in_the_order_of_keys() {
        let mut latches = latches(&["c", "a", "b"]);
        for (key, who) in [("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            assert_eq!(latches.wait(key.as_bytes(), who), Ok(()));
        }
        assert_eq!(latches.send_away(), [3, 1, 4, 2]);
        assert!(latches.is_taken(b"a"), "who holds it goes on");
        assert_eq!((latches.waiting(), latches.wait(b"a", 5)), (0, Ok(())));
        assert_eq!(latches.release_all(), [5]);
        assert!(!latches.is_taken(b"a") && !latches.is_taken(b"c"));
    }
}

#[cfg(test)]
mod scripts;
