//! Bytes for the answers of one call: what they may hold in memory until the peer has taken them.
//!
//! A call's answers count from the moment when they are made, whatever it is that was asked, in three
//! places: the node's bound (`router/admission.rs`), the bound of the connection that they go to
//! ([`Line`]), and that of the answer itself where it is a batch. Without room a value is left out: a read
//! is answered as overloaded, a refused condition without the value that stands. The room is given back
//! when the answer is encoded, from when on the encoded bytes count, or when the call is dropped
//! (`outgoing.rs`).
//!
//! # Invariants
//!
//! * What was taken is given back exactly once, when the [`Budget`] goes.
//! * An answer that nothing waits before has room, however large it is: whoever reads gets on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::Response;

use super::line::Line;
use crate::{
    error::OpError,
    ids::NodeId,
    request::{
        answer::{Answered, Answers},
        weight,
    },
    router::admission::Admission,
    storage::format::descriptor::Descriptor,
};

/// Bytes of a batch's answer: 4 MiB is what gRPC's clients read by default, less what the items take that
/// do not fit.
pub(super) const BATCH_BYTES_MAX: usize = (4 << 20) - (128 << 10);
/// Connections that together may fill the node's bound: no few of them keep all others out.
const LINES_TO_FILL_THE_NODE: usize = 16;

/// Budget for the answers of one call.
pub(crate) struct Budget {
    admission: Arc<Admission>,
    line: Option<Arc<Line>>,
    /// Bytes of its answers together.
    most: usize,
    held: AtomicUsize,
    /// Of `held`, what answers with values took.
    values: AtomicUsize,
    /// One did not fit.
    spent: AtomicBool,
    /// It is read before its turn, for which there is half of the room: whoever waits for what is read
    /// ahead could never go on if that filled all of it.
    ahead: AtomicBool,
    /// Of a page, of a scan or a watch.
    of_page: bool,
}

impl Budget {
    /// Budget for an answer over a connection; the simulation has none.
    pub(crate) fn new(admission: Arc<Admission>, line: Option<Arc<Line>>) -> Arc<Budget> {
        Arc::new(Budget::with(admission, line, usize::MAX))
    }

    /// Budget for a page that is read ahead, until it is its turn.
    pub(super) fn ahead(admission: Arc<Admission>, line: Option<Arc<Line>>) -> Arc<Budget> {
        let mut budget = Budget::with(admission, line, usize::MAX);
        (budget.ahead, budget.of_page) = (AtomicBool::new(true), true);
        Arc::new(budget)
    }

    /// It is the turn of what was to be read ahead.
    pub(super) fn is_due(&self) {
        self.ahead.store(false, Ordering::Release);
    }

    /// Budget for the items of a batch.
    pub(super) fn of_batch(admission: Arc<Admission>, line: Option<Arc<Line>>) -> Arc<Budget> {
        Arc::new(Budget::with(admission, line, BATCH_BYTES_MAX))
    }

    pub(super) fn with(admission: Arc<Admission>, line: Option<Arc<Line>>, most: usize) -> Budget {
        Budget {
            admission,
            line,
            most,
            held: AtomicUsize::new(0),
            values: AtomicUsize::new(0),
            spent: AtomicBool::new(false),
            ahead: AtomicBool::new(false),
            of_page: false,
        }
    }

    /// Whether the batch is as large as it may be: nothing further is read for it. Where the node or the
    /// connection has no more room it is with what it has: it would wait for itself.
    pub(super) fn is_spent(&self) -> bool {
        let has_some = self.most != usize::MAX && self.values.load(Ordering::Acquire) > 0;
        self.spent.load(Ordering::Acquire) || (has_some && self.is_full())
    }

    /// Whether it is for a page that finds no room: who asked waits for that, or for something else first.
    pub(super) fn is_page_without_room(&self) -> bool {
        self.of_page && self.is_full()
    }

    /// Whether a value had better not be read now: there is no room to answer it.
    pub(super) fn is_full(&self) -> bool {
        let part = if self.ahead.load(Ordering::Acquire) { 2 } else { 1 };
        let most = self.admission.answer_bytes_max() / part;
        self.admission.answer_bytes() > most
            || self.line.as_ref().is_some_and(|l| l.waiting() >= most / LINES_TO_FILL_THE_NODE)
    }

