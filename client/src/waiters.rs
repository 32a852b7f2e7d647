//! Who waits for a timestamp, of all clones of a client, and when the next request is sent for them.
//!
//! At once, where none is under way; where requests take long, [`APART`] at least after the last one, up to
//! [`UNDER_WAY_MAX`] of them. So nobody waits for more than two round trips, and many who ask again at once share the
//! next one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{error::Error, types::Version};

/// Requests of a client under way at the same time.
const UNDER_WAY_MAX: usize = 4;
/// No request is sent sooner after another one that is under way.
const APART: Duration = Duration::from_millis(1);

/// Where what was asked for goes.
pub(crate) type Waiter = oneshot::Sender<Result<Version, Error>>;

/// Those for whom a request is to be sent now.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    pub(crate) waiting: Vec<Waiter>,
    /// How long the most patient of them waits.
    pub(crate) patience: Duration,
}

/// All who wait.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiters: Waiters,
    under_way: usize,
    /// When the last request was sent.
    sent: Option<Instant>,
}

impl State {
    fn send(&mut self, now: Instant) -> Waiters {
        self.sent = Some(now);
        std::mem::take(&mut self.waiters)
    }
}

impl WaitingRoom {
    /// Somebody waits, this long at most. Returned are those for whom a request is to be sent at once; it counts as
    /// one that is under way until [`next`](Self::next) says that nobody has come, or it is
    /// [abandoned](Self::abandon).
    pub(crate) fn add(&self, waiter: Waiter, patience: Duration, now: Instant) -> Option<Waiters> {
        let mut state = self.state.lock();
        state.waiters.waiting.push(waiter);
        state.waiters.patience = state.waiters.patience.max(patience);
        let is_apart = state.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= APART);
        let may_send = state.under_way == 0 || (state.under_way < UNDER_WAY_MAX && is_apart);
        may_send.then(|| {
            state.under_way += 1;
            state.send(now)
        })
    }

    /// A request was answered: who has come meanwhile, for the next one.
    pub(crate) fn next(&self, now: Instant) -> Option<Waiters> {
        let mut state = self.state.lock();
        if state.waiters.waiting.is_empty() {
            state.under_way -= 1;
            return None;
        }
        Some(state.send(now))
    }

    /// A request will not be answered. With no other one under way all who wait are told so.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.waiters = Waiters::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(9);

    type Told = oneshot::Receiver<Result<Version, Error>>;

    fn add(room: &WaitingRoom, now: Instant) -> (Option<Waiters>, Told) {
        let (waiter, told) = oneshot::channel();
        (room.add(waiter, LONG, now), told)
    }

    #[test]
    fn who_comes_while_a_request_is_under_way_shares_the_next_one() {
        let (room, now) = (WaitingRoom::default(), Instant::now());
        let (first, _told) = add(&room, now);
        assert_eq!(first.map(|first| first.waiting.len()), Some(1));
        let (nobody, _second) = add(&room, now);
        assert!(nobody.is_none());
        let (waiter, _third) = oneshot::channel();
        assert!(room.add(waiter, 2 * LONG, now).is_none());
        let next = room.next(now).expect("two have come");
        assert_eq!((next.waiting.len(), next.patience), (2, 2 * LONG));
        assert!(room.next(now).is_none());
        assert!(add(&room, now).0.is_some(), "nothing is under way any more");
    }

    #[test]
    fn where_requests_take_long_others_are_sent_meanwhile() {
        let (room, mut now) = (WaitingRoom::default(), Instant::now());
        assert!(add(&room, now).0.is_some());
        for _ in 1..UNDER_WAY_MAX {
            assert!(add(&room, now).0.is_none(), "too soon");
            now += APART;
            assert_eq!(add(&room, now).0.map(|sent| sent.waiting.len()), Some(2));
        }
        now += APART;
        assert!(add(&room, now).0.is_none(), "too many are under way");
    }

    #[test]
    fn who_waits_for_a_request_that_was_dropped_is_told_so() {
        let (room, now) = (WaitingRoom::default(), Instant::now());
        let _first = add(&room, now);
        let (_, mut second) = add(&room, now);
        room.abandon();
        assert!(matches!(second.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(add(&room, now).0.is_some());
    }
}
