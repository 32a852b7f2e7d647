//! What a committed command does to the state: the second half of the exactly-once rule (design,
//! section 6).
//!
//! Groups and batches of a write are held to the same conditions: the term, the span of every key, the
//! range's time, the dedup threshold, and that no record of the request is there. What fails one of them
//! leaves no trace, and is evaluated again. A batch is remembered by one record, under its first key.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    planted::{self, Bug},
    range::raft::types::Applied,
    storage::{
        Batch, Engine, Family,
        codec::{
            self, AppliedRecord, Command, DedupRecord, Descriptor, Effect, Group, Operation,
            Outcome, PutBatch, RemoveCommand, RequestId, VersionRecord, WriteCommand,
        },
        engine::Error,
        keys,
    },
    time::Timestamp,
};

/// What earlier commands of the same batch did and the engine does not show yet.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Keys of [`Family::Dedup`].
    dedup: BTreeSet<Vec<u8>>,
}

/// What a command is applied to.
pub struct Target<'a> {
    /// The state before this batch.
    pub engine: &'a dyn Engine,
    /// The range as it is at the command's index.
    pub descriptor: &'a mut Arc<Descriptor>,
    /// Positions and thresholds.
    pub applied: &'a mut AppliedRecord,
    /// Where the effects go.
    pub batch: &'a mut Batch,
    /// What this batch has so far.
    pub overlay: &'a mut Overlay,
}

/// Applies a command whose entry was proposed in `term`.
pub fn apply(target: &mut Target<'_>, term: u64, command: Command<'_>) -> Result<Applied, Error> {
    match command {
        Command::Write(write) => apply_write(target, term, &write),
        Command::MoveDedupThreshold { evaluated_under, threshold } => {
            if evaluated_under != term {
                return Ok(Applied::ReEvaluate);
            }
            target.applied.dedup_threshold = target.applied.dedup_threshold.max(threshold);
            Ok(Applied::Done)
        }
        Command::AdvanceTime { evaluated_under, to } => {
            if evaluated_under != term {
                return Ok(Applied::ReEvaluate);
            }
            target.applied.time = target.applied.time.max(to);
            Ok(Applied::Done)
        }
        Command::MoveGcThreshold { evaluated_under, threshold } => {
            if evaluated_under != term {
                return Ok(Applied::ReEvaluate);
            }
            let applied = &mut *target.applied;
            applied.gc_threshold = applied.gc_threshold.max(threshold);
            // What is seen at the threshold must not change any more.
            applied.time = applied.time.max(applied.gc_threshold);
            Ok(Applied::Done)
        }
        Command::ReserveReplica { evaluated_under } => {
            if evaluated_under != term {
                return Ok(Applied::ReEvaluate);
            }
            let reserved = target.descriptor.next_replica;
            // A peer's nonsense at the birth of a replica; no range gives so many ids.
            let Some(next) = reserved.0.checked_add(1) else { return Ok(Applied::ReEvaluate) };
            Arc::make_mut(target.descriptor).next_replica.0 = next;
            Ok(Applied::Replica(reserved))
        }
        Command::Remove(remove) => apply_remove(target, term, &remove),
    }
}

/// A page of a deletion: held to the conditions of a batch, its anchor being where it begins.
fn apply_remove(
    target: &mut Target<'_>,
    term: u64,
    remove: &RemoveCommand<'_>,
) -> Result<Applied, Error> {
    if remove.evaluated_under != term && !planted::active(Bug::StaleEvaluationApplied) {
        return Ok(Applied::ReEvaluate);
    }
    let mut written = std::iter::once(remove.start).chain(remove.keys.iter().map(|key| &key[..]));
    let is_inside = written.all(|key| target.descriptor.contains(key));
    if !is_inside && !planted::active(Bug::StaleRouteAccepted) {
        return Ok(Applied::Groups(vec![false]));
    }
    let RemoveCommand { at, request, first_attempt, hash, start: anchor, .. } = *remove;
    if !is_new(target, (anchor, request), (at, first_attempt), target.applied.time)? {
        return Ok(Applied::Groups(vec![false]));
    }
    let absent = VersionRecord { value: None, txn: None, expires_at: None };
    for key in &remove.keys {
        put_version(target, key, at, &absent);
    }
    let outcome = Outcome::Removed(remove.removed.clone());
    remember(target, (anchor, request), &DedupRecord { first_attempt, hash, at, outcome });
    let applied = &mut *target.applied;
    applied.newest = applied.newest.max(at);
    applied.time = applied.time.max(at);
    applied.time_domain = remove.time_domain;
    Ok(Applied::Groups(vec![true]))
}

