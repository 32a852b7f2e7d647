//! Results of requests that write: groups of requests on one key, and batches on several (`put_many.rs`).
//!
//! Both are held to the same conditions: the term, the span of every key, the newest version, the dedup threshold,
//! and that no record of the request is there. What fails one of them leaves no trace, and is evaluated again.

use super::{
    outcome::Applied,
    put_many,
    target::{Target, is_of_term},
};
use crate::{
    planted::{self, Bug},
    storage::{
        engine::Error,
        format::{
            command::{Effect, Group, Operation, WriteCommand},
            request::DedupRecord,
            txn::TxnId,
            version::VersionRecord,
        },
    },
    time::Timestamp,
};

pub(super) fn apply(
    target: &mut Target<'_>,
    term: u64,
    write: &WriteCommand<'_>,
) -> Result<Applied, Error> {
    if !is_of_term(write.evaluated_under, term) {
        return Ok(Applied::ReEvaluate);
    }
    // Versions rise: everything that was written before is at or below the newest one.
    let before = target.applied.newest;
    let mut newest = before;
    let mut results = Vec::with_capacity(write.groups.len() + write.batches.len());
    for group in &write.groups {
        let accepted = accepts(target, group, before)?;
        if accepted {
            let mut last = Timestamp::ZERO;
            for operation in &group.operations {
                assert!(
                    operation.at > last || planted::active(Bug::NaiveTimeServer),
                    "versions of a group must rise: {} is not above {last}",
                    operation.at
                );
                last = operation.at;
                newest = newest.max(operation.at);
                apply_operation(target, group, operation);
            }
        }
        results.push(accepted);
    }
    for batch in &write.batches {
        let accepted = put_many::accepts(target, batch, before)?;
        if accepted {
            newest = newest.max(batch.at);
            put_many::apply(target, batch);
        }
        results.push(accepted);
    }
    target.applied.newest = newest;
    target.applied.time_domain = write.time_domain;
    Ok(Applied::Groups(results))
}

fn accepts(target: &Target<'_>, group: &Group<'_>, newest: Timestamp) -> Result<bool, Error> {
    if !target.holds(std::iter::once(group.key)) {
        return Ok(false);
    }
    for operation in &group.operations {
        let (at, first_attempt) = (operation.at, operation.first_attempt);
        if !target.is_new((group.key, operation.request), (at, first_attempt), newest)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn apply_operation(target: &mut Target<'_>, group: &Group<'_>, operation: &Operation<'_>) {
    let txn = Some(TxnId { request: operation.request, attempt: 0 });
    let version = match &operation.effect {
        Effect::Nothing => None,
        Effect::Delete => Some(VersionRecord { value: None, txn, expires_at: None }),
        Effect::Put { value, expires_at } => {
            Some(VersionRecord { value: Some(value), txn, expires_at: *expires_at })
        }
    };
    if let Some(version) = version {
        target.put_version(group.key, operation.at, &version);
    }
    let remembered = DedupRecord {
        first_attempt: operation.first_attempt,
        hash: operation.hash,
        at: operation.at,
        outcome: operation.outcome.clone(),
    };
    target.remember((group.key, operation.request), &remembered);
}
