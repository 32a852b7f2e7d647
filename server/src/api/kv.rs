//! `quintet.v1.KV`: unary calls, scans and sessions.
//!
//! A unary call is a request on the router like a session's, tried again until its deadline (`call.rs`).

use std::{collections::HashSet, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use quintet_proto::{
    bounded::ITEMS_KEPT_MAX,
    v1::{self, session_request::Op, session_response::Result as Body},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    budget::{Budget, respond},
    call::call,
    delete_range, hold,
    line::Line,
    scan, session,
    status::{stamp, status, unexpected},
    watch,
};
use crate::{
    cluster::state::NodeState,
    error::OpError,
    ops::operation::{Operation, OperationOutcome},
    request::context::timeout_of,
    router::Router,
    time::{local::Instant, ms_u32},
};

/// Reads of a batch before it is known how large its values are.
const BATCH_READS_FIRST: usize = 8;
/// Reads of a batch that are under way at the same time, once that is known.
const BATCH_READS_MAX: usize = 256;

/// The service.
pub struct KvService {
    node_state: Arc<NodeState>,
    router: Arc<Router>,
}

impl KvService {
    /// Serves what a node reaches.
    pub fn new(node_state: Arc<NodeState>) -> KvService {
        KvService { router: node_state.router().clone(), node_state }
    }
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
        let outcome = failed.map_or(OperationOutcome::Ok, OperationOutcome::of);
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
        Err(status(OpError::invalid(message)))
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
    Err(status(OpError::invalid(message)))
}

type ScanPages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::kv_server::Kv for KvService {
    type ScanStream = ScanPages;
    type SessionStream = session::Frames;
    type WatchStream = watch::Changes;
    type HoldSnapshotStream = hold::Messages;

    async fn hold_snapshot(
        &self,
        request: Request<v1::HoldSnapshotRequest>,
    ) -> Result<Response<hold::Messages>, Status> {
        hold::run(&self.node_state, request.into_inner()).await.map(Response::new).map_err(status)
    }

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

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::History(request.into_inner()), &budget).await? {
            Body::History(history) => {
                let context = stamp(&self.router);
                Ok(respond(v1::HistoryResponse { context, ..history }, budget, false))
            }
            _ => Err(unexpected()),
        }
    }

    async fn timestamp(
        &self,
        request: Request<v1::TimestampRequest>,
    ) -> Result<Response<v1::TimestampResponse>, Status> {
        let budget = self.budget(&request);
        match self.run(Op::Timestamp(request.into_inner()), &budget).await? {
            Body::Timestamp(told) => {
                let context = stamp(&self.router);
                Ok(respond(v1::TimestampResponse { context, ..told }, budget, false))
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
        let (context, from_follower) = (request.context.unwrap_or_default(), request.from_follower);
        let deadline = started + timeout_of(&context);
        let calls = request.keys.into_iter().map(|key| {
            let (context, budget) = (context.clone(), &budget);
            async move {
                // What is left for those that wait for others of the batch.
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout_ms = ms_u32(left).max(1);
                let context = Some(v1::RequestContext { timeout_ms, ..context });
                let get =
                    v1::GetRequest { context, key, from_follower, ..v1::GetRequest::default() };
                call(&self.router, Op::Get(get), budget).await
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
                Ok(_) => Item::Error(OpError::unavailable("an answer of another kind").into()),
                Err(error) => Item::Error(error.into()),
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
                Ok(_) => Item::Error(OpError::ambiguous("an answer of another kind").into()),
                Err(error) => Item::Error(error.into()),
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

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<watch::Changes>, Status> {
        let (budget, line) = (self.budget(&request), line(&request));
        let from = request.remote_addr();
        let changes = watch::open(self.router.clone(), (line, from), request.into_inner())?;
        Ok(respond(changes, budget, true))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionFrame>>,
    ) -> Result<Response<session::Frames>, Status> {
        let from = request.remote_addr();
        session::open(self.router.clone(), from, request.into_inner()).map(Response::new)
    }
}
