//! One rhythm for the confirmation rounds of all ranges of a node.
//!
//! A linearizable read needs one round to a quorum (`reads`), and reads that arrive meanwhile share the
//! next. Were each range to begin its rounds when it likes, the reads of a busy node with eight ranges
//! would need eight times the rounds, messages and wake-ups that they need with one range. So rounds
//! begin together: a range that wants one while others run waits for their end, and everybody who
//! waited goes at once. What goes to one peer leaves in one frame, and comes back in one.
//!
//! # Invariants
//!
//! * Nobody's safety rests on this: a round proves what it proves whenever it begins.
//! * A range that hangs holds nobody up for longer than [`WAIT_MAX`].
//! * A wave that a task gives up, or is dropped in, ends: [`Riding`].

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

/// How long a round waits for others to end.
const WAIT_MAX: Duration = Duration::from_millis(2);

/// The rhythm of a node.
#[derive(Default)]
pub struct Waves(Mutex<State>);

#[derive(Default)]
struct State {
    /// Rounds that run.
    riding: usize,
    /// Who goes when they have ended: one entry a range at most.
    waiting: Vec<oneshot::Sender<Riding>>,
}

/// A round that runs, until it is dropped.
pub(super) struct Riding(Arc<Waves>);

impl Waves {
    /// Waits for the beginning of the next wave.
    pub(super) async fn join(self: &Arc<Self>) -> Riding {
        let next = {
            let mut state = self.0.lock();
            if state.riding == 0 {
                state.riding = 1;
                return Riding(self.clone());
            }
            let (go, next) = oneshot::channel();
            state.waiting.push(go);
            next
        };
        if let Ok(Ok(riding)) = timeout(WAIT_MAX, next).await {
            return riding;
        }
        self.0.lock().riding += 1;
        Riding(self.clone())
    }
}

impl Drop for Riding {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.0.lock();
            state.riding = state.riding.saturating_sub(1);
            if state.riding > 0 {
                return;
            }
            let waiting = std::mem::take(&mut state.waiting);
            state.riding = waiting.len();
            waiting
        };
        for go in waiting {
            // Whoever does not wait any more gives its place back, by dropping it here.
            go.send(Riding(self.0.clone())).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;

    /// Looks once, without waiting.
    async fn ready<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn who_waits_goes_when_the_last_has_ended() {
        let waves = Arc::new(Waves::default());
        let first = waves.join().await;
        let (mut second, mut third) = (pin!(waves.join()), pin!(waves.join()));
        assert!(ready(second.as_mut()).await.is_none());
        assert!(ready(third.as_mut()).await.is_none());
        drop(first);
        let second = second.await;
        let third = third.await;
        assert_eq!(waves.0.lock().riding, 2);
        let mut fourth = pin!(waves.join());
        assert!(ready(fourth.as_mut()).await.is_none());
        drop(second);
        assert!(ready(fourth.as_mut()).await.is_none(), "the wave goes on");
        drop(third);
        drop(fourth.await);
        assert_eq!(waves.0.lock().riding, 0);
    }

    #[tokio::test]
    async fn a_round_that_hangs_holds_nobody_up_for_long() {
        let waves = Arc::new(Waves::default());
        let hangs = waves.join().await;
        let late = waves.join().await;
        assert_eq!(waves.0.lock().riding, 2);
        drop(late);
        drop(hangs);
        assert_eq!(waves.0.lock().riding, 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_not_waited_for() {
        let waves = Arc::new(Waves::default());
        let first = waves.join().await;
        {
            let mut gone = pin!(waves.join());
            assert!(ready(gone.as_mut()).await.is_none());
        }
        drop(first);
        assert_eq!(waves.0.lock().riding, 0);
    }
}
