//! What a caller is told of an outcome: the same the first time and whenever the request is repeated.

use quintet_proto::v1::Code;

use super::{
    expiry::expiry,
    held::Held,
    request::{Answer, OpResult, WriteKind},
};
use crate::{
    error::{OpError, Standing},
    storage::format::request::Outcome,
    time::Timestamp,
};

/// The answer to a request that ended in an outcome at a timestamp. `stands` says what the key holds, where that
/// is why it was refused; `now` is asked only where that expires, for what is left of its life.
pub(super) fn answer(
    kind: &WriteKind,
    outcome: Outcome,
    at: Timestamp,
    stands: Option<&Held>,
    now: impl FnOnce() -> Timestamp,
) -> OpResult {
    match (outcome, kind) {
        (Outcome::Written, WriteKind::Delete { .. }) => Ok(Answer::Delete(Some(at))),
        (Outcome::Written, WriteKind::Expire { ttl, .. }) => {
            Ok(Answer::Expire(Some((at, expiry(at, *ttl)))))
        }
        (Outcome::NoSuchKey, _) => Ok(Answer::Expire(None)),
        (Outcome::Written, WriteKind::PutMany(_)) => Ok(Answer::PutMany(at)),
        (Outcome::Written, _) => Ok(Answer::Put(at)),
        (Outcome::NothingToDelete, _) => Ok(Answer::Delete(None)),
        (Outcome::Removed(removed), _) => Ok(Answer::DeleteRange(removed)),
        (Outcome::Number(sum), _) => Ok(Answer::Increment(sum, at)),
        (Outcome::Conflict(_), _) => Err(OpError::conflict(stands.map(|held| Standing {
            version: held.version,
            value: held.value.clone(),
            expires_at: held.expires_at,
            ttl_ms: held.expires_at.map_or(0, |expires_at| expires_at.ms_after(now())),
            value_left_out: false,
        }))),
        (Outcome::NotANumber, _) => Err(OpError::new(
            Code::NotANumber,
            "the value is not a decimal number, or the sum does not fit in 64 bits; put a number \
             first",
        )),
    }
}
