//! Latched: requests that have their keys to themselves, and those that have to wait.
//!
//! ```text
//!   on one key       the key is free                      it is taken
//!                    the entry has requests on the key    it joins them: one latch, N results
//!                    taken by others                      it waits
//!   a batch          all its keys are free                all are taken
//!                    one is taken, be it by the entry     it waits behind that, holding none, and is looked at
//!                                                         again when it is released
//!   a page of a      where it begins is free, the entry   it is alone in its entry; what it finds is latched when
//!   deletion         is empty, and no write at or below   it is evaluated
//!                    its moment is on its way
//! ```
//!
//! Who waits behind a request of this very entry is looked at again when that one is evaluated and turns out to need no
//! place, or when the entry is applied. An entry is bounded, and so is what it costs until the first of its callers is
//! told ([`ENTRY_REQUESTS_MAX`]).
//!
//! # Invariants
//!
//! * A key is in at most one proposal in flight; requests on it are served in order.
//! * Batches that wait for each other can't be: who waits holds nothing.
//! * Nothing of a batch depends on another request of its entry: it is unconditional, and none of its keys is in the
//!   entry a second time.
//! * A group holds a request once: a second copy waits for the first's result.
//! * A repetition of a batch finds its anchor taken while the original is under way, and the record in dedup
//!   afterwards; whichever is applied second is refused by apply.

use std::collections::{HashMap, hash_map};

use bytes::Bytes;

use super::{
    entry::{Asked, Entry, Pending},
    gathered::Gathered,
    latches::Latches,
};
use crate::{
    ids::RequestId,
    planted::{self, Bug},
    range::{
        guards::{Guards, Looks},
        held::Current,
        request::{OpResult, Write},
    },
    storage::engine::Error,
};

/// Requests that are latched for an entry: those that `check` has an answer to take no room in it, and are as many as
/// are gathered. Each of them may need one of the 4,096 timestamps of a block.
const ENTRY_REQUESTS_MAX: usize = 4_096;

/// Requests of an entry on one key.
struct Joined {
    /// Their ids.
    first: RequestId,
    more: Vec<RequestId>,
    /// Where in the entry those are that were evaluated.
    group: Option<usize>,
}

/// An entry that is being filled.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    /// Keys of requests on one key.
    by_key: HashMap<Bytes, Joined>,
}

/// The place of a request on one key in a draft.
pub(super) struct Slot<'d> {
    entry: &'d mut Entry,
    group: &'d mut Option<usize>,
}

impl Draft {
    /// The place of a request on one key that has joined.
    pub(super) fn slot(&mut self, key: &[u8]) -> Option<Slot<'_>> {
        let Draft { entry, by_key } = self;
        by_key.get_mut(key).map(|joined| Slot { entry, group: &mut joined.group })
    }

    /// A request has left the draft, after all were evaluated. Whether nobody is left there who needs its key.
    pub(super) fn is_left(&mut self, key: &[u8]) -> bool {
        if self.by_key.get(key).is_some_and(|joined| joined.group.is_some()) {
            return false;
        }
        self.by_key.remove(key);
        true
    }
}

impl Joined {
    fn holds(&self, write: &Write) -> bool {
        self.first == write.request || self.more.contains(&write.request)
    }
}

impl Slot<'_> {
    /// What the evaluated requests on the key leave of it; none where there are none.
    pub(super) fn left(&self) -> Option<&Current> {
        self.entry.groups.get((*self.group)?).map(|group| &group.after)
    }

    /// Takes in what a request was evaluated to, and what its key holds afterwards.
    pub(super) fn add(self, pending: Pending, after: Current) {
        self.entry.add(self.group, pending, after);
    }
}

