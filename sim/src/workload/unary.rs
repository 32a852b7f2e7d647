//! The unary door: a client that is no library of ours and makes raw gRPC calls, as `docs/clients.md` tells
//! it to.
//!
//! Everything else works on sessions, where the client library repeats what has to be repeated. Here the node
//! does that, by its own rules (`server/src/api/kv.rs`), and this client believes what it is told:
//!
//! | told | outcome |
//! |---|---|
//! | an answer | done |
//! | `CODE_CONFLICT` | refused, with what stands |
//! | `maybe_committed` | unknown; with an id of its own it asks again first |
//! | another error of class `REROUTE` | nothing was done: it asks again, the same attempt |
//! | another error | definitely not done |
//! | nothing: the connection broke, or no answer came in time | as `maybe_committed` |
//!
//! Half of these clients give their requests ids and repeat them at another node, while what they said before
//! may still be under way: whoever gives a call up does not take it back ([`Wire`]). The others have none, and
//! what is unknown stays so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use quintet_client::v1::{self, kv_client::KvClient};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, transport::Channel};

use super::Seams;
use crate::history::{Call, Entry, Outcome, Record, Reply};

/// Beyond what it gave the node, a caller waits so long for the answer.
const SLACK: Duration = Duration::from_millis(40);
/// Between two tries.
const PAUSE_MS_MAX: u64 = 40;
/// With less time than this left it does not ask again.
const LEFT_MIN: Duration = Duration::from_millis(5);
/// Keys of a page of a deletion; 0 is as many as the node likes.
const SWEEP_PAGE_MAX: u64 = 4;
/// Bytes of a message beside what it carries, roughly.
const OVERHEAD_BYTES: usize = 128;

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There never was a connection: nothing was said.
    NotSent,
    /// The connection broke.
    Reset,
}

/// How the messages of unary calls travel between a client and a node, where that is simulated.
pub trait Wire: Send + Sync {
    /// A request goes to a node, unless whoever asks has given up before there was a connection.
    fn there(
        &self,
        node: &str,
        bytes: usize,
        given_up: Arc<AtomicBool>,
    ) -> BoxFuture<'static, Result<(), Broken>>;

    /// An answer, or a page of one, comes back from a node.
    fn back(&self, node: &str, bytes: usize) -> BoxFuture<'static, Result<(), Broken>>;
}

/// A node, as this client knows it.
#[derive(Clone)]
struct Node {
    address: String,
    kv: KvClient<Channel>,
}

/// A client that makes unary calls.
pub struct Unary {
    /// The nodes in the order in which they are asked, the nearest first.
    nodes: Vec<Node>,
    wire: Option<Arc<dyn Wire>>,
    timeout: Duration,
    /// The client part of its request ids; none: nodes give ids.
    id: Option<Vec<u8>>,
    sequence: AtomicU64,
    /// The newest cluster time that it was told.
    time: AtomicU64,
    /// Which node it asks.
    at: AtomicUsize,
    seams: Seams,
}

/// What a call asks for.
#[derive(Clone)]
enum Request {
    Get(v1::GetRequest),
    Put(v1::PutRequest),
    Delete(v1::DeleteRequest),
    DeleteRange(v1::DeleteRangeRequest),
    Increment(v1::IncrementRequest),
    Expire(v1::ExpireRequest),
    Scan(v1::ScanRequest),
    BatchGet(v1::BatchGetRequest),
    BatchPut(v1::BatchPutRequest),
}

/// What a call was answered.
enum Answer {
    Get(v1::GetResponse),
    Put(v1::PutResponse),
    Delete(v1::DeleteResponse),
    DeleteRange(v1::DeleteRangeResponse),
    Increment(v1::IncrementResponse),
    Expire(v1::ExpireResponse),
    Scan(Vec<v1::Record>),
    BatchGet(v1::BatchGetResponse),
    BatchPut(v1::BatchPutResponse),
}

/// Why there is no answer.
enum Failure {
    NotSent,
    /// It was sent, and nobody knows more.
    Lost,
    Refused(Box<v1::Error>),
}

/// What came of a call in the end.
enum Told {
    Answer(Answer),
    Conflict(Option<v1::KeyState>),
    Unknown,
    Failed(&'static str),
}

impl Request {
    fn writes(&self) -> bool {
        !matches!(self, Request::Get(_) | Request::Scan(_) | Request::BatchGet(_))
    }

