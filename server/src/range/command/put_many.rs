//! Put many: new values of several keys of a range, all or none, whatever they held.
//!
//! A batch is remembered by one record, under its first key, which is its anchor.

use super::target::Target;
use crate::{
    storage::{
        engine::Error,
        format::{
            command::PutBatch,
            request::{DedupRecord, Outcome},
            txn::TxnId,
            version::VersionRecord,
        },
    },
    time::Timestamp,
};

/// Whether a batch may be applied in a range whose newest version was `newest` before its entry.
pub(super) fn accepts(
    target: &Target<'_>,
    batch: &PutBatch<'_>,
    newest: Timestamp,
) -> Result<bool, Error> {
    // Without keys there is no anchor: nobody proposes that.
    let Some(anchor) = batch.items.first() else { return Ok(false) };
    if !target.holds(batch.items.iter().map(|item| item.key)) {
        return Ok(false);
    }
    target.is_new((anchor.key, batch.request), (batch.at, batch.first_attempt), newest)
}

/// Writes every key, and remembers the request.
pub(super) fn apply(target: &mut Target<'_>, batch: &PutBatch<'_>) {
    for item in &batch.items {
        let expires_at = batch.expires_at;
        let txn = Some(TxnId { request: batch.request, attempt: 0 });
        let version = VersionRecord { value: Some(item.value), txn, expires_at };
        target.put_version(item.key, batch.at, &version);
    }
    let remembered = DedupRecord {
        first_attempt: batch.first_attempt,
        hash: batch.hash,
        at: batch.at,
        outcome: Outcome::Written,
    };
    if let Some(anchor) = batch.items.first() {
        target.remember((anchor.key, batch.request), &remembered);
    }
}
