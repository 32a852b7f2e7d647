//! From results to answers on the wire.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, session_response::Result as Body};

use super::context::id_to_wire;
use crate::{
    error::OpError,
    range::request::Answer,
    storage::{
        keys,
        mvcc::{KeyVersion, Version},
    },
    time::{Timestamp, ms},
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

fn key_version(version: KeyVersion) -> v1::KeyVersion {
    let KeyVersion { at, value, expires_at, txn } = version;
    v1::KeyVersion {
        version: at.0,
        removed: value.is_none(),
        value: value.map(Bytes::from).unwrap_or_default(),
        expires_at: expires_at.map_or(0, |at| at.0),
        request_id: txn.map(|txn| id_to_wire(&txn.request)),
    }
}

/// How old something is at most: never told to be less.
fn ms_up(age: Duration) -> u64 {
    ms(age.saturating_add(Duration::from_nanos(999_999)))
}

/// What a range answered.
pub(crate) fn body(answer: Answer) -> Body {
    match answer {
        Answer::Get { found, now, at, stale } => Body::Get(v1::GetResponse {
            context: None,
            state: Some(state(found, now)),
            at: at.map_or(0, |at| at.0),
            stale_ms: at.map_or(0, |_| ms_up(stale).max(1)),
        }),
        Answer::History { versions, more, kept_since } => Body::History(v1::HistoryResponse {
            context: None,
            versions: versions.into_iter().map(key_version).collect(),
            more,
            kept_since: kept_since.0,
        }),
        Answer::Put(at) => Body::Put(v1::PutResponse { context: None, version: at.0 }),
        Answer::PutMany(at) => Body::PutMany(v1::PutManyResponse { context: None, version: at.0 }),
        Answer::Delete(at) => {
            Body::Delete(v1::DeleteResponse { context: None, version: at.map_or(0, |at| at.0) })
        }
        Answer::Increment(value, at) => {
            Body::Increment(v1::IncrementResponse { context: None, value, version: at.0 })
        }
        Answer::Expire(written) => {
            let (version, expires_at) = written.unwrap_or_default();
            let expires_at = expires_at.unwrap_or_default().0;
            Body::Expire(v1::ExpireResponse { context: None, version: version.0, expires_at })
        }
        Answer::Scan(page) => Body::Scan(v1::ScanResponse {
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
        Answer::Changes(page) => Body::Watch(v1::WatchResponse {
            context: None,
            changes: page
                .changes
                .into_iter()
                .map(|(key, version)| v1::Change {
                    key: Bytes::from(key),
                    version: Some(key_version(version)),
                })
                .collect(),
            resolved: page.resolved.0,
            upto: page.upto.map(Bytes::from).unwrap_or_default(),
            is_looked_for: page.is_looked_for,
        }),
        Answer::Timestamp(at) => {
            Body::Timestamp(v1::TimestampResponse { context: None, timestamp: at.0 })
        }
        // No request of a client asks for it.
        Answer::Index(_) => Body::Error(OpError::unavailable("an index is for nodes alone").into()),
        Answer::DeleteRange(removed) => Body::DeleteRange(v1::DeleteRangeResponse {
            context: None,
            deleted: removed.keys.into(),
            at: removed.moment.0,
            // What is stored as a key, or as a border of ranges in a keyspace, is one.
            next: removed
                .next
                .and_then(|stored| keys::decode(&stored).map(|(_, key, _)| key.into()))
                .unwrap_or_default(),
        }),
    }
}

/// The answer to a request, or why there is none.
pub(crate) fn response(id: u64, result: Result<Body, OpError>) -> v1::SessionResponse {
    let body = result.unwrap_or_else(|failed| Body::Error(failed.into()));
    v1::SessionResponse { id, result: Some(body) }
}
