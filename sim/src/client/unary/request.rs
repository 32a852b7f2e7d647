//! What a unary call asks for, and what it was answered: the messages of the wire, of all methods alike.

use quintet_client::v1;

use crate::history::Call;

/// Bytes of a message beside what it carries, roughly.
pub(super) const OVERHEAD_BYTES: usize = 128;

/// What a call asks for.
#[derive(Clone)]
pub(super) enum Request {
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
pub(super) enum Answer {
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

impl Request {
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Request::Get(_) | Request::Scan(_) | Request::BatchGet(_))
    }

    pub(super) fn context_mut(&mut self) -> &mut v1::RequestContext {
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

    pub(super) fn bytes(&self) -> usize {
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
            Answer::BatchGet(batch) => &batch.context,
            Answer::BatchPut(batch) => &batch.context,
            Answer::Scan(_) => &None,
        };
        context.as_ref().map_or(0, |context| context.cluster_time)
    }
}

/// The request that a call of the history is.
pub(super) fn request(key: &str, call: &Call) -> Request {
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