/// Where a request stands.
enum Stand<'d> {
    /// Its key was free, and is taken; the draft has room for it there.
    Begins(hash_map::VacantEntry<'d, Bytes, Joined>),
    /// In the draft, with others on its key.
    Joins(&'d mut Joined),
    /// The keys of a batch were free, and are taken; those of a page of a deletion are not known yet.
    Apart,
    /// Behind a key.
    Behind(Bytes),
    /// A page of a deletion that can't begin this entry: looked at again for the next.
    Later,
}

/// Moves requests that are gathered behind latches, or on their way into a draft that has room for them: `asked` takes
/// those that got their keys, and those that `check` has an answer to, which hold nothing and are answered in their
/// turn.
pub(super) fn latch(
    gathered: &mut Gathered,
    latches: &mut Latches<Write>,
    draft: &mut Draft,
    asked: &mut Vec<Asked>,
    (guards, looks): (&Guards, Looks),
    mut check: impl FnMut(&Write) -> Result<Option<OpResult>, Error>,
) -> Result<(), Error> {
    let (mut writes, mut bytes) = (0, 0);
    while draft.entry.has_room_beside(writes, bytes) && asked.len() < ENTRY_REQUESTS_MAX {
        let Some(write) = gathered.pop() else { break };
        let is_first = writes == 0 && draft.entry.is_empty();
        let page = write.kind.range();
        let is_page = page.is_some();
        let stand = match (page, write.kind.many()) {
            // What is on its way and at or below its moment is not found yet.
            (Some(page), _) => {
                let may_begin = is_first && guards.below(page.moment, looks).is_empty();
                stand_of_page(&write, may_begin, latches)
            }
            (_, Some(_)) => stand_of_batch(&write, latches),
            _ => stand_on_one_key(&write, latches, draft),
        };
        match &stand {
            Stand::Begins(_) | Stand::Joins(_) | Stand::Apart => {}
            Stand::Behind(key) => {
                if let Err(write) = latches.wait(key, write) {
                    gathered.extend([write]);
                }
                continue;
            }
            Stand::Later => {
                gathered.return_to_front([write]);
                break;
            }
        }
        if let Some(result) = check(&write)? {
            if !matches!(stand, Stand::Joins(_)) && !is_page {
                // Nobody can wait behind them yet.
                write.keys().for_each(|key| drop(latches.release(key)));
            }
            asked.push(Asked::new(write, Some(result)));
            continue;
        }
        match stand {
            Stand::Begins(free) => {
                free.insert(Joined { first: write.request, more: Vec::new(), group: None });
            }
            Stand::Joins(joined) => joined.more.push(write.request),
            Stand::Apart | Stand::Behind(_) | Stand::Later => {}
        }
        let one = Asked::new(write, None);
        writes += one.writes();
        bytes += one.bytes();
        asked.push(one);
        if is_page {
            break;
        }
    }
    Ok(())
}

/// Where a request on one key stands; takes the key where it is free. The draft is asked for the key once, also where
/// the request begins there.
fn stand_on_one_key<'d>(
    write: &Write,
    latches: &mut Latches<Write>,
    draft: &'d mut Draft,
) -> Stand<'d> {
    match draft.by_key.entry(write.key.clone()) {
        hash_map::Entry::Occupied(joined) => {
            let joined = joined.into_mut();
            if joined.holds(write) && !planted::active(Bug::RequestTwiceInEntry) {
                return Stand::Behind(write.key.clone());
            }
            Stand::Joins(joined)
        }
        hash_map::Entry::Vacant(free) if latches.take(write.key.clone()) => Stand::Begins(free),
        hash_map::Entry::Vacant(_) => Stand::Behind(write.key.clone()),
    }
}

/// Where a batch stands; takes its keys where all are free.
fn stand_of_batch(write: &Write, latches: &mut Latches<Write>) -> Stand<'static> {
    // The entry's own keys are latched too.
    if let Some(key) = write.keys().find(|key| latches.is_taken(key)) {
        return Stand::Behind(key.clone());
    }
    for key in write.keys() {
        latches.take(key.clone());
    }
    Stand::Apart
}