    fn context_mut(&mut self) -> &mut v1::RequestContext {
        let slot = match self {
            Request::Get(get) => &mut get.context,
            Request::Put(put) => &mut put.context,
            Request::Delete(delete) => &mut delete.context,
            Request::DeleteRange(page) => &mut page.context,
            Request::Increment(increment) => &mut increment.context,
            Request::Expire(expire) => &mut expire.context,
            Request::Scan(scan) => &mut scan.context,
            Request::BatchGet(batch) => &mut batch.context,
            Request::BatchPut(batch) => &mut batch.context,
        };
        slot.get_or_insert_default()
    }

    fn bytes(&self) -> usize {
        let put = |put: &v1::PutRequest| put.key.len() + put.value.len();
        OVERHEAD_BYTES
            + match self {
                Request::Put(one) => put(one),
                Request::BatchPut(batch) => batch.items.iter().map(put).sum(),
                _ => 0,
            }
    }
}

impl Answer {
    fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Answer::Get(get) => get.state.as_ref().map_or(0, |state| state.value.len()),
                _ => 0,
            }
    }

    fn time(&self) -> u64 {
        let context = match self {
            Answer::Get(get) => &get.context,
            Answer::Put(put) => &put.context,
            Answer::Delete(delete) => &delete.context,
            Answer::DeleteRange(page) => &page.context,
            Answer::Increment(increment) => &increment.context,
            Answer::Expire(expire) => &expire.context,
            Answer::BatchGet(batch) => &batch.context,
            Answer::BatchPut(batch) => &batch.context,
            Answer::Scan(_) => &None,
        };
        context.as_ref().map_or(0, |context| context.cluster_time)
    }
}

/// What a failed call means.
fn failure(status: &Status) -> Failure {
    if let Some(error) = quintet_client::wire_error(status) {
        return Failure::Refused(Box::new(error));
    }
    // Libraries say in words alone that there never was a connection.
    let never = ["refused", "tcp connect error"];
    match never.iter().any(|words| status.message().contains(words)) {
        true => Failure::NotSent,
        false => Failure::Lost,
    }
}

/// What to do about a refusal.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// That is how it ended.
    Conflict,
    Failed,
    Unknown,
    /// Again, the same attempt: nothing was done.
    Again,
    /// Again, as a later attempt.
    Repeat,
}

/// What `docs/clients.md` says to do about an error.
fn next(error: &v1::Error) -> Next {
    let maybe = error.maybe_committed || error.code() == v1::Code::UnknownOutcome;
    match (error.code(), error.retry()) {
        (v1::Code::Conflict, _) => Next::Conflict,
        (_, v1::RetryClass::Ambiguous) => Next::Repeat,
        _ if maybe => Next::Unknown,
        (_, v1::RetryClass::Reroute) => Next::Again,
        _ => Next::Failed,
    }
}

impl Unary {
    /// A client of the nodes at these addresses. `names`: whether it gives its requests ids.
    pub fn new(
        addresses: Vec<String>,
        wire: Option<Arc<dyn Wire>>,
        timeout: Duration,
        names: bool,
        seams: Seams,
    ) -> Result<Unary, tonic::transport::Error> {
        let node = |address: String| -> Result<Node, tonic::transport::Error> {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
            let kv = KvClient::new(endpoint.connect_lazy());
            Ok(Node { address, kv })
        };
        let nodes = addresses.into_iter().map(node).collect::<Result<Vec<_>, _>>()?;
        let id = names.then(|| {
            let halves = [(seams.random)(), (seams.random)()];
            halves.iter().flat_map(|half| half.to_be_bytes()).collect()
        });
        let (sequence, time, at) = (AtomicU64::new(1), AtomicU64::new(0), AtomicUsize::new(0));
        Ok(Unary { nodes, wire, timeout, id, sequence, time, at, seams })
    }

    fn between(&self, least: u64, most: u64) -> u64 {
        least + (self.seams.random)() % (most.saturating_sub(least) + 1)
    }

