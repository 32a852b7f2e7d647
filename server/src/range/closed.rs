//! Closed timestamps: moments of a range that are over, on every replica that has applied enough.
//!
//! At a moment that is *closed* nothing will be written any more, nor below it. So a replica that has applied all that
//! is at or below it can show that moment by itself: no question to the leader, no data from another city. The range's
//! leader closes moments all the time (`Replica::close`), and tells the others:
//!
//! ```text
//!   1  a round of the oracle               -> the moment
//!   2  guards that are up                 -> not above what writes on their way may get
//!   3  what is applied                    -> who has applied that far has all of it
//!   4  the leadership is confirmed        -> no other leader had written at or below it
//! ```
//!
//! The order matters. A write that begins after 1 gets a timestamp above the moment; one that had begun is found in 2,
//! or has been applied by 3. A later leader takes timestamps from rounds that begin after it was elected, and so after
//! 4: above the moment too.
//!
//! # Invariants
//!
//! * A replica shows a moment only once it has applied the index that came with it ([`Closed::usable`]).
//! * What was usable stays so: it only rises.
//!
//! # On a crash
//!
//! Nothing is kept. A restarted replica shows no moment until a leader tells it the next one.

use parking_lot::Mutex;

use crate::{
    planted::{self, Bug},
    time::{local::Instant, oracle::Block},
};

/// A moment that is closed, for whoever has applied an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// All of this block is closed, and what is below.
    pub block: Block,
    /// The index.
    pub applied: u64,
}

/// What a replica knows of closed moments of its range.
#[derive(Debug, Default)]
pub struct Closed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    usable: Option<Usable>,
    /// The newest one, where it is not usable yet, with its index.
    newest: Option<(Usable, u64)>,
    /// The newest one before that which is not usable yet: under load an index is never quite reached when the next
    /// moment comes.
    next: Option<(Usable, u64)>,
}

/// A moment that a replica can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usable {
    /// All of this block is closed, and what is below.
    pub block: Block,
    /// What was acknowledged before is at or below it; none: nobody knows (`cluster/closed_age.rs`).
    pub since: Option<Instant>,
    /// When it was heard of.
    pub heard: Instant,
}

impl Closed {
    /// The leader tells a moment; this replica has applied an index. What was acknowledged before `since` is at or
    /// below.
    pub fn hear(&self, moment: Moment, since: Option<Instant>, applied: Option<u64>) {
        let mut state = self.0.lock();
        state.settle(applied);
        let heard = Usable { block: moment.block, since, heard: Instant::now() };
        let told = Some((heard, moment.applied));
        if state.next.is_none() {
            state.next = told;
        } else if state.newest.is_none_or(|(newest, _)| newest.block <= moment.block) {
            let since = since.max(state.newest.and_then(|(newest, _)| newest.since));
            state.newest = Some((Usable { since, ..heard }, moment.applied));
        }
        state.settle(applied);
    }

    /// The newest moment that a replica can show which has applied an index.
    pub fn usable(&self, applied: Option<u64>) -> Option<Usable> {
        let mut state = self.0.lock();
        state.settle(applied);
        state.usable
    }
}

impl State {
    fn settle(&mut self, applied: Option<u64>) {
        // The careless hand: "the leader has it".
        let is_hasty = planted::active(Bug::ClosedNotApplied);
        let is_reached = |index: u64| is_hasty || applied.is_some_and(|applied| applied >= index);
        while let Some((next, _)) = self.next.filter(|(_, index)| is_reached(*index)) {
            match &mut self.usable {
                Some(usable) if usable.block > next.block => {}
                // What was at or below a block is at or below every later one.
                usable => {
                    let since = usable.and_then(|usable| usable.since).max(next.since);
                    *usable = Some(Usable { since, ..next });
                }
            }
            self.next = self.newest.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment(block: u64, applied: u64) -> Moment {
        Moment { block: Block(block), applied }
    }

    #[test]
    fn a_moment_is_shown_once_its_index_is_applied() {
        let closed = Closed::default();
        let usable = |applied| closed.usable(applied).map(|usable| usable.block.last());
        assert_eq!(usable(Some(100)), None);
        closed.hear(moment(5, 10), None, Some(9));
        assert_eq!(usable(Some(9)), None);
        closed.hear(moment(6, 12), None, Some(9));
        closed.hear(moment(7, 14), None, Some(9));
        assert_eq!(usable(Some(10)), Some(Block(5).last()));
        let replaced = "that of 12 was replaced by a newer one";
        assert_eq!(usable(Some(13)), Some(Block(5).last()), "{replaced}");
        assert_eq!(usable(Some(14)), Some(Block(7).last()));
        // An earlier one that comes late, and a state of before, change nothing.
        closed.hear(moment(6, 12), None, Some(14));
        assert_eq!(usable(None), Some(Block(7).last()));
    }

    #[test]
    fn how_old_a_moment_is_says_of_every_later_one_that_it_is_no_older() {
        let (closed, now) = (Closed::default(), Instant::now());
        let since = |closed: &Closed| closed.usable(Some(30)).and_then(|usable| usable.since);
        closed.hear(moment(8, 15), Some(now), Some(15));
        assert_eq!(since(&closed), Some(now));
        closed.hear(moment(9, 16), None, Some(16));
        assert_eq!(since(&closed), Some(now));
        for (block, known) in [(10, None), (11, Some(now + Duration::from_secs(1))), (12, None)] {
            closed.hear(moment(block, 30), known, Some(16));
        }
        assert_eq!(since(&closed), Some(now + Duration::from_secs(1)));
    }
}
