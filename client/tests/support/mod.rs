//! A node that is none: it serves `quintet.v1` over a map, and does to each request what the test
//! says. Nodes that share a [`Store`] are one cluster.

mod store;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use prost::Message;
use quintet_client::v1::{
    self,
    admin_server::{Admin, AdminServer},
    kv_server::{Kv, KvServer},
    session_request::Op,
    session_response::Result as Answer,
};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tonic::{Request, Response, Status, Streaming, transport::server::Router};

pub(crate) use self::store::Store;

/// What the node does to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    /// Does it and answers.
    Do,
    /// Does it and answers once [`FakeNode::release`] allows one more.
    Hold,
    /// Does it and says nothing.
    Swallow,
    /// Does it, then breaks the stream without an answer.
    DoAndBreak,
    /// Breaks the stream at once.
    Break,
    /// Does nothing and answers with an error.
    Refuse(v1::Error),
    /// Does it and answers with an error all the same.
    DoAndRefuse(v1::Error),
}

/// An error answer.
pub(crate) fn error(code: v1::Code, retry: v1::RetryClass) -> v1::Error {
    v1::Error {
        code: code.into(),
        retry: retry.into(),
        message: format!("the test wants {code:?}"),
        ..v1::Error::default()
    }
}

/// What a node has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) hellos: Vec<v1::SessionHello>,
    pub(crate) requests: Vec<Op>,
    pub(crate) frames: usize,
    pub(crate) sessions_open: usize,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_max: usize,
}

impl Seen {
    /// Contexts of the writes.
    pub(crate) fn contexts(&self) -> Vec<v1::RequestContext> {
        let context = |op: &Op| match op {
            Op::Put(put) => put.context.clone(),
            Op::Delete(delete) => delete.context.clone(),
            Op::Increment(increment) => increment.context.clone(),
            Op::Expire(expire) => expire.context.clone(),
            Op::PutMany(many) => many.context.clone(),
            Op::DeleteRange(delete) => delete.context.clone(),
            Op::Get(_) | Op::Scan(_) | Op::History(_) | Op::Watch(_) | Op::Timestamp(_) => None,
        };
        self.requests.iter().filter_map(context).collect()
    }
}

/// A node; dropping it stops it.
pub(crate) struct FakeNode {
    pub(crate) address: String,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
    /// Sessions end when it is dropped.
    alive: Option<broadcast::Sender<()>>,
}

struct Inner {
    store: Arc<Mutex<Store>>,
    seen: Mutex<Seen>,
    /// For the next requests, in order; then `Do`.
    reactions: Mutex<VecDeque<Reaction>>,
    released: Semaphore,
    address: OnceLock<String>,
    room: u32,
    alive: broadcast::Sender<()>,
}

impl FakeNode {
    pub(crate) async fn start(store: &Arc<Mutex<Store>>, room: u32) -> Self {
        let (alive, _) = broadcast::channel(1);
        let inner = Arc::new(Inner {
            store: Arc::clone(store),
            seen: Mutex::default(),
            reactions: Mutex::default(),
            released: Semaphore::new(0),
            address: OnceLock::new(),
            room,
            alive: alive.clone(),
        });
        let router = tonic::transport::Server::builder()
            .add_service(KvServer::from_arc(Arc::new(Service(Arc::clone(&inner)))))
            .add_service(AdminServer::new(Service(Arc::clone(&inner))));
        let (address, server) = serve(router, room).await;
        inner.address.get_or_init(|| address.clone());
        Self { address, inner, server, alive: Some(alive) }
    }

    /// What to do to the next requests.
    pub(crate) fn react(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.inner.reactions.lock().extend(reactions);
    }

