//! Who waits for a timestamp, of all clones of a client, and whose turn it is to send a request for them.
//!
//! Where no request is under way, the first who comes sends one at once. Who comes meanwhile is gathered for the next
//! one, which is sent when one is answered, or, where that takes long, when somebody comes [`APART`] after the last was
//! sent, up to [`UNDER_WAY_MAX`] of them. So nobody waits for more than two round trips, and many who ask again at once
//! share a request.
//!
//! # Invariants
//!
//! * A [`Turn`] has asked nobody's request before everybody whom it serves had come.
//! * Every turn that begins ends, also where the task that has it is dropped: those whom it served, and those whom
//!   nobody else will serve, find their [`Waiter`] closed, and come again.
//! * Bounded by those who wait: who went away is forgotten once they are as many as the others.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{error::Error, types::Version};

/// Requests of a client under way at the same time.
const UNDER_WAY_MAX: usize = 4;
/// No request is sent sooner after another one that is under way.
const APART: Duration = Duration::from_millis(1);
/// Who went away is looked for when at least as many are there.
const LOOKED_AT_MIN: usize = 64;

/// Where what was asked for goes.
pub(crate) type Waiter = oneshot::Sender<Result<Version, Error>>;

/// All who wait; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathering(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiter>,
    /// How long the most patient of them waits.
    patience: Duration,
    /// With as many it is looked who is still there.
    looked_at: usize,
    under_way: usize,
    /// When the last request was sent.
    sent: Option<Instant>,
}

/// A request that is to be sent now, and counts as one under way for as long as this is there.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Gathering,
    /// Whom it is for.
    pub(crate) waiting: Vec<Waiter>,
    /// How long the most patient of them waits.
    pub(crate) patience: Duration,
    is_over: bool,
}

impl Gathering {
    /// Somebody waits, this long at most. It may be his turn to send a request, for all who are there.
    pub(crate) fn add(&self, waiter: Waiter, patience: Duration, now: Instant) -> Option<Turn> {
        let mut state = self.0.lock();
        if state.waiting.len() >= state.looked_at.max(LOOKED_AT_MIN) {
            state.waiting.retain(|waiter| !waiter.is_closed());
            state.looked_at = 2 * state.waiting.len();
        }
        state.waiting.push(waiter);
        state.patience = state.patience.max(patience);
        let is_apart = state.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= APART);
        let may_send = state.under_way == 0 || (state.under_way < UNDER_WAY_MAX && is_apart);
        may_send.then(|| {
            state.under_way += 1;
            self.turn(&mut state, now)
        })
    }

    fn turn(&self, state: &mut State, now: Instant) -> Turn {
        state.sent = Some(now);
        Turn {
            of: self.clone(),
            waiting: std::mem::take(&mut state.waiting),
            patience: std::mem::take(&mut state.patience),
            is_over: false,
        }
    }
}

impl Turn {
    /// It was answered: the next one, for those who have come meanwhile.
    pub(crate) fn next(mut self, now: Instant) -> Option<Turn> {
        let of = self.of.clone();
        let mut state = of.0.lock();
        self.is_over = true;
        if state.waiting.is_empty() {
            state.under_way -= 1;
            return None;
        }
        Some(of.turn(&mut state, now))
    }
}

impl Drop for Turn {
    /// Where the task was dropped, with its runtime.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.of.0.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(9);

    type Told = oneshot::Receiver<Result<Version, Error>>;

    fn add(all: &Gathering, now: Instant) -> (Option<Turn>, Told) {
        let (waiter, told) = oneshot::channel();
        (all.add(waiter, LONG, now), told)
    }

    #[test]
    fn who_comes_while_a_request_is_under_way_shares_the_next_one() {
        let (all, now) = (Gathering::default(), Instant::now());
        let (first, _told) = add(&all, now);
        let first = first.expect("nobody else is there");
        assert_eq!(first.waiting.len(), 1);
        let (nobody, _second) = add(&all, now);
        assert!(nobody.is_none());
        let (waiter, _third) = oneshot::channel();
        assert!(all.add(waiter, 2 * LONG, now).is_none());
        let next = first.next(now).expect("two have come");
        assert_eq!((next.waiting.len(), next.patience), (2, 2 * LONG));
        assert!(next.next(now).is_none());
        assert!(add(&all, now).0.is_some(), "nothing is under way any more");
    }

    #[test]
    fn where_requests_take_long_others_are_sent_meanwhile() {
        let (all, mut now) = (Gathering::default(), Instant::now());
        let mut turns = vec![add(&all, now).0.expect("the first")];
        for _ in 1..UNDER_WAY_MAX {
            assert!(add(&all, now).0.is_none(), "too soon");
            now += APART;
            turns.push(add(&all, now).0.expect("time has passed"));
            assert_eq!(turns.last().map(|turn| turn.waiting.len()), Some(2));
        }
        now += APART;
        assert!(add(&all, now).0.is_none(), "too many are under way");
    }

    #[test]
    fn who_waits_for_a_request_that_was_dropped_comes_again() {
        let (all, now) = (Gathering::default(), Instant::now());
        let (turn, mut first) = add(&all, now);
        let (_, mut second) = add(&all, now);
        drop(turn);
        for told in [&mut first, &mut second] {
            assert!(matches!(told.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        }
        assert!(add(&all, now).0.is_some());
    }

    #[test]
    fn who_went_away_is_forgotten() {
        let (all, now) = (Gathering::default(), Instant::now());
        let first = add(&all, now);
        let stays: Vec<_> = (0..10).map(|_| add(&all, now)).collect();
        (0..10_000).for_each(|_| drop(add(&all, now)));
        let waiting = all.0.lock().waiting.len();
        assert!((10..=2 * LOOKED_AT_MIN).contains(&waiting), "{waiting}");
        let next = first.0.expect("the first").next(now).expect("some have come");
        assert_eq!(next.waiting.iter().filter(|waiter| !waiter.is_closed()).count(), stays.len());
    }
}
