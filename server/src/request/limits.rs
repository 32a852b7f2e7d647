//! What a request may ask: keyspaces that clients may touch, lengths of keys and values, times to live, spans.
//!
//! Keys and values that a request makes obey the node's limits, which an operator may lower. Keys that are there
//! already, because it reads or removes them, may be longer than that, and obey only the bound of all times.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1;

use crate::{
    config::{KEY_BYTES_MAX, Limits, TTL_MS_MAX},
    error::OpError,
    ids::KeyspaceId,
    range::request::Condition,
    storage::keys,
    time::Timestamp,
};

/// Who asks. There are no users yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody.
    Anonymous,
}

/// Whether a caller may touch a keyspace. The one place for it.
pub(super) fn authorize(caller: Caller, keyspace: KeyspaceId) -> Result<(), OpError> {
    match caller {
        Caller::Anonymous if keyspace == KeyspaceId::SYSTEM => {
            Err(OpError::invalid("the keyspace 'system' is not for clients; use 'default'"))
        }
        Caller::Anonymous => Ok(()),
    }
}

/// The keyspace of a name.
pub(super) fn keyspace(name: &str) -> Result<KeyspaceId, OpError> {
    match name {
        "" | "default" => Ok(KeyspaceId::DEFAULT),
        "redis" => Ok(KeyspaceId::REDIS),
        "system" => Ok(KeyspaceId::SYSTEM),
        other => Err(OpError::invalid(format!(
            "there is no keyspace '{}'; use 'default'",
            other.chars().take(64).collect::<String>()
        ))),
    }
}

/// A keyspace that a client names and may touch.
pub(crate) fn client_keyspace(name: &str) -> Result<KeyspaceId, OpError> {
    let keyspace = keyspace(name)?;
    authorize(Caller::Anonymous, keyspace)?;
    Ok(keyspace)
}

/// The stored form of a key in a keyspace that a client names.
pub(crate) fn stored_key(name: &str, key: &[u8]) -> Result<Bytes, OpError> {
    check_stored_key(key, client_keyspace(name)?)
}

/// The stored form of a key that the request makes.
pub(super) fn check_key(
    key: &[u8],
    keyspace: KeyspaceId,
    limits: &Limits,
) -> Result<Bytes, OpError> {
    check_length(key, limits.key_bytes_max)?;
    Ok(keys::encode(keyspace, key))
}

/// A key that is not made by the request: it may be older than the limit, and longer.
pub(super) fn check_stored_key(key: &[u8], keyspace: KeyspaceId) -> Result<Bytes, OpError> {
    check_length(key, KEY_BYTES_MAX)?;
    Ok(keys::encode(keyspace, key))
}

/// Whether a key has a length that is allowed.
pub(super) fn check_length(key: &[u8], most: u32) -> Result<(), OpError> {
    let most = most as usize;
    if key.is_empty() {
        return Err(OpError::invalid("the key is empty; a key has 1 byte at least"));
    }
    if key.len() > most {
        let length = key.len();
        return Err(OpError::invalid(format!(
            "the key has {length} bytes, {most} are allowed; shorten it"
        )));
    }
    Ok(())
}

/// Whether a value has a length that is allowed.
pub(super) fn check_value(value: &[u8], limits: &Limits) -> Result<(), OpError> {
    let (length, most) = (value.len(), limits.value_bytes_max as usize);
    if length > most {
        return Err(OpError::invalid(format!(
            "the value has {length} bytes, {most} are allowed; split it"
        )));
    }
    Ok(())
}

/// The condition of a write.
pub(super) fn check_condition(condition: Option<&v1::Condition>) -> Result<Condition, OpError> {
    use v1::condition::Kind;
    match condition.map(|condition| &condition.kind) {
        None => Ok(Condition::Always),
        // An absent key is read as version 0.
        Some(Some(Kind::Absent(true) | Kind::Version(0))) => Ok(Condition::Absent),
        Some(Some(Kind::Version(version))) => Ok(Condition::Version(Timestamp(*version))),
        Some(Some(Kind::Absent(false)) | None) => {
            Err(OpError::invalid("the condition is of no kind: set 'absent' or 'version'"))
        }
    }
}

/// How long a key is to live; for ever, where it has no time.
pub(super) fn check_ttl(ttl_ms: u64) -> Result<Option<Duration>, OpError> {
    if ttl_ms > TTL_MS_MAX {
        return Err(OpError::invalid(format!(
            "a ttl of {ttl_ms} ms is too long, {TTL_MS_MAX} ms (100 years) are allowed; leave it \
             out for a key that does not expire"
        )));
    }
    Ok((ttl_ms > 0).then(|| Duration::from_millis(ttl_ms)))
}

/// Everything goes only where that is said.
pub(crate) fn check_deleted_span(delete: &v1::DeleteRangeRequest) -> Result<(), OpError> {
    let is_open = delete.start.is_empty() && delete.end.is_empty() && delete.prefix.is_empty();
    match (is_open, delete.everything) {
        (true, false) => Err(OpError::invalid(
            "the deletion names no keys: set 'prefix', 'start' or 'end', or 'everything' for all keys of the \
             keyspace",
        )),
        _ => Ok(()),
    }
}

/// The stored keys that a start, an end and a prefix of user keys mean: from the first to below the second.
pub(crate) fn stored_span(
    keyspace: KeyspaceId,
    (start, end, prefix): (&[u8], &[u8], &[u8]),
) -> Result<(Vec<u8>, Vec<u8>), OpError> {
    // Of the longest key that can be stored, whatever the limit is by now: a page may go on there. A bound
    // just behind it has a byte more.
    let most = KEY_BYTES_MAX as usize + 1;
    if [start, end, prefix].iter().any(|bound| bound.len() > most) {
        return Err(OpError::invalid(format!("a bound has more than {most} bytes; shorten it")));
    }
    let space_end = keys::keyspace_start(KeyspaceId(keyspace.0 + 1));
    let (start, end) = if prefix.is_empty() {
        let bound = |key: &[u8], open: Vec<u8>| {
            if key.is_empty() { open } else { keys::encode(keyspace, key).to_vec() }
        };
        (bound(start, keys::keyspace_start(keyspace)), bound(end, space_end))
    } else {
        // The pages of a prefix narrow one bound.
        let open = keys::encode_open(keyspace, prefix);
        let (lower, upper) = (keys::encode(keyspace, start), keys::encode(keyspace, end));
        let behind = keys::prefix_end(&open);
        let from = if start.is_empty() { open } else { lower.to_vec().max(open) };
        (from, if end.is_empty() { behind } else { upper.to_vec().min(behind) })
    };
    if start > end {
        return Err(OpError::invalid("the span begins behind its end; swap them"));
    }
    Ok((start, end))
}
