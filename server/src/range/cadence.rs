//! When the leaders of a node propose.
//!
//! A log entry costs five nodes a message each way, a sync and a dozen wake-ups whether it carries one
//! request or a hundred. As long as there is time to spare, a range proposes as soon as it has something
//! to propose. Where proposals take long because there is more to do than the machine can do, doing it
//! sooner only makes more entries of fewer requests: then the node's ranges fall into step. They propose
//! together, so that one frame carries the entries of all of them to a peer and one sync makes them
//! durable, and pause for a moment before the next turn, so that those who were just answered can ask
//! again.
//!
//! Whether there is too much to do is told by the proposals themselves, as TCP Vegas tells it by its
//! packets (Brakmo and Peterson, 1995, section 3.2): they take half as long again as the quickest ones of
//! late, and longer than [`CROWDED_FROM`], below which a turn saves nothing.
//!
//! Nothing depends on it but speed: nobody waits longer than one and a half usual proposals take, or the
//! pause.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::time::local::{Instant, sleep_until};

/// Proposals that take less are not too many.
const CROWDED_FROM: Duration = Duration::from_millis(3);
/// How long the quickest proposal is remembered, at least and up to twice as long.
const LEAST_WINDOW: Duration = Duration::from_secs(30);
/// Ranges that start within this long of the first are of its turn.
const TURN_WINDOW: Duration = Duration::from_millis(1);
/// Pause between turns: this many fifths of what a proposal takes, and no longer than [`PAUSE_MAX`].
const PAUSE_FIFTHS: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// A proposal that takes longer than this is not slow, but stuck, and says no more.
const USUAL_MAX: Duration = Duration::from_millis(50);
/// A proposal's time counts as one part in this many in the usual one.
const USUAL_PARTS: u32 = 8;
/// As long as a node that is not crowded has fewer proposals under way, a range may have a second one.
const FEW: usize = 3;

/// The proposals of a node; every clone is the same.
#[derive(Clone, Debug)]
pub struct Cadence(Arc<Node>);

/// The one of a node.
#[derive(Debug)]
struct Node {
    state: Mutex<State>,
    turn_ended: Notify,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    /// Turns that ended.
    turns: u64,
    /// When the turn began.
    began: Instant,
    /// The next one begins no sooner.
    opens: Instant,
    /// How long proposals take.
    usual: Duration,
    /// The quickest of the window before, and of this one.
    least: [Duration; 2],
    window_ends: Instant,
}

/// Whether a range may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// At that time, or when the turn that is under way has ended.
    Later(Wait),
}

/// What [`Cadence::turn`] says to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    until: Instant,
    turns: u64,
}

impl Default for Cadence {
    fn default() -> Cadence {
        let now = Instant::now();
        let state = State {
            under_way: 0,
            turns: 0,
            began: now,
            opens: now,
            usual: Duration::ZERO,
            least: [Duration::MAX; 2],
            window_ends: now + LEAST_WINDOW,
        };
        Cadence(Arc::new(Node { state: Mutex::new(state), turn_ended: Notify::new() }))
    }
}

impl Cadence {
    /// Whether a range that has nothing under way may propose.
    pub fn turn(&self) -> Turn {
        let state = self.0.state.lock();
        let now = Instant::now();
        let until = match state.under_way {
            _ if !state.is_crowded() => now,
            0 => state.opens,
            _ if now < state.began + TURN_WINDOW => now,
            // Ahead of a turn that takes too long.
            _ => state.began + state.usual * 3 / 2,
        };
        if until <= now { Turn::Now } else { Turn::Later(Wait { until, turns: state.turns }) }
    }

    /// Whether a range may propose beside what it has under way.
    pub fn allows_second(&self) -> bool {
        let state = self.0.state.lock();
        !state.is_crowded() && state.under_way < FEW
    }

    /// Waits until it is worth asking again.
    pub async fn wait(&self, wait: Wait) {
        let ended = self.0.turn_ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        if self.0.state.lock().turns != wait.turns {
            return;
        }
        tokio::select! {
            biased;
            () = ended => {}
            () = sleep_until(wait.until) => {}
        }
    }

    /// A proposal is under way until what is returned is dropped.
    pub fn begin(&self) -> UnderWay {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        if state.under_way == 0 || now >= state.began + TURN_WINDOW {
            state.began = now;
        }
        state.under_way += 1;
        UnderWay { cadence: self.clone(), began: now }
    }