    /// Asks and says what came of it, in the history's words; and the code of an error, if it is one.
    pub(super) async fn ask(&self, key: &str, call: &Call) -> (Outcome, Option<&'static str>) {
        if let Call::Append { element } = call {
            return self.append(key, *element).await;
        }
        if *call == Call::Sweep {
            return self.sweep(key).await;
        }
        match (call, outcome(self.run(request(key, call)).await)) {
            (Call::List, (Outcome::Ok(Reply::Read(state)), none)) => {
                let text = state.map_or_else(String::new, |state| state.value);
                let list = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
                match list {
                    Ok(list) => (Outcome::Ok(Reply::Listed(list)), none),
                    Err(_) => (Outcome::Failed, Some("protocol")),
                }
            }
            (_, told) => told,
        }
    }

    /// Reads the list and writes it back with one more, if it is the same still.
    async fn append(&self, key: &str, element: u64) -> (Outcome, Option<&'static str>) {
        let read = self.run(request(key, &Call::Read)).await;
        let state = match read {
            Told::Answer(Answer::Get(get)) => get.state.filter(|state| state.version > 0),
            // Nothing was asked for that could change it.
            Told::Failed(code) => return (Outcome::Failed, Some(code)),
            _ => return (Outcome::Failed, Some("unavailable")),
        };
        let (text, expected) = match state {
            None => (element.to_string(), 0),
            Some(state) => {
                let text = String::from_utf8_lossy(&state.value).into_owned();
                (format!("{text} {element}"), state.version)
            }
        };
        let cas = Call::Cas { expected, value: text, ttl_ms: None, keep_ttl: false };
        match outcome(self.run(request(key, &cas)).await) {
            (Outcome::Ok(_), none) => (Outcome::Ok(Reply::Appended), none),
            (Outcome::Refused(_), none) => (Outcome::Failed, none),
            other => other,
        }
    }

    /// Removes all keys that begin so, in pages of whatever size.
    async fn sweep(&self, prefix: &str) -> (Outcome, Option<&'static str>) {
        let prefix: bytes::Bytes = prefix.to_owned().into();
        let (mut start, mut at, mut deleted) = (bytes::Bytes::new(), 0, 0);
        loop {
            let page = v1::DeleteRangeRequest {
                prefix: prefix.clone(),
                start: start.clone(),
                at,
                limit: self.between(0, SWEEP_PAGE_MAX),
                ..v1::DeleteRangeRequest::default()
            };
            match self.run(Request::DeleteRange(page)).await {
                Told::Answer(Answer::DeleteRange(page)) => {
                    (at, deleted) = (page.at, deleted + page.deleted);
                    if page.next.is_empty() {
                        return (Outcome::Ok(Reply::Swept { at, deleted }), None);
                    }
                    assert!(page.next > start, "a deletion does not advance");
                    start = page.next;
                }
                Told::Failed(code) if at == 0 => return (Outcome::Failed, Some(code)),
                // What the pages before it removed is gone.
                Told::Failed(code) => return (Outcome::Unknown, Some(code)),
                _ => return (Outcome::Unknown, Some("unknown_outcome")),
            }
        }
    }

