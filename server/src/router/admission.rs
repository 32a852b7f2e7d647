//! How much a node takes on at a time, from all doors together: requests, their bytes, and bytes of answers.
//!
//! Queues of sessions, ranges and links have bounds of their own; there may be thousands of each, so
//! that their sum bounds nothing. Here the node counts what it has accepted and not answered, by
//! session, by single call, or for another node. Over the bound a request is refused as `overloaded`
//! with a retry-after before anything is done for it, and the session that it came by is not read for a
//! while ([`rest`]). Flow control then holds up a client that goes on sending (backpressure), so that refusing
//! never costs more than a small part of what the node can do.
//!
//! Short queues are also what keeps throughput up: what waits for seconds is served to callers that have
//! given up.
//!
//! # Invariants
//!
//! * At most `requests_max` requests are admitted and not answered.
//! * Bytes are those of the frames that requests came in, for as long as one of a frame's requests holds
//!   on to it: values are slices of it. Each item of a batch of puts counts with [`ITEM_BYTES`] more. They
//!   exceed `bytes_max` by one frame at most.
//! * What was admitted is given back exactly once, also where its request is dropped: [`Admitted`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quintet_proto::v1::session_request::Op;

use crate::{config::Limits, error::OpError, ops::metrics::Metrics};

/// When who was refused may come again.
pub const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Bytes that a batch of puts holds on to for each of its items, beside those of its frame: decoded, and
/// as a latch.
const ITEM_BYTES: usize = 256;
/// Refusals a second, of all sessions of a node: about a tenth of a core.
const REFUSALS_PER_S_MAX: u64 = 50_000;

/// The bounds of a node and what is within them.
pub struct Admission {
    requests_max: usize,
    bytes_max: usize,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// Nothing is admitted yet.
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Arc<Admission> {
        Arc::new(Admission {
            requests_max: limits.requests_in_flight_max as usize,
            bytes_max: limits.requests_in_flight_bytes_max(),
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            answer_bytes: AtomicUsize::new(0),
            metrics,
        })
    }

    /// Admits as many of these requests, which came in one piece of `bytes` bytes, as there is room for; the others
    /// are counted as refused.
    pub fn admit(self: &Arc<Self>, requests: usize, bytes: usize) -> Admitted {
        let mut granted = 0;
        if self.bytes.load(Ordering::Acquire) < self.bytes_max {
            let grant = |held: usize| {
                granted = requests.min(self.requests_max.saturating_sub(held));
                Some(held + granted)
            };
            // It can't fail: there is always something to store.
            self.requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, grant).ok();
        }
        let bytes = if granted == 0 { 0 } else { bytes };
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.metrics.requests_refused.inc_by((requests - granted) as u64);
        Admitted { admission: self.clone(), granted, held: AtomicUsize::new(granted), bytes }
    }

    /// Admits one request, or says why not.
    pub fn admit_one(self: &Arc<Self>, bytes: usize) -> Result<Admitted, OpError> {
        let admitted = self.admit(1, bytes);
        if admitted.granted() == 0 { Err(refusal()) } else { Ok(admitted) }
    }

    /// Whether more bytes of answers wait than may, so that values are left out of further ones.
    pub fn answers_are_full(&self) -> bool {
        self.answer_bytes.load(Ordering::Acquire) > self.bytes_max
    }

    /// How many may wait.
    pub fn answer_bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many wait.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes.load(Ordering::Acquire)
    }

    /// An answer was let go: its client takes none of it.
    pub fn answer_let_go(&self) {
        self.metrics.answers_let_go.inc();
    }

    /// From now on `bytes` more bytes of answers wait.
    pub fn answers_wait(&self, bytes: usize) {
        self.answer_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.metrics.answers_waiting.inc_by(bytes as u64);
    }

    /// From now on `bytes` fewer bytes of answers wait.
    pub fn answers_taken(&self, bytes: usize) {
        self.answer_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.metrics.answers_waiting.dec_by(bytes as u64);
    }
}

