//! Delete range: a page of a deletion, which is held to the conditions of a batch, its anchor being where it begins.
//! Which keys it holds was found by the leader (`executor/removal.rs`).

use super::{
    outcome::Applied,
    target::{Target, is_of_term},
};
use crate::storage::{
    engine::Error,
    format::{
        command::RemoveCommand,
        request::{DedupRecord, Outcome},
        txn::TxnId,
        version::VersionRecord,
    },
};

pub(super) fn apply(
    target: &mut Target<'_>,
    term: u64,
    remove: &RemoveCommand<'_>,
) -> Result<Applied, Error> {
    if !is_of_term(remove.evaluated_under, term) {
        return Ok(Applied::ReEvaluate);
    }
    if !target.holds(std::iter::once(remove.start).chain(remove.keys.iter().map(|key| &key[..]))) {
        return Ok(Applied::Groups(vec![false]));
    }
    let RemoveCommand { at, request, first_attempt, hash, start: anchor, .. } = *remove;
    if !target.is_new((anchor, request), (at, first_attempt), target.applied.newest)? {
        return Ok(Applied::Groups(vec![false]));
    }
    let txn = Some(TxnId { request, attempt: 0 });
    let absent = VersionRecord { value: None, txn, expires_at: None };
    for key in &remove.keys {
        target.put_version(key, at, &absent);
    }
    let outcome = Outcome::Removed(remove.removed.clone());
    target.remember((anchor, request), &DedupRecord { first_attempt, hash, at, outcome });
    let applied = &mut *target.applied;
    applied.newest = applied.newest.max(at);
    applied.time_domain = remove.time_domain;
    Ok(Applied::Groups(vec![true]))
}