    /// Reads or writes several keys in one call, each by itself to the judges.
    pub(super) async fn batch(
        &self,
        items: &[(String, Call)],
    ) -> Vec<(Outcome, Option<&'static str>)> {
        let reads = items.iter().all(|(_, call)| *call == Call::Read);
        let told = if reads {
            let keys = items.iter().map(|(key, _)| key.clone().into()).collect();
            self.run(Request::BatchGet(v1::BatchGetRequest { context: None, keys })).await
        } else {
            let put = |(key, call): &(String, Call)| match request(key, call) {
                Request::Put(put) => put,
                _ => unreachable!("a batch is of reads or of puts"),
            };
            let items = items.iter().map(|item| {
                let mut put = put(item);
                put.context = self.name().map(|(request_id, first_attempt_time)| {
                    let ms = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
                    v1::RequestContext {
                        request_id: Some(request_id),
                        first_attempt_time,
                        timeout_ms: ms,
                        ..v1::RequestContext::default()
                    }
                });
                put
            });
            let items = items.collect();
            self.run(Request::BatchPut(v1::BatchPutRequest { context: None, items })).await
        };
        let each = |error: v1::Error| match next(&error) {
            Next::Conflict => Told::Conflict(error.current.map(|state| *state)),
            Next::Failed | Next::Again => Told::Failed(code(&error)),
            Next::Unknown | Next::Repeat => Told::Unknown,
        };
        let told: Vec<Told> = match told {
            Told::Answer(Answer::BatchGet(batch)) => {
                let one = |item: v1::GetResult| match item.result {
                    Some(v1::get_result::Result::State(state)) => {
                        let get = v1::GetResponse { context: None, state: Some(state) };
                        Told::Answer(Answer::Get(get))
                    }
                    Some(v1::get_result::Result::Error(error)) => each(error),
                    None => Told::Failed("protocol"),
                };
                batch.items.into_iter().map(one).collect()
            }
            Told::Answer(Answer::BatchPut(batch)) => {
                let one = |item: v1::PutResult| match item.result {
                    Some(v1::put_result::Result::Ok(put)) => Told::Answer(Answer::Put(put)),
                    Some(v1::put_result::Result::Error(error)) => each(error),
                    None => Told::Unknown,
                };
                batch.items.into_iter().map(one).collect()
            }
            Told::Failed(code) => items.iter().map(|_| Told::Failed(code)).collect(),
            _ => items.iter().map(|_| Told::Unknown).collect(),
        };
        let unsure = |told: Told| match told {
            Told::Unknown if reads => Told::Failed("unavailable"),
            told => told,
        };
        assert_eq!(told.len(), items.len(), "a batch is answered item by item");
        told.into_iter().map(|told| outcome(unsure(told))).collect()
    }

    /// An id for a new request, and the time of its first attempt.
    fn name(&self) -> Option<(v1::RequestId, u64)> {
        let client = self.id.clone()?.into();
        // Without a time it could not be repeated.
        let time = Some(self.time.load(Ordering::Relaxed)).filter(|time| *time > 0)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Some((v1::RequestId { origin_room: 0, client, sequence }, time))
    }

    /// One request from its first attempt to its outcome.
    async fn run(&self, mut request: Request) -> Told {
        let deadline = Instant::now() + self.timeout;
        // The items of a batch have ids of their own, and it is not repeated.
        let is_batch = matches!(request, Request::BatchPut(_));
        let name = if request.writes() && !is_batch { self.name() } else { None };
        let repeats = name.is_some() || !request.writes();
        if let Some((request_id, first_attempt_time)) = name {
            let context = request.context_mut();
            context.request_id = Some(request_id);
            context.first_attempt_time = first_attempt_time;
        }
        let (mut unsure, mut last) = (false, "unavailable");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < LEFT_MIN {
                let is_unknown = unsure && request.writes();
                return if is_unknown { Told::Unknown } else { Told::Failed(last) };
            }
            // Whoever can ask again asks somebody else after a part of the time.
            let wait = if repeats { left.mul_f64(0.6).max(LEFT_MIN) } else { left };
            let context = request.context_mut();
            context.timeout_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
            let failure = match self.send(request.clone(), wait + SLACK).await {
                Ok(answer) => {
                    self.time.fetch_max(answer.time(), Ordering::Relaxed);
                    return Told::Answer(answer);
                }
                Err(failure) => failure,
            };
            let next = match &failure {
                Failure::NotSent => Next::Again,
                Failure::Lost => Next::Repeat,
                Failure::Refused(error) => {
                    last = code(error);
                    next(error)
                }
            };
            match (next, failure) {
                (Next::Conflict, Failure::Refused(error)) => {
                    return Told::Conflict(error.current.map(|state| *state));
                }
                (Next::Failed | Next::Conflict, _) => return Told::Failed(last),
                (Next::Unknown, _) if request.writes() => return Told::Unknown,
                (Next::Repeat, _) if request.writes() => {
                    if !repeats {
                        return Told::Unknown;
                    }
                    unsure = true;
                    request.context_mut().attempt += 1;
                }
                (Next::Again | Next::Repeat | Next::Unknown, _) => {}
            }
            self.at.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(self.between(1, PAUSE_MS_MAX))).await;
        }
    }

    /// Sends a copy of a request and waits for so long. What was sent goes on without whoever waited.
    async fn send(&self, request: Request, wait: Duration) -> Result<Answer, Failure> {
        let at = self.at.load(Ordering::Relaxed) % self.nodes.len().max(1);
        let Some(node) = self.nodes.get(at).cloned() else { return Err(Failure::NotSent) };
        let given_up = Arc::new(AtomicBool::new(false));
        let copy = copy(node, self.wire.clone(), request, given_up.clone());
        match timeout(wait, tokio::spawn(copy)).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => {
                given_up.store(true, Ordering::Relaxed);
                Err(Failure::Lost)
            }
        }
    }
}

