//! A node that is none: it serves `quintet.v1` over a map, and does to each request what the test
//! says. Nodes that share a [`Store`] are one cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
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

/// What a key holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) version: u64,
    pub(crate) value: Bytes,
    /// 0: never.
    pub(crate) expires_at: u64,
}

/// The state of a cluster.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) cluster_id: String,
    pub(crate) limits: v1::Limits,
    pub(crate) records: BTreeMap<Bytes, Held>,
    done: BTreeMap<Vec<u8>, Answer>,
    clock: u64,
    /// Records of a page of a scan.
    pub(crate) page: usize,
    /// Where ranges end and the next begin.
    pub(crate) splits: Vec<&'static str>,
}

impl Store {
    pub(crate) fn shared(cluster_id: &str) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            cluster_id: cluster_id.to_owned(),
            limits: v1::Limits {
                key_bytes_max: 64,
                value_bytes_max: 1_000,
                batch_items_max: 300,
                session_in_flight_max: 512,
                ..v1::Limits::default()
            },
            records: BTreeMap::new(),
            done: BTreeMap::new(),
            clock: 1_000_000 << 12,
            page: 3,
            splits: Vec::new(),
        }))
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1 << 12;
        self.clock
    }

    /// Lets time pass: what has expired by then is gone.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.clock += (time.as_micros() as u64) << 12;
        let now = self.clock;
        self.records.retain(|_, held| held.expires_at == 0 || held.expires_at > now);
    }

    /// When a key expires that is written now.
    fn expiry(&self, ttl_ms: u64) -> u64 {
        if ttl_ms == 0 { 0 } else { self.clock + ((ttl_ms * 1_000) << 12) }
    }

    /// Does a request once; a repetition gets the first one's result.
    fn run(&mut self, op: &Op) -> Answer {
        let context = match op {
            Op::Put(put) => &put.context,
            Op::Delete(delete) => &delete.context,
            Op::Increment(increment) => &increment.context,
            Op::Expire(expire) => &expire.context,
            Op::PutMany(many) => &many.context,
            Op::DeleteRange(delete) => &delete.context,
            Op::Get(_) | Op::Scan(_) => &None,
        };
        let id = context.as_ref().and_then(|context| context.request_id.clone());
        let id = id.map(|id| id.encode_to_vec());
        if let Some(done) = id.as_ref().and_then(|id| self.done.get(id)) {
            return done.clone();
        }
        let answer = self.run_new(op);
        if let Some(id) = id {
            self.done.insert(id, answer.clone());
        }
        answer
    }

    fn run_new(&mut self, op: &Op) -> Answer {
        match op {
            Op::Get(get) => {
                Answer::Get(v1::GetResponse { state: self.state(&get.key), ..Default::default() })
            }
            Op::Put(put) => match self.refusal(&put.key, put.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let version = self.tick();
                    let expires_at = self.expiry(put.ttl_ms);
                    let value = put.value.clone();
                    self.records.insert(put.key.clone(), Held { version, value, expires_at });
                    Answer::Put(v1::PutResponse { version, ..Default::default() })
                }
            },
            Op::Delete(delete) => match self.refusal(&delete.key, delete.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let found = self.records.remove(&delete.key).is_some();
                    let version = if found { self.tick() } else { 0 };
                    Answer::Delete(v1::DeleteResponse { version, ..Default::default() })
                }
            },
            Op::Increment(increment) => {
                let held = self.records.get(&increment.key).cloned();
                let value = held.as_ref().map_or(Some(0), |held| {
                    std::str::from_utf8(&held.value).ok().and_then(|text| text.parse::<i64>().ok())
                });
                let Some(value) = value else {
                    return Answer::Error(error(v1::Code::NotANumber, v1::RetryClass::Never));
                };
                let value = value + increment.delta;
                let version = self.tick();
                let expires_at = match increment.ttl_ms {
                    0 => held.map_or(0, |held| held.expires_at),
                    ttl_ms => self.expiry(ttl_ms),
                };
                let held = Held { version, value: value.to_string().into(), expires_at };
                self.records.insert(increment.key.clone(), held);
                Answer::Increment(v1::IncrementResponse { value, version, ..Default::default() })
            }
            Op::Expire(expire) => match self.refusal(&expire.key, expire.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let (tick, expires_at) = (self.tick(), self.expiry(expire.ttl_ms));
                    let version = match self.records.get_mut(&expire.key) {
                        Some(held) => {
                            (held.version, held.expires_at) = (tick, expires_at);
                            tick
                        }
                        None => 0,
                    };
                    let context = None;
                    Answer::Expire(v1::ExpireResponse { context, version, expires_at })
                }
            },
            Op::Scan(scan) => self.scan(scan),
            Op::PutMany(many) => self.put_many(many),
            Op::DeleteRange(delete) => self.delete_range(delete),
        }
    }

    fn put_many(&mut self, many: &v1::PutManyRequest) -> Answer {
        assert!(many.items.len() <= self.limits.put_many_items_max as usize);
        assert!(many.items.is_sorted_by(|one, other| one.key < other.key), "keys rise");
        let (start, _) = self.range_of(&many.items[0].key);
        if many.items.iter().any(|item| self.range_of(&item.key).0 != start) {
            return Answer::Error(error(v1::Code::SeveralRanges, v1::RetryClass::Never));
        }
        let (version, expires_at) = (self.tick(), self.expiry(many.ttl_ms));
        for item in &many.items {
            let value = item.value.clone();
            self.records.insert(item.key.clone(), Held { version, value, expires_at });
        }
        Answer::PutMany(v1::PutManyResponse { version, ..Default::default() })
    }

    /// A page: it ends with its range, and after so many keys.
    fn delete_range(&mut self, delete: &v1::DeleteRangeRequest) -> Answer {
        assert!(delete.at > 0, "a page names its moment");
        let (_, border) = self.range_of(&delete.start);
        let mut next = Bytes::from(border);
        if !delete.end.is_empty() && (next.is_empty() || delete.end <= next) {
            next = Bytes::new();
        }
        let inside = |key: &Bytes| {
            *key >= delete.start
                && (delete.end.is_empty() || *key < delete.end)
                && (border.is_empty() || &key[..] < border.as_bytes())
        };
        let old = |(key, held): &(&Bytes, &Held)| inside(key) && held.version <= delete.at;
        let mut keys: Vec<_> =
            self.records.iter().filter(old).map(|(key, _)| key.clone()).collect();
        let most = if delete.limit > 0 { self.page.min(delete.limit as usize) } else { self.page };
        if keys.len() > most {
            next = keys[most].clone();
            keys.truncate(most);
        }
        self.tick();
        keys.iter().for_each(|key| drop(self.records.remove(key)));
        let (deleted, at, context) = (keys.len() as u64, delete.at, None);
        Answer::DeleteRange(v1::DeleteRangeResponse { context, deleted, at, next })
    }

    /// Start and end of the range of a key.
    fn range_of(&self, key: &[u8]) -> (&'static str, &'static str) {
        let below = self.splits.partition_point(|split| split.as_bytes() <= key);
        let start = below.checked_sub(1).map_or("", |split| self.splits[split]);
        (start, self.splits.get(below).copied().unwrap_or(""))
    }

    fn state(&self, key: &[u8]) -> Option<v1::KeyState> {
        Some(self.shown(self.records.get(key).cloned().unwrap_or_default()))
    }

    fn shown(&self, held: Held) -> v1::KeyState {
        let Held { version, value, expires_at } = held;
        let ttl_ms = (expires_at.saturating_sub(self.clock) >> 12).div_ceil(1_000);
        v1::KeyState { version, value, expires_at, ttl_ms, ..v1::KeyState::default() }
    }

    fn refusal(&self, key: &[u8], condition: Option<v1::Condition>) -> Option<v1::Error> {
        let version = self.records.get(key).map_or(0, |held| held.version);
        let holds = match condition.and_then(|condition| condition.kind) {
            None => true,
            Some(v1::condition::Kind::Absent(_)) => version == 0,
            Some(v1::condition::Kind::Version(expected)) => version == expected,
        };
        (!holds).then(|| v1::Error {
            current: self.state(key).map(Box::new),
            ..error(v1::Code::Conflict, v1::RetryClass::Never)
        })
    }

    fn scan(&mut self, scan: &v1::ScanRequest) -> Answer {
        assert!(scan.prefix.is_empty(), "the client turns a prefix into a range");
        let at = if scan.at == 0 { self.clock } else { scan.at };
        let inside = |key: &Bytes| *key >= scan.start && (scan.end.is_empty() || *key < scan.end);
        let visible = |(key, held): &(&Bytes, &Held)| inside(key) && held.version <= at;
        let mut found: Vec<v1::Record> = self
            .records
            .iter()
            .filter(visible)
            .map(|(key, held)| {
                let mut held = held.clone();
                if scan.keys_only {
                    held.value = Bytes::new();
                }
                v1::Record { key: key.clone(), state: Some(self.shown(held)) }
            })
            .collect();
        if scan.reverse {
            found.reverse();
        }
        if scan.limit > 0 {
            found.truncate(scan.limit as usize);
        }
        let mut next = Bytes::new();
        if found.len() > self.page {
            // an exclusive end in reverse, so the last key that was returned
            let bound = if scan.reverse { self.page - 1 } else { self.page };
            next = found[bound].key.clone();
            found.truncate(self.page);
        }
        Answer::Scan(v1::ScanResponse { records: found, at, next, ..Default::default() })
    }
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
            Op::Get(_) | Op::Scan(_) => None,
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

    /// Lets so many held answers go.
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
