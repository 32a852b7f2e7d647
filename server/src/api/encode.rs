//! From results to answers on the wire.

use bytes::Bytes;
use quintet_proto::v1::{self, session_response::Result as Body};

use crate::{
    error::{OpError, Standing},
    range::request::{Answer, OpResult},
    storage::{keys, mvcc::Version},
    time::Timestamp,
};

fn state(version: Option<Version>, now: Timestamp) -> v1::KeyState {
    let Some(Version { at, value, expires_at }) = version else { return v1::KeyState::default() };
    v1::KeyState {
        version: at.0,
        value: Bytes::from(value),
        expires_at: expires_at.map_or(0, |at| at.0),
        ttl_ms: expires_at.map_or(0, |at| at.ms_after(now)),
        value_left_out: false,
    }
}

/// An error on the wire.
pub(crate) fn error(error: OpError) -> v1::Error {
    let current = (error.code == v1::Code::Conflict).then(|| match error.current.as_deref() {
        Some(Standing { version, value, expires_at, ttl_ms }) => v1::KeyState {
            version: version.0,
            value: value.clone(),
            expires_at: expires_at.map_or(0, |at| at.0),
            ttl_ms: *ttl_ms,
            value_left_out: false,
        },
        None => v1::KeyState::default(),
    });
    let retry_after = error.retry_after.map_or(0, |wait| wait.as_millis());
    v1::Error {
        code: error.code.into(),
        retry: error.retry_class().into(),
        maybe_committed: error.maybe_committed,
        retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
        current: current.map(Box::new),
        hint_address: error.hint.unwrap_or_default(),
        message: error.message,
        refused_for: v1::Code::Unspecified.into(),
    }
}

/// The answer to a request.
pub(crate) fn response(id: u64, result: OpResult) -> v1::SessionResponse {
    let body = match result {
        Err(failed) => Body::Error(error(failed)),
        Ok(Answer::Get { found, now }) => {
            Body::Get(v1::GetResponse { context: None, state: Some(state(found, now)) })
        }
        Ok(Answer::Put(at)) => Body::Put(v1::PutResponse { context: None, version: at.0 }),
        Ok(Answer::PutMany(at)) => {
            Body::PutMany(v1::PutManyResponse { context: None, version: at.0 })
        }
        Ok(Answer::Delete(at)) => {
            Body::Delete(v1::DeleteResponse { context: None, version: at.map_or(0, |at| at.0) })
        }
        Ok(Answer::Increment(value, at)) => {
            Body::Increment(v1::IncrementResponse { context: None, value, version: at.0 })
        }
        Ok(Answer::Expire(written)) => {
            let (version, expires_at) = written.unwrap_or_default();
            let expires_at = expires_at.unwrap_or_default().0;
            Body::Expire(v1::ExpireResponse { context: None, version: version.0, expires_at })
        }
        Ok(Answer::Scan(page)) => Body::Scan(v1::ScanResponse {
            context: None,
            records: page
                .records
                .into_iter()
                .map(|(key, version)| v1::Record {
                    key: Bytes::from(key),
                    state: Some(state(Some(version), page.now)),
                })
                .collect(),
            at: page.at.0,
            next: page.next.map(Bytes::from).unwrap_or_default(),
        }),
        Ok(Answer::DeleteRange(removed)) => Body::DeleteRange(v1::DeleteRangeResponse {
            context: None,
            deleted: removed.keys.into(),
            at: removed.moment.0,
            // What is stored as a key, or as a border of ranges in a keyspace, is one.
            next: removed
                .next
                .and_then(|stored| keys::decode(&stored).map(|(_, key, _)| key.into()))
                .unwrap_or_default(),
        }),
    };
    v1::SessionResponse { id, result: Some(body) }
}

/// What is answered instead where too many bytes of answers wait already: the caller asks again.
/// Answers without values stay as they are.
pub(crate) fn without_value(response: v1::SessionResponse) -> v1::SessionResponse {
    let instead = match &response.result {
        Some(Body::Get(_) | Body::Scan(_)) => {
            OpError::overloaded("too many bytes of answers wait; take them, then ask again")
        }
        // Refused for good, but the caller shall see what stands: the same request id brings it.
        Some(Body::Error(error)) if error.current.is_some() => {
            OpError::ambiguous("too many bytes of answers wait; ask again with the same request id")
        }
        _ => return response,
    };
    v1::SessionResponse { id: response.id, result: Some(Body::Error(error(instead))) }
}

/// Whether an answer has a value, or may have one.
pub(crate) fn has_value(response: &v1::SessionResponse) -> bool {
    match &response.result {
        Some(Body::Get(_) | Body::Scan(_)) => true,
        Some(Body::Error(error)) => error.current.is_some(),
        _ => false,
    }
}

/// The same for a single call, which has no use for another attempt where its condition did not hold: it
/// is told so without the value.
pub(crate) fn value_left_out(mut response: v1::SessionResponse) -> v1::SessionResponse {
    match &mut response.result {
        Some(Body::Error(error)) => {
            if let Some(current) = &mut error.current {
                current.value_left_out = !current.value.is_empty();
                current.value = Bytes::new();
            }
            response
        }
        _ => without_value(response),
    }
}

/// Bytes of values in an answer, roughly: what a session's budget counts.
pub(crate) fn size(response: &v1::SessionResponse) -> usize {
    let state = |state: &Option<v1::KeyState>| state.as_ref().map_or(0, |state| state.value.len());
    64 + match &response.result {
        Some(Body::Get(get)) => state(&get.state),
        Some(Body::Scan(scan)) => {
            scan.records.iter().map(|record| record.key.len() + state(&record.state) + 16).sum()
        }
        Some(Body::Error(error)) => {
            error.message.len() + error.current.as_ref().map_or(0, |state| state.value.len())
        }
        _ => 0,
    }
}