    /// Takes room for an answer, if there is some.
    fn take(&self, bytes: usize) -> bool {
        if self.is_full() {
            return false;
        }
        let fits = |values: usize| {
            let sum = values.saturating_add(bytes);
            (values == 0 || sum <= self.most).then_some(sum)
        };
        if self.values.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            self.spent.store(true, Ordering::Release);
            return false;
        }
        self.hold(bytes);
        true
    }

    /// Counts what is there, whether there is room or not.
    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.count(bytes);
    }

    /// Gives back what was counted.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulation's network has no bodies"))]
    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.uncount(bytes);
    }

    fn count(&self, bytes: usize) {
        self.admission.answers_wait(bytes);
        if let Some(line) = &self.line {
            line.wait(bytes);
        }
    }

    fn uncount(&self, bytes: usize) {
        self.admission.answers_taken(bytes);
        if let Some(line) = &self.line {
            line.taken(bytes);
        }
    }
}

/// What goes with a response until its body takes it over.
#[derive(Clone)]
pub(super) struct Made {
    /// What the answer holds before it is encoded.
    pub(super) _budget: Arc<Budget>,
    /// More may come behind the first message.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulation's network has no bodies"))]
    pub(super) is_stream: bool,
}

/// A response that takes its budget along.
pub(super) fn respond<T>(message: T, budget: Arc<Budget>, is_stream: bool) -> Response<T> {
    let mut response = Response::new(message);
    response.extensions_mut().insert(Made { _budget: budget, is_stream });
    response
}

impl Drop for Budget {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        self.uncount(held);
    }
}

/// The way back of one request: hands the first answer over, within the budget of its call.
pub(super) struct Awaited {
    back: Mutex<Option<oneshot::Sender<Answered>>>,
    budget: Arc<Budget>,
}

impl Awaited {
    /// Both ends.
    pub(super) fn new(budget: &Arc<Budget>) -> (Arc<Awaited>, oneshot::Receiver<Answered>) {
        let (tx, rx) = oneshot::channel();
        (Arc::new(Awaited { back: Mutex::new(Some(tx)), budget: budget.clone() }), rx)
    }
}

impl Answers for Awaited {
    fn answered(&self, _id: u64, mut answered: Answered) {
        let Some(waiting) = self.back.lock().take() else { return };
        let bytes = weight::bytes(&answered);
        if !weight::has_value(&answered) {
            self.budget.hold(bytes);
        } else if !self.budget.take(bytes) {
            answered = weight::value_left_out(answered);
            self.budget.hold(weight::bytes(&answered));
        }
        // The caller may have gone.
        waiting.send(answered).ok();
    }

    fn has_room(&self) -> bool {
        !self.budget.is_full()
    }

    fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
}

