//! A request enters the router: from every door in the same way ([`enter`]), and for those who wait for one answer
//! with retries until its deadline ([`call`]).
//!
//! Languages without a client library of ours need no retry loop of their own: a call is tried again here, with
//! the same request id, for as long as that is safe and there is time. What a request id, a deadline and a
//! repetition are is said in `request/`.

use std::{sync::Arc, time::Duration};

use quintet_proto::v1::{
    self, Code, RetryClass, session_request::Op, session_response::Result as Body,
};

use super::budget::{self, Awaited, Budget};
use crate::{
    error::OpError,
    ops::metrics::Held,
    planted::{self, Bug},
    request::{
        answer::{Answered, Answers},
        context::{self, timeout_of},
        decoded::Request,
        settle::{self, Repetition},
    },
    router::{Router, admission},
    time::{
        local::{Instant, sleep, timeout},
        ms_u32,
        oracle::TIMESTAMPS_A_BLOCK,
    },
};

/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// What a call holds on to beside keys and values.
const CALL_BYTES: usize = 256;

/// Decodes a request and hands it to the router. What becomes of it, a refusal too, is answered to `sink`.
pub(super) fn enter<S: Answers>(router: &Arc<Router>, request: v1::SessionRequest, sink: &Arc<S>) {
    let takes_its_time =
        planted::active(Bug::NaiveTimeServer) && request.op.as_ref().is_some_and(Op::is_write);
    if takes_its_time {
        tokio::spawn(enter_stamped(router.clone(), request, sink.clone()));
    } else if request.op.as_ref().is_some_and(Op::is_repetition) {
        enter_once(router, request, Arc::new(Repetition(sink.clone())));
    } else {
        enter_once(router, request, sink.clone());
    }
}

/// The careless hand: "a write has its time before it sets out". It travels in the place of the time of its first
/// attempt.
async fn enter_stamped<S: Answers>(
    router: Arc<Router>,
    mut request: v1::SessionRequest,
    sink: Arc<S>,
) {
    let round = router.oracle().round().await;
    match (round, &mut request.op) {
        (Ok(block), Some(op)) => {
            let context = op.context_mut();
            // Writes of a client are numbered, and those that share a block get different timestamps of it.
            let number = context.request_id.as_ref().map_or(0, |id| id.sequence);
            context.first_attempt_time = block.nth(number % TIMESTAMPS_A_BLOCK).0;
            enter_once(&router, request, sink);
        }
        (Ok(_), None) => enter_once(&router, request, sink),
        (Err(error), op) => {
            router.refuse(sink, request.id, context::named(op.as_ref(), None), error.into())
        }
    }
}

fn enter_once<S: Answers>(router: &Arc<Router>, mut request: v1::SessionRequest, sink: Arc<S>) {
    if matches!(request.op, Some(Op::Timestamp(_))) {
        return router.tell_timestamp(request, sink);
    }
    match router.decoder().decode(&mut request) {
        Ok(decoded) => router.dispatch(Request { wire: request, decoded }, sink),
        Err(error) => {
            router.refuse(sink, request.id, context::named(request.op.as_ref(), None), error)
        }
    }
}

/// Runs one request, trying again while that is safe and there is time. Its answer is within `budget`.
pub(super) async fn call(
    router: &Arc<Router>,
    mut op: Op,
    budget: &Arc<Budget>,
) -> Result<Body, OpError> {
    let reads = !op.is_write();
    if reads && budget.is_spent() {
        return Err(budget::batch_is_full());
    }
    let bytes = CALL_BYTES + op.content_bytes() + admission::items_bytes(Some(&op));
    let _admitted = match router.admission().admit_one(bytes) {
        Ok(admitted) => admitted,
        Err(error) => return Err(settle::told(Some(&op), error)),
    };
    let _in_flight = Held::one(&router.metrics().requests_in_flight);
    let context = op.context_mut();
    let timeout_after = timeout_of(context);
    let deadline = Instant::now() + timeout_after;
    context.timeout_ms = ms_u32(timeout_after);
    loop {
        let (sink, rx) = Awaited::new(budget);
        // A write is named here before its first copy goes, since that is how later copies are named. A node that has
        // only just started knows no time for it at first.
        let named = if reads { Ok(()) } else { router.decoder().name(op.context_mut()) };
        if let Err(error) = named {
            router.refuse(sink, 0, context::named(Some(&op), None), settle::told(Some(&op), error));
        } else if reads && budget.is_full() {
            // It would be read in vain.
            sink.answered(0, Answered::Failed(OpError::no_room()));
        } else {
            enter(router, v1::SessionRequest { id: 0, op: Some(op.clone()) }, &sink);
        }
        let answered = timeout(deadline.saturating_duration_since(Instant::now()), rx).await;
        let error = match answered.map(|answered| answered.map(Answered::into_body)) {
            Ok(Ok(Ok(body))) => return Ok(body),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => OpError::ambiguous("the node gave the request up"),
            Err(_) => return Err(out_of_time(reads)),
        };
        if reads && error.code == Code::Overloaded && budget.is_spent() {
            return Err(budget::batch_is_full());
        }
        if reads && error.code == Code::Overloaded && budget.is_page_without_room() {
            return Err(error);
        }
        match error.retry_class() {
            // Whoever asked may reach the node that is named.
            RetryClass::Reroute if router.is_cut_off() => {
                return Err(settle::told(Some(&op), error));
            }
            RetryClass::Reroute => {}
            RetryClass::Ambiguous => {
                let attempt = &mut op.context_mut().attempt;
                *attempt = attempt.saturating_add(1);
            }
            _ => return Err(error),
        }
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(match error.code {
                Code::UnknownOutcome => out_of_time(reads),
                _ => settle::told(Some(&op), error),
            });
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn out_of_time(reads: bool) -> OpError {
    // The careless hand: "there was no answer, so nothing was done".
    let is_careless = planted::active(Bug::UnaryTimeoutIsRefusal);
    if reads || is_careless {
        OpError::new(Code::DeadlineExceeded, "no answer within the deadline; give it more time")
    } else {
        OpError::ambiguous("no answer within the deadline; ask again with the same request id")
    }
}
