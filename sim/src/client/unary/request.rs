//! What a unary call asks for, and what it was answered: the messages of the wire, of all methods alike.

use quintet_client::v1::{self, session_request::Op};

use crate::history::Call;

/// Bytes of a message beside what it carries, roughly.
pub(super) const OVERHEAD_BYTES: usize = 128;

/// What a call asks for: an operation that sessions have too, or a batch, which they have not.
#[derive(Clone)]
pub(super) enum Request {
    One(Op),
    BatchGet(v1::BatchGetRequest),
    BatchPut(v1::BatchPutRequest),
}

/// What a call was answered.
pub(super) enum Answer {
    Get(v1::GetResponse),
    Put(v1::PutResponse),
    Delete(v1::DeleteResponse),
    DeleteRange(v1::DeleteRangeResponse),
    Increment(v1::IncrementResponse),
    Expire(v1::ExpireResponse),
    Scan(Vec<v1::Record>),
    Timestamp(v1::TimestampResponse),
    BatchGet(v1::BatchGetResponse),
    BatchPut(v1::BatchPutResponse),
}

impl Request {
    pub(super) fn writes(&self) -> bool {
        match self {
            Request::One(op) => op.is_write(),
            Request::BatchGet(_) => false,
            Request::BatchPut(_) => true,
        }
    }

    pub(super) fn context_mut(&mut self) -> &mut v1::RequestContext {
        match self {
            Request::One(op) => op.context_mut(),
            Request::BatchGet(batch) => batch.context.get_or_insert_default(),
            Request::BatchPut(batch) => batch.context.get_or_insert_default(),
        }
    }

    /// On the wire, roughly: what puts carry counts. How long a message travels belongs to what a seed means.
    pub(super) fn bytes(&self) -> usize {
        let put = |put: &v1::PutRequest| put.key.len() + put.value.len();
        OVERHEAD_BYTES
            + match self {
                Request::One(Op::Put(one)) => put(one),
                Request::BatchPut(batch) => batch.items.iter().map(put).sum(),
                Request::One(_) | Request::BatchGet(_) => 0,
            }
    }
}

impl Answer {
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Answer::Get(get) => get.state.as_ref().map_or(0, |state| state.value.len()),
                _ => 0,
            }
    }

    pub(super) fn time(&self) -> u64 {
        let context = match self {
            Answer::Get(get) => &get.context,
            Answer::Put(put) => &put.context,
            Answer::Delete(delete) => &delete.context,
            Answer::DeleteRange(page) => &page.context,
            Answer::Increment(increment) => &increment.context,
            Answer::Expire(expire) => &expire.context,
            Answer::Timestamp(told) => &told.context,
            Answer::BatchGet(batch) => &batch.context,
            Answer::BatchPut(batch) => &batch.context,
            Answer::Scan(_) => &None,
        };
        context.as_ref().map_or(0, |context| context.cluster_time)
    }
}

/// The request that a call of the history is.
pub(super) fn request(key: &str, call: &Call) -> Op {
    let key: bytes::Bytes = key.to_owned().into();
    let ttl_ms = call.ttl_ms().unwrap_or(0);
    let context = None;
    let put = |value: &String, condition| {
        let (key, value) = (key.clone(), value.clone().into());
        v1::PutRequest { key, value, condition, ttl_ms, ..v1::PutRequest::default() }
    };
    match call {
        Call::Read | Call::List => {
            Op::Get(v1::GetRequest { context, key, ..v1::GetRequest::default() })
        }
        Call::Write { value, .. } | Call::Insert { value } => Op::Put(put(value, None)),
        Call::Cas { expected, value, keep_ttl, .. } => {
            let put = put(value, Some(condition(*expected)));
            Op::Put(v1::PutRequest { keep_ttl: *keep_ttl, ..put })
        }
        Call::Delete { expected } => {
            let condition = expected.map(condition);
            Op::Delete(v1::DeleteRequest { context, key, condition })
        }
        Call::Increment { delta } => {
            Op::Increment(v1::IncrementRequest { context, key, delta: *delta, ttl_ms: 0 })
        }
        Call::Expire { ttl_ms } => {
            let ttl_ms = ttl_ms.unwrap_or(0);
            Op::Expire(v1::ExpireRequest { context, key, ttl_ms, condition: None })
        }
        Call::Scan | Call::ReadAll => {
            Op::Scan(v1::ScanRequest { prefix: key, ..v1::ScanRequest::default() })
        }
        Call::Timestamp => Op::Timestamp(v1::TimestampRequest { context }),
        Call::Append { .. } => unreachable!("an append is two requests"),
        Call::Page(_) => unreachable!("who makes unary calls takes all pages"),
        Call::Sweep => unreachable!("a sweep is many requests"),
        Call::Watch(_) => unreachable!("feeds are followed through the library"),
    }
}

fn condition(expected: u64) -> v1::Condition {
    use v1::condition::Kind;
    let kind = if expected == 0 { Kind::Absent(true) } else { Kind::Version(expected) };
    v1::Condition { kind: Some(kind) }
}