/// What an item of a batch is answered with that is behind what fits.
pub(super) fn batch_is_full() -> OpError {
    OpError::overloaded("the batch's answer is full; ask for this key again")
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use bytes::Bytes;
    use quintet_proto::v1::{self, Code, session_response::Result as Body};

    use super::*;
    use crate::{config::Limits, ops::metrics::Metrics};

    /// A node that has room for 16 MiB, and so a connection for 1 MiB.
    fn admission() -> Arc<Admission> {
        let limits = Limits { requests_in_flight_mb_max: 16, ..Limits::default() };
        Admission::new(&limits, Arc::new(Metrics::new()))
    }

    fn got(bytes: usize) -> v1::SessionResponse {
        let value = Bytes::from(vec![0; bytes]);
        let state = Some(v1::KeyState { version: 1, value, ..Default::default() });
        let body = Body::Get(v1::GetResponse { state, ..v1::GetResponse::default() });
        v1::SessionResponse { id: 1, result: Some(body) }
    }

    fn refused(bytes: usize) -> v1::SessionResponse {
        let Some(Body::Get(get)) = got(bytes).result else { unreachable!() };
        let error = v1::Error {
            code: Code::Conflict.into(),
            current: get.state.map(Box::new),
            ..v1::Error::default()
        };
        v1::SessionResponse { id: 1, result: Some(Body::Error(error)) }
    }

    fn through(budget: &Arc<Budget>, response: v1::SessionResponse) -> Body {
        let (sink, mut rx) = Awaited::new(budget);
        sink.answered(1, Answered::from_wire(response));
        rx.try_recv().expect("answered").into_wire(1).result.expect("a body")
    }

    fn code(body: &Body) -> Option<Code> {
        match body {
            Body::Error(error) => Some(error.code()),
            _ => None,
        }
    }

    #[test]
    fn the_answer_of_a_batch_is_never_above_what_clients_read() {
        let admission = admission();
        let budget = Budget::of_batch(admission.clone(), None);
        let answers: Vec<_> = (0..20).map(|_| through(&budget, got(512 << 10))).collect();
        let fit = answers.iter().filter(|body| code(body).is_none()).count();
        assert_eq!(fit, 7, "8 × 512 KiB and what they come in are above 4 MiB");
        assert!(answers[7..].iter().all(|body| code(body) == Some(Code::Overloaded)));
        assert!(budget.is_spent());
        assert!(admission.answer_bytes() < 4 << 20, "{}", admission.answer_bytes());
        drop(budget);
        assert_eq!(admission.answer_bytes(), 0);
        // One alone is answered, whatever its size.
        let budget = Budget::of_batch(admission, None);
        assert_eq!(code(&through(&budget, got(8 << 20))), None);
    }

    #[test]
    fn one_connection_that_takes_nothing_leaves_room_for_others() {
        let admission = admission();
        let (slow, other) = (Line::new(), Line::new());
        let budgets: Vec<_> =
            (0..40).map(|_| Budget::new(admission.clone(), Some(slow.clone()))).collect();
        let answers: Vec<_> =
            budgets.iter().map(|budget| through(budget, got(256 << 10))).collect();
        let waiting = answers.iter().filter(|body| code(body).is_none()).count();
        assert_eq!(waiting, 4, "a sixteenth of the node's bound");
        assert!(budgets.iter().all(|budget| budget.is_full() && !budget.is_spent()));
        let budget = Budget::new(admission.clone(), Some(other));
        assert_eq!(code(&through(&budget, got(256 << 10))), None);
        drop((budgets, budget));
        assert_eq!((admission.answer_bytes(), slow.waiting()), (0, 0));
    }

    #[test]
    fn the_nodes_bound_holds_for_all_connections_together() {
        let admission = admission();
        let budgets: Vec<_> =
            (0..200).map(|_| Budget::new(admission.clone(), Some(Line::new()))).collect();
        let answers: Vec<_> =
            budgets.iter().map(|budget| through(budget, got(256 << 10))).collect();
        let waiting = answers.iter().filter(|body| code(body).is_none()).count();
        assert!((63..=65).contains(&waiting), "{waiting} × 256 KiB of 16 MiB");
    }

    #[test]
    fn what_is_read_ahead_leaves_room_for_what_is_due() {
        let admission = admission();
        let ahead: Vec<_> = (0..64).map(|_| Budget::ahead(admission.clone(), None)).collect();
        let answers: Vec<_> = ahead.iter().map(|budget| through(budget, got(256 << 10))).collect();
        let read = answers.iter().filter(|body| code(body).is_none()).count();
        assert!((31..=33).contains(&read), "{read} × 256 KiB of half of 16 MiB");
        let refused = ahead.last().expect("one");
        assert!(refused.is_full());
        refused.is_due();
        assert_eq!(code(&through(refused, got(256 << 10))), None);
    }

    #[test]
    fn without_room_a_refusal_stays_a_refusal() {
        let admission = admission();
        admission.answers_wait(17 << 20);
        let budget = Budget::new(admission.clone(), None);
        let Body::Error(error) = through(&budget, refused(1_000)) else { panic!("an error") };
        let current = error.current.clone().expect("what stands");
        assert_eq!((error.code(), error.maybe_committed), (Code::Conflict, false));
        assert_eq!((current.version, current.value_left_out, current.value.len()), (1, true, 0));
        // What has no value is answered as it is.
        let put =
            v1::SessionResponse { id: 1, result: Some(Body::Put(v1::PutResponse::default())) };
        assert_eq!(code(&through(&budget, put)), None);
        assert_eq!(code(&through(&budget, got(1))), Some(Code::Overloaded));
    }
}
