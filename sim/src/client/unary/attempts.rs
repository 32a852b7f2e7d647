//! A unary call from its first attempt to its outcome: at which node, how long, and whether once more.
//!
//! What a client may ask again is what `docs/clients.md` says of errors ([`next`]). What was sent goes on without
//! whoever waited for it: a repetition may overtake it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quintet_client::v1::{self, kv_client::KvClient, session_request::Op};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, transport::Channel};

use super::{
    request::{Answer, OVERHEAD_BYTES, Request},
    told::{Told, code},
    wire::{Broken, Wire},
};
use crate::client::seams::Seams;

/// Beyond what it gave the node, how long a caller waits for the answer.
const SLACK: Duration = Duration::from_millis(40);
/// Between two tries.
const PAUSE_MS_MAX: u64 = 40;
/// With less time than this left it does not ask again.
const LEFT_MIN: Duration = Duration::from_millis(5);

/// A node, as this client knows it.
#[derive(Clone)]
struct Node {
    address: String,
    kv: KvClient<Channel>,
}

/// The requests of one client, each from its first attempt to its outcome.
pub(super) struct Attempts {
    /// The nodes in the order in which they are asked, the nearest first.
    nodes: Vec<Node>,
    wire: Option<Arc<dyn Wire>>,
    pub(super) timeout: Duration,
    /// The client part of its request ids; none: nodes give ids.
    id: Option<Vec<u8>>,
    sequence: AtomicU64,
    /// The newest cluster time that it was told.
    time: AtomicU64,
    /// Which node it asks.
    at: AtomicUsize,
    pub(super) seams: Seams,
}

/// Why there is no answer.
enum Failure {
    NotSent,
    /// It was sent, and nobody knows more.
    Lost,
    Refused(Box<v1::Error>),
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
pub(super) enum Next {
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
pub(super) fn next(error: &v1::Error) -> Next {
    let maybe = error.maybe_committed || error.code() == v1::Code::UnknownOutcome;
    match (error.code(), error.retry()) {
        (v1::Code::Conflict, _) => Next::Conflict,
        (_, v1::RetryClass::Ambiguous) => Next::Repeat,
        _ if maybe => Next::Unknown,
        (_, v1::RetryClass::Reroute) => Next::Again,
        _ => Next::Failed,
    }
}

impl Attempts {
    /// A client of the nodes at these addresses. `names`: whether it gives its requests ids.
    pub(super) fn new(
        addresses: Vec<String>,
        wire: Option<Arc<dyn Wire>>,
        timeout: Duration,
        names: bool,
        seams: Seams,
    ) -> Result<Attempts, tonic::transport::Error> {
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
        Ok(Attempts { nodes, wire, timeout, id, sequence, time, at, seams })
    }

    /// An id for a new request, and the time of its first attempt.
    pub(super) fn name(&self) -> Option<(v1::RequestId, u64)> {
        let client = self.id.clone()?.into();
        // Without a time it could not be repeated.
        let time = Some(self.time.load(Ordering::Relaxed)).filter(|time| *time > 0)?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Some((v1::RequestId { origin_room: 0, client, sequence }, time))
    }

    /// One request from its first attempt to its outcome.
    pub(super) async fn run(&self, mut request: Request) -> Told {
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
            sleep(Duration::from_millis(self.seams.between(1, PAUSE_MS_MAX))).await;
        }
    }

    /// Sends a copy of a request and waits for the answer, for a time. What was sent goes on without whoever waited.
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
        Request::One(Op::Get(get)) => kv.get(get).await.map(|told| Answer::Get(told.into_inner())),
        Request::One(Op::Put(put)) => kv.put(put).await.map(|told| Answer::Put(told.into_inner())),
        Request::One(Op::Delete(delete)) => {
            kv.delete(delete).await.map(|told| Answer::Delete(told.into_inner()))
        }
        Request::One(Op::DeleteRange(page)) => {
            kv.delete_range(page).await.map(|told| Answer::DeleteRange(told.into_inner()))
        }
        Request::One(Op::Increment(increment)) => {
            kv.increment(increment).await.map(|told| Answer::Increment(told.into_inner()))
        }
        Request::One(Op::Expire(expire)) => {
            kv.expire(expire).await.map(|told| Answer::Expire(told.into_inner()))
        }
        Request::One(Op::Timestamp(asked)) => {
            kv.timestamp(asked).await.map(|told| Answer::Timestamp(told.into_inner()))
        }
        Request::BatchGet(batch) => {
            kv.batch_get(batch).await.map(|told| Answer::BatchGet(told.into_inner()))
        }
        Request::BatchPut(batch) => {
            kv.batch_put(batch).await.map(|told| Answer::BatchPut(told.into_inner()))
        }
        Request::One(Op::Scan(scan)) => {
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
        Request::One(Op::PutMany(_) | Op::History(_) | Op::Watch(_)) => {
            unreachable!("only sessions ask for it")
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
