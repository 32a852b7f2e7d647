//! `quintet.v1.KV`: unary calls, scans and sessions.
//!
//! A unary call is a request on the router like a session's, and it is tried again here, with the
//! same request id, until its deadline: other languages need no retry loop of their own.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use prost::Message;
use quintet_proto::{
    bounded::ITEMS_KEPT_MAX,
    v1::{self, Code, RetryClass, session_request::Op, session_response::Result as Body},
};
use tonic::{Request, Response, Status, Streaming};

use super::{delete_range, encode, scan, session};
use crate::{
    error::OpError,
    ops::metrics::{Held, Operation, Outcome},
    planted::{self, Bug},
    router::{Router, admission, once::Once, settle},
    time::local::{Instant, sleep, timeout},
};

/// Between two tries of a unary call.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

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

/// Runs one request, trying again while that is safe and there is time.
pub(super) async fn call(router: &Arc<Router>, mut op: Op) -> Result<Body, v1::Error> {
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
        let (sink, rx) = Once::new();
        let request = v1::SessionRequest { id: 0, op: Some(op.clone()) };
        router.dispatch(request, &sink);
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
        match error.retry() {
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

fn context_mut(op: &mut Op) -> &mut v1::RequestContext {
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

/// The gRPC status of an error; its details are the encoded `quintet.v1.Error`.
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
    let details = Bytes::from(error.encode_to_vec());
    Status::with_details(code, error.message, details)
}

pub(super) fn unexpected() -> Status {
    Status::internal("an answer of another kind")
}

pub(super) fn stamp(router: &Router) -> Option<v1::ResponseContext> {
    Some(v1::ResponseContext { cluster_time: router.hlc().told().0 })
}

impl KvService {
    async fn run(&self, op: Op) -> Result<Body, Status> {
        call(&self.router, op).await.map_err(status)
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
        match self.run(Op::Get(request.into_inner())).await? {
            Body::Get(get) => {
                Ok(Response::new(v1::GetResponse { context: stamp(&self.router), ..get }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        match self.run(Op::Put(request.into_inner())).await? {
            Body::Put(put) => {
                Ok(Response::new(v1::PutResponse { context: stamp(&self.router), ..put }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        match self.run(Op::Delete(request.into_inner())).await? {
            Body::Delete(delete) => {
                Ok(Response::new(v1::DeleteResponse { context: stamp(&self.router), ..delete }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn increment(
        &self,
        request: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        match self.run(Op::Increment(request.into_inner())).await? {
            Body::Increment(increment) => {
                let context = stamp(&self.router);
                Ok(Response::new(v1::IncrementResponse { context, ..increment }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn expire(
        &self,
        request: Request<v1::ExpireRequest>,
    ) -> Result<Response<v1::ExpireResponse>, Status> {
        match self.run(Op::Expire(request.into_inner())).await? {
            Body::Expire(expire) => {
                Ok(Response::new(v1::ExpireResponse { context: stamp(&self.router), ..expire }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        use v1::get_result::Result as Item;
        let (request, started) = (request.into_inner(), Instant::now());
        self.check_items(request.keys.len())?;
        let calls = request.keys.into_iter().map(|key| {
            let get = v1::GetRequest { context: request.context.clone(), key };
            call(&self.router, Op::Get(get))
        });
        let items = futures::future::join_all(calls).await.into_iter().map(|result| {
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
        Ok(Response::new(v1::BatchGetResponse { context: stamp(&self.router), items }))
    }

    async fn batch_put(
        &self,
        request: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        use v1::put_result::Result as Item;
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
            call(&self.router, Op::Put(put))
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
        Ok(Response::new(v1::BatchPutResponse { context: stamp(&self.router), items }))
    }

    async fn delete_range(
        &self,
        request: Request<v1::DeleteRangeRequest>,
    ) -> Result<Response<v1::DeleteRangeResponse>, Status> {
        let deleted = delete_range::run(&self.router, request.into_inner()).await;
        let deleted = deleted.map_err(status)?;
        let context = stamp(&self.router);
        Ok(Response::new(v1::DeleteRangeResponse { context, ..deleted }))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<ScanPages>, Status> {
        let pages = scan::Pages::new(self.router.clone(), request.into_inner());
        Ok(Response::new(Box::pin(pages)))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionFrame>>,
    ) -> Result<Response<session::Frames>, Status> {
        let from = request.remote_addr();
        session::open(self.router.clone(), from, request.into_inner()).map(Response::new)
    }
}