    /// Lets this many held answers go.
    pub(crate) fn release(&self, answers: usize) {
        self.inner.released.add_permits(answers);
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.inner.seen.lock())
    }

    /// Ends all sessions and refuses new connections.
    pub(crate) fn stop(&mut self) {
        self.server.abort();
        if self.alive.take().is_some() {
            drop(self.inner.alive.send(()));
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves on a free port.
#[cfg(not(madsim))]
async fn serve(router: Router, _: u32) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving = router.serve_with_incoming(incoming);
    (address, tokio::spawn(async move { serving.await.unwrap() }))
}

/// Serves on a port of the simulated network, which is the test's own.
#[cfg(madsim)]
async fn serve(router: Router, room: u32) -> (String, tokio::task::JoinHandle<()>) {
    let address = format!("127.0.0.1:{}", 7_000 + room);
    let serving = router.serve(address.parse().unwrap());
    (address, tokio::spawn(async move { serving.await.unwrap() }))
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Service(Arc<Inner>);

type Frames = Pin<Box<dyn Stream<Item = Result<v1::SessionFrame, Status>> + Send>>;
type Outgoing = mpsc::Sender<Result<v1::SessionFrame, Status>>;

#[tonic::async_trait]
impl Kv for Service {
    type ScanStream = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;
    type SessionStream = Frames;
    type HoldSnapshotStream =
        Pin<Box<dyn Stream<Item = Result<v1::HoldSnapshotResponse, Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn hold_snapshot(
        &self,
        _: Request<v1::HoldSnapshotRequest>,
    ) -> Result<Response<Self::HoldSnapshotStream>, Status> {
        Err(Status::unimplemented("not held by the test's node"))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not watched at the test's node"))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionFrame>>,
    ) -> Result<Response<Frames>, Status> {
        let (outgoing, answers) = mpsc::channel(1_024);
        let inner = Arc::clone(&self.0);
        inner.seen.lock().sessions_open += 1;
        tokio::spawn(async move {
            let broken = inner.serve(request.into_inner(), &outgoing).await;
            inner.seen.lock().sessions_open -= 1;
            if broken {
                drop(outgoing.send(Err(Status::unavailable("broken by the test"))).await);
            }
        });
        let frames = futures::stream::unfold(answers, async |mut answers| {
            Some((answers.recv().await?, answers))
        });
        Ok(Response::new(frames.boxed()))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn history(
        &self,
        _: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn timestamp(
        &self,
        _: Request<v1::TimestampRequest>,
    ) -> Result<Response<v1::TimestampResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn delete_range(
        &self,
        _: Request<v1::DeleteRangeRequest>,
    ) -> Result<Response<v1::DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn increment(
        &self,
        _: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn expire(
        &self,
        _: Request<v1::ExpireRequest>,
    ) -> Result<Response<v1::ExpireResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn batch_get(
        &self,
        _: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn batch_put(
        &self,
        _: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        Err(Status::unimplemented("unary"))
    }

    async fn scan(
        &self,
        _: Request<v1::ScanRequest>,
    ) -> Result<Response<Self::ScanStream>, Status> {
        Err(Status::unimplemented("unary"))
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn set_retention(
        &self,
        _: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        Err(Status::unimplemented("no retention in the test"))
    }

    async fn list_retention(
        &self,
        _: Request<v1::ListRetentionRequest>,
    ) -> Result<Response<v1::ListRetentionResponse>, Status> {
        Err(Status::unimplemented("no retention in the test"))
    }

    async fn place_time_servers(
        &self,
        _: Request<v1::PlaceTimeServersRequest>,
    ) -> Result<Response<v1::PlaceTimeServersResponse>, Status> {
        Err(Status::unimplemented("no time servers in the test"))
    }

    async fn recover_time(
        &self,
        _: Request<v1::RecoverTimeRequest>,
    ) -> Result<Response<v1::RecoverTimeResponse>, Status> {
        Err(Status::unimplemented("no time servers in the test"))
    }

    async fn init_cluster(
        &self,
        _: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterResponse>, Status> {
        let mut store = self.0.store.lock();
        if !store.cluster_id.is_empty() {
            let error = error(v1::Code::AlreadyInitialized, v1::RetryClass::Never);
            let details = quintet_proto::details::of(tonic::Code::AlreadyExists.into(), &error);
            return Err(Status::with_details(tonic::Code::AlreadyExists, "again", details));
        }
        store.cluster_id = "made".to_owned();
        Ok(Response::new(v1::InitClusterResponse {
            cluster_id: store.cluster_id.clone(),
            incarnation: 1,
            nodes: Vec::new(),
        }))
    }

    async fn drain(
        &self,
        _: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        Err(Status::unimplemented("drain"))
    }

    async fn checksum(
        &self,
        _: Request<v1::ChecksumRequest>,
    ) -> Result<Response<v1::ChecksumResponse>, Status> {
        Err(Status::unimplemented("checksum"))
    }

    async fn debug_range(
        &self,
        _: Request<v1::DebugRangeRequest>,
    ) -> Result<Response<v1::DebugRangeResponse>, Status> {
        Err(Status::unimplemented("debug_range"))
    }

    async fn registry(
        &self,
        _: Request<v1::RegistryRequest>,
    ) -> Result<Response<v1::RegistryResponse>, Status> {
        Err(Status::unimplemented("registry"))
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        Err(Status::unimplemented("replace_node"))
    }

    async fn locate(
        &self,
        _: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        Err(Status::unimplemented("locate"))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let cluster_id = self.0.store.lock().cluster_id.clone();
        let initialized = !cluster_id.is_empty();
        Ok(Response::new(v1::StatusResponse { cluster_id, initialized, ..Default::default() }))
    }
}

impl Inner {
    /// Serves a session to its end; true where the test wants it broken.
    async fn serve(
        self: &Arc<Self>,
        mut incoming: Streaming<v1::SessionFrame>,
        outgoing: &Outgoing,
    ) -> bool {
        let mut stopped = self.alive.subscribe();
        loop {
            let frame = tokio::select! {
                _ = stopped.recv() => return true,
                frame = incoming.message() => frame,
            };
            let Ok(Some(frame)) = frame else { return false };
            let requests = v1::SessionRequests::decode(frame.body).unwrap();
            if let Some(hello) = requests.hello {
                self.seen.lock().hellos.push(hello);
                if !self.welcome(outgoing).await {
                    return false;
                }
            } else {
                self.seen.lock().frames += 1;
            }
            for request in requests.requests {
                if self.react(request, outgoing).await {
                    return true;
                }
            }
        }
    }

    async fn welcome(&self, outgoing: &Outgoing) -> bool {
        let (cluster_id, limits) = {
            let store = self.store.lock();
            (store.cluster_id.clone(), store.limits)
        };
        if cluster_id.is_empty() {
            let error = error(v1::Code::NotInitialized, v1::RetryClass::Never);
            let details =
                quintet_proto::details::of(tonic::Code::FailedPrecondition.into(), &error);
            let status = Status::with_details(tonic::Code::FailedPrecondition, "not yet", details);
            drop(outgoing.send(Err(status)).await);
            return false;
        }
        let welcome = v1::SessionWelcome {
            cluster_id,
            incarnation: 1,
            limits: Some(limits),
            room: self.room,
            node_id: u64::from(self.room) + 100,
            nodes: Vec::new(),
        };
        self.send(outgoing, Some(welcome), Vec::new(), Vec::new()).await;
        true
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        welcome: Option<v1::SessionWelcome>,
        responses: Vec<v1::SessionResponse>,
        routes: Vec<v1::Route>,
    ) {
        let cluster_time = self.store.lock().clock;
        let body = v1::SessionResponses { welcome, responses, cluster_time, routes };
        let body = body.encode_to_vec();
        drop(outgoing.send(Ok(v1::SessionFrame { body: body.into() })).await);
    }

    /// True: break the stream.
    async fn react(self: &Arc<Self>, request: v1::SessionRequest, outgoing: &Outgoing) -> bool {
        let op = request.op.unwrap();
        {
            let mut seen = self.seen.lock();
            seen.requests.push(op.clone());
            seen.in_flight += 1;
            seen.in_flight_max = seen.in_flight_max.max(seen.in_flight);
        }
        let reaction = self.reactions.lock().pop_front().unwrap_or(Reaction::Do);
        let answer = match &reaction {
            Reaction::Break | Reaction::Refuse(_) => None,
            _ => Some(self.store.lock().run(&op)),
        };
        let held = matches!(reaction, Reaction::Hold);
        let answer = match reaction {
            Reaction::Break | Reaction::DoAndBreak => return true,
            Reaction::Swallow => return false,
            Reaction::Refuse(error) | Reaction::DoAndRefuse(error) => Answer::Error(error),
            Reaction::Do | Reaction::Hold => answer.unwrap(),
        };
        let routes = self.routes(&op);
        let response = v1::SessionResponse { id: request.id, result: Some(answer) };
        if held {
            let (inner, outgoing) = (Arc::clone(self), outgoing.clone());
            tokio::spawn(async move {
                inner.released.acquire().await.unwrap().forget();
                inner.answer(response, routes, &outgoing).await;
            });
            return false;
        }
        self.answer(response, routes, outgoing).await;
        false
    }

    /// The range of a request on several keys that names none.
    fn routes(&self, op: &Op) -> Vec<v1::Route> {
        let Op::PutMany(many) = op else { return Vec::new() };
        if many.context.as_ref().is_some_and(|context| context.range_id != 0) {
            return Vec::new();
        }
        let (start, end) = self.store.lock().range_of(&many.items[0].key);
        vec![v1::Route {
            start: start.into(),
            end: end.into(),
            range_id: 7,
            generation: 1,
            leader_address: self.address.get().unwrap().clone(),
            ..v1::Route::default()
        }]
    }

    async fn answer(
        &self,
        response: v1::SessionResponse,
        routes: Vec<v1::Route>,
        outgoing: &Outgoing,
    ) {
        self.seen.lock().in_flight -= 1;
        self.send(outgoing, None, vec![response], routes).await;
    }
}