fn apply_write(
    target: &mut Target<'_>,
    term: u64,
    write: &WriteCommand<'_>,
) -> Result<Applied, Error> {
    if write.evaluated_under != term && !planted::active(Bug::StaleEvaluationApplied) {
        return Ok(Applied::ReEvaluate);
    }
    // Versions rise: everything that was written before is at or below the range's time.
    let before = target.applied.time;
    let mut newest = target.applied.newest;
    let mut results = Vec::with_capacity(write.groups.len() + write.batches.len());
    for group in &write.groups {
        let accepted = accepts(target, group, before)?;
        if accepted {
            let mut last = Timestamp::ZERO;
            for operation in &group.operations {
                assert!(
                    operation.at > last,
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
        let accepted = accepts_batch(target, batch, before)?;
        if accepted {
            newest = newest.max(batch.at);
            apply_batch(target, batch);
        }
        results.push(accepted);
    }
    target.applied.newest = newest;
    target.applied.time = before.max(newest);
    target.applied.time_domain = write.time_domain;
    Ok(Applied::Groups(results))
}

fn accepts(target: &Target<'_>, group: &Group, time: Timestamp) -> Result<bool, Error> {
    if !target.descriptor.contains(&group.key) && !planted::active(Bug::StaleRouteAccepted) {
        return Ok(false);
    }
    for operation in &group.operations {
        let (at, first_attempt) = (operation.at, operation.first_attempt);
        if !is_new(target, (&group.key, operation.request), (at, first_attempt), time)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn accepts_batch(
    target: &Target<'_>,
    batch: &PutBatch<'_>,
    time: Timestamp,
) -> Result<bool, Error> {
    // Without keys there is no anchor: nobody proposes that.
    let Some(anchor) = batch.items.first() else { return Ok(false) };
    let is_inside = batch.items.iter().all(|item| target.descriptor.contains(item.key));
    if !is_inside && !planted::active(Bug::StaleRouteAccepted) {
        return Ok(false);
    }
    is_new(target, (anchor.key, batch.request), (batch.at, batch.first_attempt), time)
}

/// Whether a request with its anchor, written at a timestamp and first attempted at another, may act:
/// above the range's time, within what is remembered, and not remembered.
fn is_new(
    target: &Target<'_>,
    (anchor, request): (&[u8], RequestId),
    (at, first_attempt): (Timestamp, Timestamp),
    time: Timestamp,
) -> Result<bool, Error> {
    if at <= time && !planted::active(Bug::StaleEvaluationApplied) {
        return Ok(false);
    }
    let is_too_old = first_attempt < target.applied.dedup_threshold;
    if is_too_old && !planted::active(Bug::ExpiredRequestActs) {
        return Ok(false);
    }
    if planted::active(Bug::RetryAppliedTwice) {
        return Ok(true);
    }
    let key = keys::dedup(anchor, request);
    Ok(!target.overlay.dedup.contains(&key) && target.engine.get(Family::Dedup, &key)?.is_none())
}

fn apply_operation(target: &mut Target<'_>, group: &Group, operation: &Operation) {
    let version = match &operation.effect {
        Effect::Nothing => None,
        Effect::Delete => Some(VersionRecord { value: None, txn: None, expires_at: None }),
        Effect::Put { value, expires_at } => {
            Some(VersionRecord { value: Some(value), txn: None, expires_at: *expires_at })
        }
    };
    if let Some(version) = version {
        put_version(target, &group.key, operation.at, &version);
    }
    let remembered = DedupRecord {
        first_attempt: operation.first_attempt,
        hash: operation.hash,
        at: operation.at,
        outcome: operation.outcome.clone(),
    };
    remember(target, (&group.key, operation.request), &remembered);
}

fn apply_batch(target: &mut Target<'_>, batch: &PutBatch<'_>) {
    for item in &batch.items {
        let expires_at = batch.expires_at;
        let version = VersionRecord { value: Some(item.value), txn: None, expires_at };
        put_version(target, item.key, batch.at, &version);
    }
    let remembered = DedupRecord {
        first_attempt: batch.first_attempt,
        hash: batch.hash,
        at: batch.at,
        outcome: Outcome::Written,
    };
    if let Some(anchor) = batch.items.first() {
        remember(target, (anchor.key, batch.request), &remembered);
    }
}

fn put_version(target: &mut Target<'_>, key: &[u8], at: Timestamp, version: &VersionRecord<'_>) {
    let bytes = version.value.map_or(0, <[u8]>::len);
    let record = codec::encode_sized(version, bytes);
    target.batch.put(Family::Data, keys::version(key, at), record);
}

fn remember(
    target: &mut Target<'_>,
    (anchor, request): (&[u8], RequestId),
    remembered: &DedupRecord,
) {
    let key = keys::dedup(anchor, request);
    target.batch.put(Family::Dedup, key.clone(), codec::encode(remembered));
    target.overlay.dedup.insert(key);
}