    fn ended(&self, took: Duration) {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        state.learn(took, now);
        state.under_way -= 1;
        if state.under_way == 0 {
            state.turns += 1;
            state.opens = now + (state.usual * PAUSE_FIFTHS / 5).min(PAUSE_MAX);
            drop(state);
            self.0.turn_ended.notify_waiters();
        }
    }
}

impl State {
    fn learn(&mut self, took: Duration, now: Instant) {
        let took = took.min(USUAL_MAX);
        self.usual = (self.usual * (USUAL_PARTS - 1) + took) / USUAL_PARTS;
        if now >= self.window_ends {
            self.least = [self.least[1], took];
            self.window_ends = now + LEAST_WINDOW;
        }
        self.least[1] = self.least[1].min(took);
    }

    /// Whether proposals take long because there is too much to do.
    fn is_crowded(&self) -> bool {
        let least = self.least[0].min(self.least[1]);
        // One and a half times as long; the quickest may be unknown, and is for ever then.
        self.usual >= CROWDED_FROM && self.usual >= least.saturating_mul(3) / 2
    }
}

/// A proposal that counts.
#[derive(Debug)]
pub struct UnderWay {
    cadence: Cadence,
    began: Instant,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.cadence.ended(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A node whose proposals take `usual`, and took as little as `quickest` at the quickest.
    fn busy(usual: Duration, quickest: Duration) -> Cadence {
        let cadence = Cadence::default();
        {
            let mut state = cadence.0.state.lock();
            let now = Instant::now();
            state.learn(quickest, now);
            (0..100).for_each(|_| state.learn(usual, now));
        }
        cadence
    }

    fn is_late(cadence: &Cadence, within: Duration) -> bool {
        match cadence.turn() {
            Turn::Now => false,
            Turn::Later(wait) => {
                assert!(wait.until <= Instant::now() + within, "{wait:?}");
                true
            }
        }
    }

    #[tokio::test]
    async fn nobody_waits_where_there_is_time_to_spare() {
        // Few wait for a long time where nothing is quicker, and for a short one where all is quick.
        for (usual, quickest) in [(MS, MS), (2 * MS, MS / 4), (20 * MS, 18 * MS)] {
            let cadence = busy(usual, quickest);
            assert_eq!(cadence.turn(), Turn::Now, "{usual:?} {quickest:?}");
            let one = cadence.begin();
            assert_eq!(cadence.turn(), Turn::Now);
            assert!(cadence.allows_second());
            let more = [cadence.begin(), cadence.begin()];
            assert!(!cadence.allows_second());
            drop((one, more));
        }
    }

    #[tokio::test]
    async fn ranges_of_a_crowded_node_take_turns() {
        let cadence = busy(8 * MS, MS);
        let first = cadence.begin();
        assert!(!cadence.allows_second());
        // Whoever comes with the first is of its turn; whoever comes later waits for the next.
        assert_eq!(cadence.turn(), Turn::Now);
        let second = cadence.begin();
        cadence.0.state.lock().began -= 2 * MS;
        assert!(is_late(&cadence, 12 * MS));
        drop(first);
        let Turn::Later(wait) = cadence.turn() else { panic!("the turn goes on") };
        let waiting = tokio::spawn({
            let cadence = cadence.clone();
            async move { cadence.wait(wait).await }
        });
        drop(second);
        waiting.await.expect("told of the turn's end");
        // Then there is a pause, and it ends.
        assert!(is_late(&cadence, 5 * MS));
        cadence.0.state.lock().opens = Instant::now();
        assert_eq!(cadence.turn(), Turn::Now);
    }

    #[tokio::test]
    async fn a_turn_that_hangs_holds_nobody_up() {
        let cadence = busy(Duration::from_secs(5), MS);
        let _stuck = cadence.begin();
        cadence.0.state.lock().began -= USUAL_MAX * 3 / 2;
        assert_eq!(cadence.turn(), Turn::Now);
    }

    #[test]
    fn what_was_quick_long_ago_is_forgotten() {
        let mut state = {
            let cadence = Cadence::default();
            let now = Instant::now();
            let mut state = cadence.0.state.lock();
            state.learn(MS, now);
            state.window_ends = now;
            State { least: state.least, ..*state }
        };
        let mut now = Instant::now();
        for _ in 0..3 {
            (0..100).for_each(|_| state.learn(10 * MS, now));
            now += LEAST_WINDOW;
        }
        assert!(!state.is_crowded());
    }
}
