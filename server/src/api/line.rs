//! One client's connection, as its answers see it: how much of them waits, and how much is on its way.
//!
//! What is handed to the HTTP/2 layer is out of our hands until it is written to the socket, and a peer
//! may open windows of gigabytes and read nothing. So only [`ON_THE_WAY_BYTES_MAX`] of a connection are
//! handed over at a time: the next piece waits until the socket took some. What waits for that, or for the
//! peer's windows, is ours (`outgoing.rs`), is counted, and can be let go.

#![cfg_attr(madsim, allow(dead_code, reason = "the simulation's network has no sockets"))]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// Bytes handed to the HTTP/2 layer and not yet written; one piece may exceed it.
const ON_THE_WAY_BYTES_MAX: usize = 1 << 20;

/// The answers on one connection.
#[derive(Default)]
pub(crate) struct Line {
    waiting: AtomicUsize,
    on_the_way: AtomicUsize,
    closed: AtomicBool,
    /// Answers that wait for the socket, by their number: each is there once.
    held_up: Mutex<BTreeMap<u64, Waker>>,
}

impl Line {
    pub(crate) fn new() -> Arc<Line> {
        Arc::default()
    }

    /// Bytes of answers that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(super) fn wait(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn taken(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn is_clear(&self) -> bool {
        self.on_the_way.load(Ordering::Acquire) < ON_THE_WAY_BYTES_MAX
            || self.closed.load(Ordering::Acquire)
    }

    /// Whether a piece of an answer may be handed over; if not, its task is woken when it may.
    pub(super) fn has_room(&self, answer: u64, cx: &Context<'_>) -> bool {
        if self.is_clear() {
            return true;
        }
        self.held_up.lock().insert(answer, cx.waker().clone());
        // The socket may have taken the rest before the waker was there.
        self.is_clear()
    }

    /// A piece is handed over.
    pub(super) fn handed_over(&self, bytes: usize) {
        self.on_the_way.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The socket took bytes, not all of them of answers.
    pub(crate) fn written(&self, bytes: usize) {
        let rest = |on_the_way: usize| Some(on_the_way.saturating_sub(bytes));
        // It can't fail: there is always something to store.
        self.on_the_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).ok();
        if self.is_clear() {
            self.wake();
        }
    }

    /// The connection is gone: nobody waits for its socket any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// An answer that waited is gone.
    pub(super) fn forget(&self, answer: u64) {
        self.held_up.lock().remove(&answer);
    }

    fn wake(&self) {
        let held_up = std::mem::take(&mut *self.held_up.lock());
        held_up.into_values().for_each(Waker::wake);
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn a_piece_waits_until_the_socket_took_some() {
        let line = Line::new();
        let woken = Arc::new(Woken::default());
        let waker = waker(woken.clone());
        let cx = Context::from_waker(&waker);
        assert!(line.has_room(1, &cx));
        line.handed_over(ON_THE_WAY_BYTES_MAX + 5);
        assert!(!line.has_room(1, &cx) && !line.has_room(1, &cx) && !line.has_room(2, &cx));
        line.written(5);
        assert_eq!(woken.0.load(Ordering::Acquire), 0);
        line.written(1);
        assert_eq!(woken.0.load(Ordering::Acquire), 2, "each is woken once");
        assert!(line.has_room(1, &cx));
        // More is written than was handed over: heads of frames, other streams.
        line.written(10 * ON_THE_WAY_BYTES_MAX);
        line.handed_over(ON_THE_WAY_BYTES_MAX);
        assert!(!line.has_room(3, &cx));
        line.close();
        assert!(line.has_room(3, &cx));
        assert_eq!(woken.0.load(Ordering::Acquire), 3);
    }
}
