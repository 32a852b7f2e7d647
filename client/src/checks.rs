//! What the library refuses before it sends: the server's limits, with the numbers that the server announced
//! in its welcome ([`Limits`]).
//!
//! The server checks all of it again and trusts no client. It is done here too, because an error without a
//! round trip is cheaper, and because a frame on the session is shared: a request too large for the server
//! would break the stream for those beside it. What is stored may be older than today's limits, so that a key
//! which is only looked for, removed or made to expire may be longer; bounds of scans and deletions are no keys.

use std::time::Duration;

use quintet_proto::v1::{self, session_request::Op};

use crate::{error::Error, types::Limits};

/// Whether a node with these limits would take an operation.
pub(crate) fn check(op: &Op, limits: &Limits) -> Result<(), Error> {
    match op {
        Op::Get(get) => check_filled(&get.key),
        Op::Put(put) => {
            check_item(&put.key, &put.value, limits)?;
            check_ttl(put.ttl_ms, limits)
        }
        Op::Delete(delete) => check_filled(&delete.key),
        Op::History(history) => check_filled(&history.key),
        Op::Increment(increment) => {
            check_item(&increment.key, &[], limits)?;
            check_ttl(increment.ttl_ms, limits)
        }
        Op::Expire(expire) => {
            check_filled(&expire.key)?;
            check_ttl(expire.ttl_ms, limits)
        }
        Op::PutMany(many) => check_many(many, limits),
        Op::DeleteRange(_) if limits.delete_range_keys_max == 0 => {
            let old = "the node knows no deletion of a range; upgrade it".to_owned();
            Err(Error::InvalidArgument(old))
        }
        // bounds are not keys: they may be empty, and one byte longer
        Op::Scan(_) | Op::DeleteRange(_) | Op::Watch(_) | Op::Timestamp(_) => Ok(()),
    }
}

fn check_many(many: &v1::PutManyRequest, limits: &Limits) -> Result<(), Error> {
    let bytes: usize = many.items.iter().map(|item| item.key.len() + item.value.len()).sum();
    let (items_max, bytes_max) = (limits.put_many_items_max, limits.put_many_bytes_max);
    if many.items.len() > items_max || bytes > bytes_max {
        return Err(Error::InvalidArgument(format!(
            "a batch of {} items and {bytes} bytes; {items_max} and {bytes_max} are allowed",
            many.items.len()
        )));
    }
    many.items.iter().try_for_each(|item| check_item(&item.key, &item.value, limits))?;
    check_ttl(many.ttl_ms, limits)
}

fn check_filled(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        let text = "the key is empty; a key has at least 1 byte".to_owned();
        return Err(Error::InvalidArgument(text));
    }
    Ok(())
}

fn check_item(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Error> {
    let invalid = |text| Err(Error::InvalidArgument(text));
    check_filled(key)?;
    if key.len() > limits.key_bytes_max {
        return invalid(format!(
            "the key has {} bytes, the limit is {}",
            key.len(),
            limits.key_bytes_max
        ));
    }
    if value.len() > limits.value_bytes_max {
        return invalid(format!(
            "the value has {} bytes, the limit is {}",
            value.len(),
            limits.value_bytes_max
        ));
    }
    Ok(())
}

fn check_ttl(ttl_ms: u64, limits: &Limits) -> Result<(), Error> {
    if Duration::from_millis(ttl_ms) > limits.ttl_max {
        return Err(Error::InvalidArgument(format!(
            "a ttl of {ttl_ms} ms is too long, {} ms are allowed",
            limits.ttl_max.as_millis()
        )));
    }
    Ok(())
}

/// A time to live as the wire has it, 0 for none: in milliseconds, rounded up.
pub(crate) fn ttl_ms(ttl: Option<Duration>) -> Result<u64, Error> {
    let Some(ttl) = ttl else { return Ok(0) };
    if ttl.is_zero() {
        return Err(Error::InvalidArgument(
            "a ttl of zero: the key would be gone at once; delete it instead".to_owned(),
        ));
    }
    // what is too long is refused with the server's limit
    Ok(u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
