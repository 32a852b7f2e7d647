//! Requests of clients that another node forwarded: what their answers may hold in memory, and where a request that
//! came to the wrong place is to go.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use prost::Message as _;
use quintet_proto::{internal::v1 as wire, v1::Code};
use tokio::sync::oneshot;

use crate::{
    error::OpError,
    ids::RangeId,
    peer::Kind,
    range::request::{OpResult, ReplySink},
    request::{answer::Answered, encode, weight},
    router::{
        Router,
        admission::{self, Admitted},
    },
};

/// Bytes of answers to forwarded requests that may wait for their links; over it reads are refused.
/// What one client that takes nothing costs the cluster is this and, on the way to it, the frames of
/// a link (`peer/server.rs`) and of its session (`api/session.rs`), encoded and decoded.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// Answers to forwarded requests that wait for their links.
#[derive(Default)]
pub(super) struct Forwarded {
    waiting_bytes: Arc<AtomicUsize>,
}

impl Forwarded {
    /// Serves a request, or passes it on where this node is asked to relay it.
    pub(super) fn serve(
        &self,
        router: Arc<Router>,
        forward: wire::Forward,
        range: RangeId,
    ) -> BoxFuture<'static, Option<Kind>> {
        let request = forward.request.clone().unwrap_or_default();
        let bytes = request.encoded_len() + admission::items_bytes(request.op.as_ref());
        let admitted = match router.admission().admit_one(bytes) {
            Ok(admitted) => admitted,
            Err(error) => {
                let response = Some(encode::response(request.id, Err(error)));
                let answer = wire::ForwardAnswer { response, ..wire::ForwardAnswer::default() };
                return async move { Some(Kind::ForwardAnswer(answer)) }.boxed();
            }
        };
        let (tx, rx) = oneshot::channel();
        let waiting_bytes = self.waiting_bytes.clone();
        if forward.relay && !router.leads(range) && !router.serves_instead(&request, range) {
            let done = Box::new(move |mut answer: wire::ForwardAnswer| {
                let _admitted = admitted;
                let response = answer.response.take().unwrap_or_default();
                let (id, answered) = (response.id, Answered::from_wire(response));
                // The link may have gone.
                tx.send(Waiting::of(id, answered, answer, waiting_bytes)).ok();
            });
            router.relay(forward, range, done);
            return async move { Some(Kind::ForwardAnswer(rx.await.ok()?.take())) }.boxed();
        }
        let sink = Arc::new(ForwardedOnce {
            back: Mutex::new(Some(tx)),
            waiting_bytes,
            _admitted: admitted,
        });
        router.serve_forwarded(forward, range, sink);
        async move {
            let waiting = rx.await.ok()?;
            let (misrouted, mut answer) = (waiting.misrouted, waiting.take());
            if let Some(misrouted) = misrouted {
                let response = answer.response.take();
                let instead = router.correction(misrouted, request, range);
                answer = wire::ForwardAnswer { response, ..instead };
            }
            Some(Kind::ForwardAnswer(answer))
        }
        .boxed()
    }
}

/// Whether values may be added to what waits.
fn has_room(waiting_bytes: &AtomicUsize) -> bool {
    waiting_bytes.load(Ordering::Acquire) <= WAITING_BYTES_MAX
}

/// The way back of a forwarded request.
struct ForwardedOnce {
    back: Mutex<Option<oneshot::Sender<Waiting>>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Until the request is over.
    _admitted: Admitted,
}

/// An answer that counts as waiting until it is taken or dropped.
struct Waiting {
    answer: wire::ForwardAnswer,
    /// The code of a refusal that says that the request came to the wrong place.
    misrouted: Option<Code>,
    bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Waiting {
    /// Without its value, where too much waits already.
    fn of(
        id: u64,
        mut answered: Answered,
        answer: wire::ForwardAnswer,
        waiting_bytes: Arc<AtomicUsize>,
    ) -> Waiting {
        if !has_room(&waiting_bytes) {
            answered = weight::without_value(answered);
        }
        let bytes = weight::bytes(&answered);
        waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let misrouted = answered.error().and_then(OpError::misrouted);
        let answer = wire::ForwardAnswer { response: Some(answered.into_wire(id)), ..answer };
        Waiting { answer, misrouted, bytes, waiting_bytes }
    }

    fn take(mut self) -> wire::ForwardAnswer {
        std::mem::take(&mut self.answer)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl ReplySink for ForwardedOnce {
    fn answer(&self, id: u64, result: OpResult) {
        let Some(back) = self.back.lock().take() else { return };
        let answer = wire::ForwardAnswer::default();
        // The link may have gone.
        back.send(Waiting::of(id, result.into(), answer, self.waiting_bytes.clone())).ok();
    }

    fn has_room(&self) -> bool {
        has_room(&self.waiting_bytes)
    }
}

impl Drop for ForwardedOnce {
    fn drop(&mut self) {
        self.answer(0, Err(OpError::ambiguous("the node gave the request up")));
    }
}