/// A copy of a request on its way there, and its answer on its way back.
async fn copy(
    Node { address, mut kv }: Node,
    wire: Option<Arc<dyn Wire>>,
    request: Request,
    given_up: Arc<AtomicBool>,
) -> Result<Answer, Failure> {
    let broken = |broken| match broken {
        Broken::NotSent => Failure::NotSent,
        Broken::Reset => Failure::Lost,
    };
    if let Some(wire) = &wire {
        wire.there(&address, request.bytes(), given_up).await.map_err(broken)?;
    }
    let asked = match request {
        Request::Get(get) => kv.get(get).await.map(|told| Answer::Get(told.into_inner())),
        Request::Put(put) => kv.put(put).await.map(|told| Answer::Put(told.into_inner())),
        Request::Delete(delete) => {
            kv.delete(delete).await.map(|told| Answer::Delete(told.into_inner()))
        }
        Request::DeleteRange(page) => {
            kv.delete_range(page).await.map(|told| Answer::DeleteRange(told.into_inner()))
        }
        Request::Increment(increment) => {
            kv.increment(increment).await.map(|told| Answer::Increment(told.into_inner()))
        }
        Request::Expire(expire) => {
            kv.expire(expire).await.map(|told| Answer::Expire(told.into_inner()))
        }
        Request::BatchGet(batch) => {
            kv.batch_get(batch).await.map(|told| Answer::BatchGet(told.into_inner()))
        }
        Request::BatchPut(batch) => {
            kv.batch_put(batch).await.map(|told| Answer::BatchPut(told.into_inner()))
        }
        Request::Scan(scan) => {
            let mut pages = kv.scan(scan).await.map_err(|status| failure(&status))?.into_inner();
            let (mut records, mut under_way) = (Vec::new(), Vec::new());
            while let Some(page) = pages.message().await.map_err(|status| failure(&status))? {
                if let Some(wire) = &wire {
                    let bytes = page.records.iter().map(|record| record.key.len() + 32).sum();
                    under_way.push(tokio::spawn(wire.back(&address, bytes)));
                }
                records.extend(page.records);
            }
            for page in under_way {
                page.await.map_err(|_| Failure::Lost)?.map_err(broken)?;
            }
            Ok(Answer::Scan(records))
        }
    };
    let bytes = asked.as_ref().map_or(OVERHEAD_BYTES, Answer::bytes);
    let told = asked.map_err(|status| failure(&status));
    // Nobody was there to say anything.
    let is_said = !matches!(told, Err(Failure::NotSent | Failure::Lost));
    if let Some(wire) = wire.filter(|_| is_said) {
        wire.back(&address, bytes).await.map_err(|_| Failure::Lost)?;
    }
    told
}

/// The request that a call of the history is.
fn request(key: &str, call: &Call) -> Request {
    let key: bytes::Bytes = key.to_owned().into();
    let ttl_ms = call.ttl_ms().unwrap_or(0);
    let context = None;
    let put = |value: &String, condition| {
        let value = value.clone().into();
        let key = key.clone();
        Request::Put(v1::PutRequest { key, value, condition, ttl_ms, ..v1::PutRequest::default() })
    };
    match call {
        Call::Read | Call::List => Request::Get(v1::GetRequest { context, key }),
        Call::Write { value, .. } | Call::Insert { value } => put(value, None),
        Call::Cas { expected, value, keep_ttl, .. } => {
            match put(value, Some(condition(*expected))) {
                Request::Put(put) => Request::Put(v1::PutRequest { keep_ttl: *keep_ttl, ..put }),
                other => other,
            }
        }
        Call::Delete { expected } => {
            let condition = expected.map(condition);
            Request::Delete(v1::DeleteRequest { context, key, condition })
        }
        Call::Increment { delta } => {
            Request::Increment(v1::IncrementRequest { context, key, delta: *delta, ttl_ms: 0 })
        }
        Call::Expire { ttl_ms } => {
            let ttl_ms = ttl_ms.unwrap_or(0);
            Request::Expire(v1::ExpireRequest { context, key, ttl_ms, condition: None })
        }
        Call::Scan | Call::ReadAll => {
            Request::Scan(v1::ScanRequest { prefix: key, ..v1::ScanRequest::default() })
        }
        Call::Append { .. } => unreachable!("an append is two requests"),
        Call::Page(_) => unreachable!("who makes unary calls takes all pages"),
        Call::Sweep => unreachable!("a sweep is many requests"),
    }
}