/// Bytes that count for the items of a batch of puts, beside those that they came in; 0 of other requests.
pub fn items_bytes(op: Option<&Op>) -> usize {
    op.map_or(0, Op::items).saturating_mul(ITEM_BYTES)
}

/// What is told to those who are refused.
pub fn refusal() -> OpError {
    let message = "the node has as much under way as it takes on; wait, then ask again";
    OpError { retry_after: Some(RETRY_AFTER), ..OpError::overloaded(message) }
}

/// How long a session is not read after `refused` of its requests were refused at once, for all sessions together to
/// stay below [`REFUSALS_PER_S_MAX`].
pub fn rest(refused: usize, sessions_open: u64) -> Duration {
    let us = (refused as u64).saturating_mul(sessions_open.max(1)).saturating_mul(1_000_000)
        / REFUSALS_PER_S_MAX;
    Duration::from_micros(us).min(RETRY_AFTER)
}

/// Room for requests, and for what holds their bytes; given back when it is dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    granted: usize,
    held: AtomicUsize,
    bytes: usize,
}

impl Admitted {
    /// How many requests were admitted.
    pub fn granted(&self) -> usize {
        self.granted
    }

    /// One of them is answered.
    pub fn one_done(&self) {
        let take = |held: usize| held.checked_sub(1);
        if self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
            self.admission.requests.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.requests.fetch_sub(*self.held.get_mut(), Ordering::AcqRel);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use quintet_proto::v1::{Code, RetryClass};

    use super::*;

    fn admission(requests: u32) -> Arc<Admission> {
        let limits = Limits {
            requests_in_flight_max: requests,
            requests_in_flight_mb_max: 1,
            ..Limits::default()
        };
        Admission::new(&limits, Arc::new(Metrics::new()))
    }

    #[test]
    fn over_the_bound_requests_are_refused_until_some_are_done() {
        let admission = admission(10);
        let first = admission.admit(8, 100);
        let second = admission.admit(8, 100);
        assert_eq!((first.granted(), second.granted()), (8, 2));
        assert_eq!(admission.metrics.requests_refused.get(), 6);
        let refused = admission.admit_one(1).err().expect("full");
        assert_eq!((refused.code, refused.retry_class()), (Code::Overloaded, RetryClass::Reroute));
        assert_eq!(refused.retry_after, Some(RETRY_AFTER));
        first.one_done();
        let third = admission.admit_one(1).expect("room for one");
        assert!(admission.admit_one(1).is_err());
        drop((first, second, third));
        assert_eq!(admission.requests.load(Ordering::Acquire), 0);
        assert_eq!(admission.bytes.load(Ordering::Acquire), 0);
        assert_eq!(admission.admit(99, 1).granted(), 10);
    }

    #[test]
    fn what_is_done_twice_is_given_back_once() {
        let admission = admission(10);
        let one = admission.admit(1, 1);
        one.one_done();
        one.one_done();
        drop(one);
        assert_eq!(admission.requests.load(Ordering::Acquire), 0);
    }

    #[test]
    fn bytes_are_held_until_the_last_request_of_a_frame_is_gone() {
        let admission = admission(1_000);
        let frame = admission.admit(2, 1 << 20);
        frame.one_done();
        assert_eq!(admission.admit(1, 1).granted(), 0, "the bytes are all taken");
        frame.one_done();
        assert_eq!(admission.admit(1, 1).granted(), 0, "the frame is still there");
        drop(frame);
        assert_eq!(admission.admit(1, 5 << 20).granted(), 1, "one frame may exceed the bound");
    }

    #[test]
    fn sessions_rest_longer_the_more_of_them_there_are() {
        assert_eq!(rest(10, 5), Duration::from_millis(1));
        assert_eq!(rest(0, 5), Duration::ZERO);
        assert_eq!(rest(1_000, 4_000), RETRY_AFTER);
    }

    #[test]
    fn answers_are_counted_by_their_bytes() {
        let admission = admission(1);
        admission.answers_wait((1 << 20) + 1);
        assert!(admission.answers_are_full());
        admission.answers_taken(1);
        assert!(!admission.answers_are_full());
    }
}
