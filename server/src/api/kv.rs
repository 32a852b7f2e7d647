//! `quintet.v1.KV`: unary calls, scans and sessions.
//!
//! A unary call is a request on the router like a session's, and it is tried again here, with the
//! same request id, until its deadline: other languages need no retry loop of their own.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use quintet_proto::{
    bounded::ITEMS_KEPT_MAX,
    details,
    v1::{self, Code, RetryClass, session_request::Op, session_response::Result as Body},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    budget::{self, Awaited, Budget, respond},
    delete_range, encode,
    line::Line,
    scan, session,
};
use crate::{
    error::OpError,
    ops::metrics::{Held, Operation, Outcome},
    planted::{self, Bug},
    range::request::ReplySink,
    router::{Router, admission, settle},
    time::local::{Instant, sleep, timeout},
};

/// Between two tries of a unary call.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// Reads of a batch before it is known how large its values are.
const BATCH_READS_FIRST: usize = 8;
/// Reads of a batch that are under way at the same time, once that is known.
const BATCH_READS_MAX: usize = 256;

/// The service.
pub struct KvService {
    router: Arc<Router>,
}

impl KvService {
    /// Serves what the router reaches.
    pub fn new(router: Arc<Router>) -> KvService {
        KvService { router }
    }
}

/// Runs one request, trying again while that is safe and there is time. Its answer is within `budget`.
pub(super) async fn call(
    router: &Arc<Router>,
    mut op: Op,
    budget: &Arc<Budget>,
) -> Result<Body, v1::Error> {
    let reads = matches!(op, Op::Get(_) | Op::Scan(_));
    if reads && budget.is_spent() {
        return Err(encode::error(budget::batch_is_full()));
    }
    let _admitted = match router.admission().admit_one(op_bytes(&op)) {
        Ok(admitted) => admitted,
        Err(error) => return Err(settle::refused(Some(&op), error)),
    };
    let _in_flight = Held::one(&router.metrics().requests_in_flight);
    let context = context_mut(&mut op);
    let timeout_after = time_of(context);
    let deadline = Instant::now() + timeout_after;
    context.timeout_ms = u32::try_from(timeout_after.as_millis()).unwrap_or(u32::MAX);
    name(context, router);
    loop {
        let (sink, rx) = Awaited::new(budget);
        let request = v1::SessionRequest { id: 0, op: Some(op.clone()) };
        if reads && budget.is_full() {
            // It would be read in vain.
            sink.answer(0, Err(budget::no_room()));
        } else {
            router.dispatch(request, &sink);
        }
        let body = match timeout(deadline.saturating_duration_since(Instant::now()), rx).await {
            Ok(Ok(response)) => response.result,
            Ok(Err(_)) => None,
            Err(_) => return Err(out_of_time(&op, true)),
        };
        let error = match body {
            Some(Body::Error(error)) => error,
            Some(body) => return Ok(body),
            None => encode::error(OpError::ambiguous("the node gave the request up")),
        };
        if reads && error.code() == Code::Overloaded && budget.is_spent() {
            return Err(encode::error(budget::batch_is_full()));
        }
        match error.retry() {
            // Whoever asked may reach the node that is named.
            RetryClass::Reroute if router.is_cut_off() => {
                return Err(settle::told(Some(&op), error));
            }
            RetryClass::Reroute => {}
            RetryClass::Ambiguous => {
                let attempt = &mut context_mut(&mut op).attempt;
                *attempt = attempt.saturating_add(1);
            }
            _ => return Err(error),
        }
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(match error.code() {
                Code::UnknownOutcome => out_of_time(&op, true),
                _ => settle::told(Some(&op), error),
            });
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// How long a caller waits.
pub(super) fn time_of(context: &v1::RequestContext) -> Duration {
    let ms = if context.timeout_ms == 0 { 10_000 } else { context.timeout_ms.min(60_000) };
    Duration::from_millis(ms.into())
}

/// Gives a request an id and the time of its first attempt, where its caller has not.
pub(super) fn name(context: &mut v1::RequestContext, router: &Router) {
    if context.request_id.is_none() {
        let client: u128 = rand::random();
        let client = Bytes::copy_from_slice(&client.to_be_bytes());
        context.request_id = Some(v1::RequestId { origin_room: 0, client, sequence: 1 });
        // Nobody else can repeat it, and `call` heeds only the last copy's refusal.
        context.refusal_not_remembered = true;
    }
    if context.first_attempt_time == 0 && context.attempt == 0 {
        context.first_attempt_time = router.hlc().peek().0;
    }
}

/// Bytes of what a request holds on to, roughly.
fn op_bytes(op: &Op) -> usize {
    const OVERHEAD_BYTES: usize = 256;
    OVERHEAD_BYTES
        + match op {
            Op::Get(get) => get.key.len(),
            Op::Put(put) => put.key.len() + put.value.len(),
            Op::Delete(delete) => delete.key.len(),
            Op::Increment(increment) => increment.key.len(),
            Op::Expire(expire) => expire.key.len(),
            Op::PutMany(many) => admission::items_bytes(Some(op)) + many.encoded_len(),
            Op::Scan(scan) => scan.start.len() + scan.end.len() + scan.prefix.len(),
            Op::DeleteRange(delete) => delete.start.len() + delete.end.len() + delete.prefix.len(),
        }
}

fn out_of_time(op: &Op, was_sent: bool) -> v1::Error {
    let reads = matches!(op, Op::Get(_) | Op::Scan(_));
    // The careless hand: "there was no answer, so nothing was done".
    let is_careless = planted::active(Bug::UnaryTimeoutIsRefusal);
    encode::error(if reads || !was_sent || is_careless {
        OpError::new(Code::DeadlineExceeded, "no answer within the deadline; give it more time")
    } else {
        OpError::ambiguous("no answer within the deadline; ask again with the same request id")
    })
}

pub(crate) fn context_mut(op: &mut Op) -> &mut v1::RequestContext {
    let slot = match op {
        Op::Get(get) => &mut get.context,
        Op::Put(put) => &mut put.context,
        Op::Delete(delete) => &mut delete.context,
        Op::Increment(increment) => &mut increment.context,
        Op::Expire(expire) => &mut expire.context,
        Op::PutMany(many) => &mut many.context,
        Op::Scan(scan) => &mut scan.context,
        Op::DeleteRange(delete) => &mut delete.context,
    };
    slot.get_or_insert_default()
}

/// The gRPC status of an error, with the error and what gRPC's clients understand of it in its details.
pub(super) fn status(error: v1::Error) -> Status {
    let code = match error.code() {
        Code::InvalidArgument | Code::NotANumber => tonic::Code::InvalidArgument,
        Code::Conflict | Code::RequestIdReused | Code::Expired => tonic::Code::FailedPrecondition,
        Code::VersionCollected => tonic::Code::OutOfRange,
        Code::AlreadyInitialized => tonic::Code::AlreadyExists,
        Code::WrongCluster | Code::NotInitialized | Code::EmptyNode | Code::NodeNotEmpty => {
            tonic::Code::FailedPrecondition
        }
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Overloaded | Code::Storage => tonic::Code::ResourceExhausted,
        Code::Unavailable | Code::NotLeader | Code::StaleRoute => tonic::Code::Unavailable,
        Code::SeveralRanges => tonic::Code::FailedPrecondition,
        Code::UnknownOutcome | Code::Unspecified => tonic::Code::Unknown,
    };
    let details = details::of(code.into(), &error);
    Status::with_details(code, error.message, details)
}

pub(super) fn unexpected() -> Status {
    Status::internal("an answer of another kind")
}

pub(super) fn stamp(router: &Router) -> Option<v1::ResponseContext> {
    Some(v1::ResponseContext { cluster_time: router.hlc().told().0 })
}

/// The connection that a request came over.
fn line<T>(request: &Request<T>) -> Option<Arc<Line>> {
    request.extensions().get::<Arc<Line>>().cloned()
}

impl KvService {
    async fn run(&self, op: Op, budget: &Arc<Budget>) -> Result<Body, Status> {
        call(&self.router, op, budget).await.map_err(status)
    }

    /// Budget for the answer to a request.
    fn budget<T>(&self, request: &Request<T>) -> Arc<Budget> {
        Budget::new(self.router.admission().clone(), line(request))
    }

    /// Budget for the items of the answer to a batch.
    fn budget_of_batch<T>(&self, request: &Request<T>) -> Arc<Budget> {
        Budget::of_batch(self.router.admission().clone(), line(request))
    }

    /// Counts a batch by its first item that failed.
    fn count(&self, batch: Operation, failed: Option<&v1::Error>, started: Instant) {
        let outcome = failed.map_or(Outcome::Ok, Outcome::of);
        self.router.metrics().operation(batch).done(outcome, started.elapsed());
    }

    fn check_items(&self, items: usize) -> Result<(), Status> {
        let most = self.router.limits().batch_items_max as usize;
        if items <= most {
            return Ok(());
        }
        // What is behind these was not kept, nor counted.
        let more = if items < ITEMS_KEPT_MAX { "" } else { " or more" };
        let message = format!("the batch has {items} items{more}, {most} are allowed; split it");
        Err(status(encode::error(OpError::invalid(message))))
    }
}

/// Refuses a batch that names two requests alike: one of them would be answered for the other.
fn check_ids(items: &[v1::PutRequest]) -> Result<(), Status> {
    let ids = items.iter().filter_map(|put| put.context.as_ref()?.request_id.as_ref());
    let mut known = HashSet::new();
    let mut names = ids.map(|id| (id.origin_room, &id.client, id.sequence));
    if names.all(|name| known.insert(name)) {
        return Ok(());
    }
    let message = "two items of the batch have the same request id: give each one of its own";
    Err(status(encode::error(OpError::invalid(message))))
}

type ScanPages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::kv_server::Kv for KvService {
    type ScanStream = ScanPages;
    type SessionStream = session::Frames;

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Get(request.into_inner()), &budget).await? {
            Body::Get(get) => {
                let context = stamp(&self.router);
                Ok(respond(v1::GetResponse { context, ..get }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Put(request.into_inner()), &budget).await? {
            Body::Put(put) => {
                let context = stamp(&self.router);
                Ok(respond(v1::PutResponse { context, ..put }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Delete(request.into_inner()), &budget).await? {
            Body::Delete(delete) => {
                let context = stamp(&self.router);
                Ok(respond(v1::DeleteResponse { context, ..delete }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn increment(
        &self,
        request: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Increment(request.into_inner()), &budget).await? {
            Body::Increment(increment) => {
                let context = stamp(&self.router);
                Ok(respond(v1::IncrementResponse { context, ..increment }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn expire(
        &self,
        request: Request<v1::ExpireRequest>,
    ) -> Result<Response<v1::ExpireResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Expire(request.into_inner()), &budget).await? {
            Body::Expire(expire) => {
                let context = stamp(&self.router);
                Ok(respond(v1::ExpireResponse { context, ..expire }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        use v1::get_result::Result as Item;
        let budget = self.budget_of_batch(&request);
        let (request, started) = (request.into_inner(), Instant::now());
        self.check_items(request.keys.len())?;
        let context = request.context.unwrap_or_default();
        let deadline = started + time_of(&context);
        let calls = request.keys.into_iter().map(|key| {
            let (context, budget) = (context.clone(), &budget);
            async move {
                // What is left for those that wait for others of the batch.
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
                let context = Some(v1::RequestContext { timeout_ms, ..context });
                call(&self.router, Op::Get(v1::GetRequest { context, key }), budget).await
            }
        });
        let mut calls = calls.fuse();
        // A few first: if they fill the answer, the others need not be read in vain.
        let first = calls.by_ref().take(BATCH_READS_FIRST);
        let mut results = futures::future::join_all(first).await;
        let others = futures::stream::iter(calls).buffered(BATCH_READS_MAX);
        results.extend(others.collect::<Vec<_>>().await);
        let items = results.into_iter().map(|result| {
            let item = match result {
                Ok(Body::Get(get)) => Item::State(get.state.unwrap_or_default()),
                Ok(_) => {
                    Item::Error(encode::error(OpError::unavailable("an answer of another kind")))
                }
                Err(error) => Item::Error(error),
            };
            v1::GetResult { result: Some(item) }
        });
        let items: Vec<_> = items.collect();
        let failed = items.iter().find_map(|item| match &item.result {
            Some(Item::Error(error)) => Some(error),
            _ => None,
        });
        self.count(Operation::BatchGet, failed, started);
        let context = stamp(&self.router);
        Ok(respond(v1::BatchGetResponse { context, items }, budget, false))
    }

    async fn batch_put(
        &self,
        request: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        use v1::put_result::Result as Item;
        let budget = self.budget_of_batch(&request);
        let (request, started) = (request.into_inner(), Instant::now());
        self.check_items(request.items.len())?;
        check_ids(&request.items)?;
        let shared = request.context.unwrap_or_default();
        let calls = request.items.into_iter().map(|mut put| {
            if put.context.is_none() {
                // Items are independent requests: each gets an id of its own.
                put.context = Some(v1::RequestContext {
                    request_id: None,
                    attempt: 0,
                    first_attempt_time: 0,
                    ..shared.clone()
                });
            }
            call(&self.router, Op::Put(put), &budget)
        });
        let items = futures::future::join_all(calls).await.into_iter().map(|result| {
            let item = match result {
                Ok(Body::Put(put)) => Item::Ok(put),
                Ok(_) => {
                    Item::Error(encode::error(OpError::ambiguous("an answer of another kind")))
                }
                Err(error) => Item::Error(error),
            };
            v1::PutResult { result: Some(item) }
        });
        let items: Vec<_> = items.collect();
        let failed = items.iter().find_map(|item| match &item.result {
            Some(Item::Error(error)) => Some(error),
            _ => None,
        });
        self.count(Operation::BatchPut, failed, started);
        let context = stamp(&self.router);
        Ok(respond(v1::BatchPutResponse { context, items }, budget, false))
    }

    async fn delete_range(
        &self,
        request: Request<v1::DeleteRangeRequest>,
    ) -> Result<Response<v1::DeleteRangeResponse>, Status> {
        let budget = self.budget(&request);
        let deleted = delete_range::run(&self.router, request.into_inner(), &budget).await;
        let deleted = deleted.map_err(status)?;
        let context = stamp(&self.router);
        Ok(respond(v1::DeleteRangeResponse { context, ..deleted }, budget, false))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<ScanPages>, Status> {
        let (budget, line) = (self.budget(&request), line(&request));
        let pages = scan::Pages::new(self.router.clone(), line, request.into_inner());
        Ok(respond(Box::pin(pages), budget, true))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionFrame>>,
    ) -> Result<Response<session::Frames>, Status> {
        let from = request.remote_addr();
        session::open(self.router.clone(), from, request.into_inner()).map(Response::new)
    }
}