fn condition(expected: u64) -> v1::Condition {
    use v1::condition::Kind;
    let kind = if expected == 0 { Kind::Absent(true) } else { Kind::Version(expected) };
    v1::Condition { kind: Some(kind) }
}

fn record(state: v1::KeyState) -> Option<Record> {
    (state.version > 0).then(|| Record {
        value: String::from_utf8_lossy(&state.value).into_owned(),
        version: state.version,
    })
}

fn code(error: &v1::Error) -> &'static str {
    match error.code() {
        v1::Code::DeadlineExceeded => "deadline_exceeded",
        v1::Code::Unavailable | v1::Code::NotLeader | v1::Code::StaleRoute => "unavailable",
        v1::Code::UnknownOutcome => "unknown_outcome",
        v1::Code::Overloaded => "overloaded",
        v1::Code::Expired => "expired",
        v1::Code::Storage => "storage",
        v1::Code::NotANumber => "not_a_number",
        _ => "other",
    }
}

/// What came of a request, in the history's words.
fn outcome(told: Told) -> (Outcome, Option<&'static str>) {
    let answer = match told {
        Told::Answer(answer) => answer,
        Told::Conflict(current) => return (Outcome::Refused(current.and_then(record)), None),
        Told::Unknown => return (Outcome::Unknown, Some("unknown_outcome")),
        Told::Failed(code) => return (Outcome::Failed, Some(code)),
    };
    let reply = match answer {
        Answer::Get(get) => Reply::Read(get.state.and_then(record)),
        Answer::Put(put) => Reply::Written { version: put.version },
        Answer::Delete(delete) => Reply::Deleted { version: delete.version },
        Answer::Expire(expire) => Reply::Expired { version: expire.version },
        Answer::Increment(sum) => Reply::Incremented { number: sum.value, version: sum.version },
        Answer::Scan(records) => {
            let entry = |found: v1::Record| {
                let state = found.state.unwrap_or_default();
                Entry {
                    key: String::from_utf8_lossy(&found.key).into_owned(),
                    value: String::from_utf8_lossy(&state.value).into_owned(),
                    version: state.version,
                }
            };
            Reply::Scanned(records.into_iter().map(entry).collect())
        }
        Answer::BatchGet(_) | Answer::BatchPut(_) | Answer::DeleteRange(_) => {
            unreachable!("taken apart before")
        }
    };
    (Outcome::Ok(reply), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_means_is_what_the_documentation_says() {
        use v1::{Code, RetryClass};
        let cases = [
            (Code::Conflict, RetryClass::Never, false, Next::Conflict),
            (Code::Storage, RetryClass::Never, false, Next::Failed),
            (Code::Storage, RetryClass::Never, true, Next::Unknown),
            (Code::DeadlineExceeded, RetryClass::Never, false, Next::Failed),
            (Code::Unavailable, RetryClass::Reroute, false, Next::Again),
            (Code::Overloaded, RetryClass::Reroute, false, Next::Again),
            (Code::UnknownOutcome, RetryClass::Ambiguous, true, Next::Repeat),
            (Code::UnknownOutcome, RetryClass::Never, false, Next::Unknown),
            (Code::Expired, RetryClass::Never, false, Next::Failed),
        ];
        for (code, retry, maybe_committed, wanted) in cases {
            let error = v1::Error {
                code: code.into(),
                retry: retry.into(),
                maybe_committed,
                ..v1::Error::default()
            };
            assert_eq!(next(&error), wanted, "{code:?} {retry:?} {maybe_committed}");
        }
    }
}