/// Where a page of a deletion stands: alone in its entry, which it begins or has to wait for.
fn stand_of_page(write: &Write, may_begin: bool, latches: &Latches<Write>) -> Stand<'static> {
    match latches.is_taken(&write.key) {
        true => Stand::Behind(write.key.clone()),
        false if may_begin => Stand::Apart,
        false => Stand::Later,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        error::OpError,
        range::request::{Condition, DeleteRange, Lifetime, PutMany, WriteKind},
        storage::format::{command::Effect, request::Outcome},
        time::{Timestamp, oracle::Block},
    };

    #[derive(Default)]
    struct Bench {
        gathered: Gathered,
        draft: Draft,
        asked: Vec<Asked>,
        guards: Arc<Guards>,
    }

    impl Bench {
        fn write(&self, id: u64, key: &'static str, kind: WriteKind) -> Write {
            Write::of_test(id, Bytes::from_static(key.as_bytes()), kind)
        }

        fn put(&mut self, id: u64, key: &'static str, bytes: usize) {
            let value = Bytes::from(vec![b'x'; bytes]);
            let (condition, life) = (Condition::Always, Lifetime::Forever);
            let put = self.write(id, key, WriteKind::Put { value, condition, life });
            self.gathered.extend([put]);
        }

        fn batch(&mut self, id: u64, keys: &[&'static str]) {
            let item = |key: &&'static str| (Bytes::from_static(key.as_bytes()), Bytes::new());
            let many = PutMany { items: keys.iter().map(item).collect(), ttl: None };
            let batch = self.write(id, keys[0], WriteKind::PutMany(many));
            self.gathered.extend([batch]);
        }

        fn page(&mut self, id: u64, start: &'static str) {
            let range = DeleteRange { end: Bytes::new(), moment: Block(1).last(), limit: 0 };
            let page = self.write(id, start, WriteKind::DeleteRange(range));
            self.gathered.extend([page]);
        }

        /// Lets what is asked into the draft.
        fn evaluate(&mut self) {
            for Asked { write, .. } in self.asked.drain(..) {
                let key = write.key.clone();
                let (effect, outcome) = (Effect::Delete, Outcome::Written);
                let refused_by = Current(None);
                let pending = Pending { write, at: Timestamp(1), effect, outcome, refused_by };
                match self.draft.slot(&key) {
                    Some(slot) => slot.add(pending, Current(None)),
                    None => self.draft.entry.add_batch(pending),
                }
            }
        }

        /// Who has its keys now, of all that are asked, where `answered` says who is answered instead.
        fn latch(&mut self, latches: &mut Latches<Write>, answered: &[u64]) -> Vec<u64> {
            let Bench { gathered, draft, asked, guards } = self;
            let looks = Looks { term: 1, applied: None };
            latch(gathered, latches, draft, asked, (guards, looks), |write| {
                let is_answered = answered.contains(&write.request.sequence);
                Ok(is_answered.then(|| Err(OpError::deadline())))
            })
            .expect("nothing is read");
            let evaluated = self.asked.iter().filter(|one| one.answer.is_none());
            evaluated.map(|one| one.write.request.sequence).collect()
        }
    }

    /// Keys that proposals in flight hold.
    fn held(keys: &[&'static str]) -> Latches<Write> {
        let mut latches = Latches::new();
        assert!(keys.iter().all(|key| latches.take(Bytes::from_static(key.as_bytes()))));
        latches
    }

    fn ids(waited: impl IntoIterator<Item = Write>) -> Vec<u64> {
        waited.into_iter().map(|write| write.request.sequence).collect()
    }

    #[test]
    fn requests_on_a_key_share_its_latch_or_wait_behind_it() {
        let (mut bench, mut latches) = (Bench::default(), held(&["b"]));
        for (id, key) in [(1, "a"), (2, "b"), (3, "a"), (1, "a"), (4, "c")] {
            bench.put(id, key, 1);
        }
        assert_eq!(bench.latch(&mut latches, &[]), [1, 3, 4]);
        assert!(["a", "b", "c"].iter().all(|key| latches.is_taken(key.as_bytes())));
        assert_eq!(ids(latches.release(b"b")), [2]);
        assert_eq!(ids(latches.release(b"a")), [1], "a second copy waits for the first's result");
        assert_eq!(bench.gathered.len(), 0);
    }

    #[test]
    fn a_batch_has_all_its_keys_or_none() {
        let (mut bench, mut latches) = (Bench::default(), held(&["d"]));
        bench.batch(1, &["a", "b"]);
        bench.batch(2, &["b", "c"]);
        bench.batch(3, &["c", "d"]);
        bench.put(4, "c", 1);
        bench.put(5, "a", 1);
        bench.batch(6, &["c", "e"]);
        assert_eq!(bench.latch(&mut latches, &[]), [1, 4], "who waits holds nothing");
        assert!(!latches.is_taken(b"e"));
        assert_eq!(ids(latches.release(b"a")), [5]);
        assert_eq!(ids(latches.release(b"b")), [2]);
        // Of its own entry too: nothing of a batch depends on another request.
        assert_eq!(ids(latches.release(b"c")), [6]);
        assert_eq!(ids(latches.release(b"d")), [3]);
    }

    #[test]
    fn who_is_answered_holds_nothing() {
        let (mut bench, mut latches) = (Bench::default(), held(&[]));
        bench.put(1, "a", 1);
        bench.batch(2, &["b", "c"]);
        bench.page(3, "d");
        bench.put(4, "e", 1);
        bench.put(5, "e", 1);
        assert_eq!(bench.latch(&mut latches, &[1, 2, 3, 5]), [4]);
        let order: Vec<_> = bench.asked.iter().map(|one| one.write.request.sequence).collect();
        assert_eq!(order, [1, 2, 3, 4, 5], "all are told in their turn");
        let taken = ["a", "b", "c", "d", "e"].map(|key| latches.is_taken(key.as_bytes()));
        assert_eq!(taken, [false, false, false, false, true]);
    }

    #[test]
    fn a_round_is_bounded_where_nobody_takes_room() {
        let (mut bench, mut latches) = (Bench::default(), held(&[]));
        let all: Vec<_> = (0..ENTRY_REQUESTS_MAX as u64 + 2).collect();
        all.iter().for_each(|id| bench.put(*id, "a", 1));
        assert_eq!(bench.latch(&mut latches, &all), [0; 0]);
        assert_eq!((bench.asked.len(), bench.gathered.len()), (ENTRY_REQUESTS_MAX, 2));
    }

    #[test]
    fn what_an_entry_has_no_room_for_stays_in_order() {
        let (mut bench, mut latches) = (Bench::default(), held(&[]));
        for (id, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            bench.put(id, key, 600 << 10);
        }
        assert_eq!(bench.latch(&mut latches, &[]), [1, 2]);
        assert_eq!(ids(bench.gathered.drain()), [3, 4]);
        assert!(!latches.is_taken(b"c"));
    }

    #[test]
    fn a_page_of_a_deletion_is_alone_in_its_entry() {
        let (mut bench, mut latches) = (Bench::default(), held(&["z"]));
        bench.page(1, "z");
        bench.put(2, "a", 1);
        bench.page(3, "a");
        bench.put(4, "b", 1);
        bench.page(5, "c");
        bench.put(6, "d", 1);
        assert_eq!(bench.latch(&mut latches, &[]), [2, 4]);
        assert_eq!(ids(latches.release(b"z")), [1]);
        assert_eq!(ids(latches.release(b"a")), [3], "as everybody on that key");
        assert_eq!(ids(bench.gathered.drain()), [5, 6], "it begins the next entry");
        let mut next = Bench::default();
        next.page(3, "a");
        next.put(4, "b", 1);
        let mut latches = held(&[]);
        let write = next.guards.raise(1, Some([&b"x"[..]].into_iter()), Block(0));
        assert_eq!(next.latch(&mut latches, &[]), [0; 0], "a write may be at its moment, or below");
        assert!(write.stamp(Block(2)));
        assert_eq!(next.latch(&mut latches, &[]), [3], "nothing goes with it");
        assert!(!latches.is_taken(b"a"), "what it removes is not known yet");
        assert_eq!(ids(next.gathered.drain()), [4]);
    }

    #[test]
    fn who_waits_behind_one_that_left_is_looked_at_again() {
        let (mut bench, mut latches) = (Bench::default(), held(&[]));
        bench.put(1, "a", 1);
        bench.put(2, "b", 1);
        bench.batch(3, &["a", "c"]);
        assert_eq!(bench.latch(&mut latches, &[]), [1, 2]);
        bench.asked.remove(0);
        bench.evaluate();
        assert!(bench.draft.is_left(b"a") && !bench.draft.is_left(b"b"));
        assert_eq!(ids(latches.release(b"a")), [3]);
        assert_eq!(bench.draft.entry.requests(), 1);
    }
}
