//! Exactly once: an original and its repetitions cannot act twice, whoever leads, and all get one answer.
//!
//! ```text
//!   executor   look_up             what was done is answered again        under the latch of the anchor
//!              is_too_old          what may have been forgotten is refused
//!              may_forget_refusal  a refusal that its caller does not rest on leaves no record
//!   apply      is_new              looked at again: the executor's look may be of an earlier leadership
//!              remember            in the batch of what the request did
//!   each node  is_forgotten        what is refused unseen goes, in its own time
//! ```
//!
//! A request is remembered under its id and its *anchor*, a key that is the same in every copy: the key itself, of
//! a batch the first one, of a page of a deletion where it begins. So all copies ask one range, and find the same
//! record there.
//!
//! # Invariants
//!
//! * What was done is answered as done, whatever would refuse the request by now: the record is looked at before
//!   the threshold, the disk's space and the rest of a batch's span (`executor/checked.rs`).
//! * A request whose first attempt lies below the range's dedup threshold is refused by the executor and by apply;
//!   its record may go, and its first attempt is the same in every copy. So no copy acts on what was forgotten.
//! * A record and what the request did are one batch of the engine: `is_new` looks at the engine and at what the
//!   batch that is being made has by then ([`Overlay`]).
//!
//! # On a crash
//!
//! Records and the threshold are part of the applied state.

use std::collections::BTreeSet;

use quintet_proto::v1::Code;

use super::{
    answer::answer,
    held::Held,
    request::{OpResult, Write},
};
use crate::{
    error::OpError,
    ids::RequestId,
    planted::{self, Bug},
    storage::{
        Batch, Family,
        engine::{Error, Reader},
        format::{
            codec,
            request::{DedupRecord, Outcome},
        },
        keys, mvcc,
    },
    time::Timestamp,
};

/// What earlier commands of the same batch did and the engine does not show yet.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Keys of [`Family::Dedup`].
    remembered: BTreeSet<Vec<u8>>,
}

/// What a request was answered, if it was done before; `now` says what is left of the life of what stood then.
pub(super) fn look_up(
    engine: &dyn Reader,
    write: &Write,
    now: impl FnOnce() -> Timestamp,
) -> Result<Option<OpResult>, Error> {
    if planted::active(Bug::RetryAppliedTwice) {
        return Ok(None);
    }
    let key = keys::dedup(&write.key, write.request);
    let Some(record) = engine.get(Family::Dedup, &key)? else {
        return Ok(None);
    };
    answer_again(engine, write, codec::decode(&record)?, now).map(Some)
}

/// The answer of a request that was done before.
fn answer_again(
    engine: &dyn Reader,
    write: &Write,
    record: DedupRecord,
    now: impl FnOnce() -> Timestamp,
) -> Result<OpResult, Error> {
    if record.hash != write.hash {
        return Ok(Err(OpError::new(
            Code::RequestIdReused,
            "the request id was used with another request; ids must not be used twice",
        )));
    }
    let stood = match record.outcome {
        Outcome::Conflict(version) if version > Timestamp::ZERO => {
            match mvcc::read_exact(engine, &write.key, version)? {
                Some(stood) => Some(Held::from(stood)),
                // Kept for as long as requests are remembered; a clock that leapt may break that.
                None => {
                    return Ok(Err(OpError::new(
                        Code::Expired,
                        "the request was refused, by a version that is not kept any more",
                    )));
                }
            }
        }
        _ => None,
    };
    Ok(answer(&write.kind, record.outcome, record.at, stood.as_ref(), now))
}

/// Whether a request may have been forgotten, and what its caller is told then.
pub(super) fn is_too_old(write: &Write, threshold: Timestamp) -> Option<OpError> {
    // The careless hand: "if it was done, it is remembered".
    if !is_forgotten(write.first_attempt, threshold) || planted::active(Bug::ExpiredRequestActs) {
        return None;
    }
    Some(OpError::new(
        Code::Expired,
        "the request is older than the cluster remembers; ask again under a new id",
    ))
}

/// Whether what is remembered of a request, by its first attempt, counts no more: the request is refused unseen.
pub fn is_forgotten(first_attempt: Timestamp, threshold: Timestamp) -> bool {
    first_attempt < threshold
}

/// Whether a refusal of this copy need not be remembered: it is the first, and its caller takes a refusal of it for the
/// request's only where no later copy was sent (`docs/decisions/2026-11-29-refusals-are-remembered.md`).
pub(super) fn may_forget_refusal(write: &Write) -> bool {
    write.refusal_not_remembered && !write.later_attempt
}

/// Whether a request with its anchor may act where it is applied: it is within what is remembered, and not
/// remembered.
pub(super) fn is_new(
    (engine, overlay): (&dyn Reader, &Overlay),
    (anchor, request): (&[u8], RequestId),
    first_attempt: Timestamp,
    threshold: Timestamp,
) -> Result<bool, Error> {
    if is_forgotten(first_attempt, threshold) && !planted::active(Bug::ExpiredRequestActs) {
        return Ok(false);
    }
    if planted::active(Bug::RetryAppliedTwice) {
        return Ok(true);
    }
    let key = keys::dedup(anchor, request);
    Ok(!overlay.remembered.contains(&key) && engine.get(Family::Dedup, &key)?.is_none())
}

/// Remembers a request, in the batch of what it did.
pub(super) fn remember(
    (batch, overlay): (&mut Batch, &mut Overlay),
    (anchor, request): (&[u8], RequestId),
    remembered: &DedupRecord,
) {
    let key = keys::dedup(anchor, request);
    batch.put(Family::Dedup, key.clone(), codec::encode(remembered));
    overlay.remembered.insert(key);
}
