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
//!
//! ```text
//! here         what a call of the history is in unary calls: one, or several
//! attempts.rs  one call, from its first attempt to its outcome
//! request.rs   the messages of the wire          told.rs   what came of a call
//! wire.rs      how messages travel, where that is simulated
//! ```

use std::{sync::Arc, time::Duration};

use quintet_client::v1::{self, session_request::Op};

pub use self::wire::{Broken, Wire};
use self::{
    attempts::{Attempts, Next, next},
    request::{Answer, Request, request},
    told::{Told, code, outcome},
};
use super::{recording::Ended, seams::Seams};
use crate::history::{Call, OpOutcome, Reply};

mod attempts;
mod request;
mod told;
mod wire;

/// Keys of a page of a deletion; 0 is as many as the node likes.
const SWEEP_PAGE_MAX: u64 = 4;

/// A client that makes unary calls.
pub struct Unary(Attempts);

impl Unary {
    /// A client of the nodes at these addresses. `names`: whether it gives its requests ids.
    pub fn new(
        addresses: Vec<String>,
        wire: Option<Arc<dyn Wire>>,
        timeout: Duration,
        names: bool,
        seams: Seams,
    ) -> Result<Unary, tonic::transport::Error> {
        Attempts::new(addresses, wire, timeout, names, seams).map(Unary)
    }

    /// Asks and says what came of it, in the history's words; and the code of an error, if it is one.
    pub(super) async fn ask(&self, key: &str, call: &Call) -> Ended {
        if let Call::Append { element } = call {
            return self.append(key, *element).await;
        }
        if *call == Call::Sweep {
            return self.sweep(key).await;
        }
        self.ask_op(call, request(key, call)).await
    }

    /// Asks the replica of the node that gets the call, which need not lead.
    pub(super) async fn ask_follower(&self, key: &str, call: &Call) -> Ended {
        let mut op = request(key, call);
        match &mut op {
            Op::Get(get) => get.from_follower = true,
            Op::Scan(scan) => scan.from_follower = true,
            _ => unreachable!("only reads are for followers"),
        }
        self.ask_op(call, op).await
    }

    async fn ask_op(&self, call: &Call, op: Op) -> Ended {
        match (call, outcome(self.0.run(Request::One(op)).await)) {
            (Call::List, (OpOutcome::Ok(Reply::Read(state)), none)) => {
                let text = state.map_or_else(String::new, |state| state.value);
                let list = text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
                match list {
                    Ok(list) => (OpOutcome::Ok(Reply::Listed(list)), none),
                    Err(_) => (OpOutcome::Failed, Some("protocol")),
                }
            }
            (_, told) => told,
        }
    }

    /// Reads the list and writes it back with one more, if it is the same still.
    async fn append(&self, key: &str, element: u64) -> Ended {
        let read = self.0.run(Request::One(request(key, &Call::Read))).await;
        let state = match read {
            Told::Answer(Answer::Get(get)) => get.state.filter(|state| state.version > 0),
            // Nothing was asked for that could change it.
            Told::Failed(code) => return (OpOutcome::Failed, Some(code)),
            _ => return (OpOutcome::Failed, Some("unavailable")),
        };
        let (text, expected) = match state {
            None => (element.to_string(), 0),
            Some(state) => {
                let text = String::from_utf8_lossy(&state.value).into_owned();
                (format!("{text} {element}"), state.version)
            }
        };
        let cas = Call::Cas { expected, value: text, ttl_ms: None, keep_ttl: false };
        match outcome(self.0.run(Request::One(request(key, &cas))).await) {
            (OpOutcome::Ok(_), none) => (OpOutcome::Ok(Reply::Appended), none),
            (OpOutcome::Refused(_), none) => (OpOutcome::Failed, none),
            other => other,
        }
    }

    /// Removes all keys that begin so, in pages of whatever size.
    async fn sweep(&self, prefix: &str) -> Ended {
        let prefix: bytes::Bytes = prefix.to_owned().into();
        let (mut start, mut at, mut deleted) = (bytes::Bytes::new(), 0, 0);
        loop {
            let page = v1::DeleteRangeRequest {
                prefix: prefix.clone(),
                start: start.clone(),
                at,
                limit: self.0.seams.between(0, SWEEP_PAGE_MAX),
                ..v1::DeleteRangeRequest::default()
            };
            match self.0.run(Request::One(Op::DeleteRange(page))).await {
                Told::Answer(Answer::DeleteRange(page)) => {
                    (at, deleted) = (page.at, deleted + page.deleted);
                    if page.next.is_empty() {
                        return (OpOutcome::Ok(Reply::Swept { at, deleted }), None);
                    }
                    assert!(page.next > start, "a deletion does not advance");
                    start = page.next;
                }
                Told::Failed(code) if at == 0 => return (OpOutcome::Failed, Some(code)),
                // What the pages before it removed is gone.
                Told::Failed(code) => return (OpOutcome::Unknown, Some(code)),
                _ => return (OpOutcome::Unknown, Some("unknown_outcome")),
            }
        }
    }

    /// Reads or writes several keys in one call, each by itself to the judges.
    pub(super) async fn batch(&self, items: &[(String, Call)]) -> Vec<Ended> {
        let reads = items.iter().all(|(_, call)| *call == Call::Read);
        let told = if reads {
            let keys = items.iter().map(|(key, _)| key.clone().into()).collect();
            self.0
                .run(Request::BatchGet(v1::BatchGetRequest {
                    keys,
                    ..v1::BatchGetRequest::default()
                }))
                .await
        } else {
            let put = |(key, call): &(String, Call)| match request(key, call) {
                Op::Put(put) => put,
                _ => unreachable!("a batch is of reads or of puts"),
            };
            let items = items.iter().map(|item| {
                let mut put = put(item);
                put.context = self.0.name().map(|(request_id, first_attempt_time)| {
                    let ms = u32::try_from(self.0.timeout.as_millis()).unwrap_or(u32::MAX);
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
            self.0.run(Request::BatchPut(v1::BatchPutRequest { context: None, items })).await
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
                        let get =
                            v1::GetResponse { state: Some(state), ..v1::GetResponse::default() };
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
}
