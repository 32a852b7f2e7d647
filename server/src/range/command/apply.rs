//! What a committed command does to the state: the second half of the exactly-once rule (design,
//! section 6).

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    planted::{self, Bug},
    range::raft::types::Applied,
    storage::{
        Batch, Engine, Family,
        codec::{
            self, AppliedRecord, Command, DedupRecord, Descriptor, Effect, Group, Operation,
            VersionRecord, WriteCommand,
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
pub fn apply(target: &mut Target<'_>, term: u64, command: Command) -> Result<Applied, Error> {
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
    }
}

fn apply_write(target: &mut Target<'_>, term: u64, write: &WriteCommand) -> Result<Applied, Error> {
    if write.evaluated_under != term && !planted::active(Bug::StaleEvaluationApplied) {
        return Ok(Applied::ReEvaluate);
    }
    // Versions rise: everything that was written before is at or below the range's time.
    let before = target.applied.time;
    let mut newest = target.applied.newest;
    let mut results = Vec::with_capacity(write.groups.len());
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
        if operation.at <= time && !planted::active(Bug::StaleEvaluationApplied) {
            return Ok(false);
        }
        if operation.first_attempt < target.applied.dedup_threshold {
            return Ok(false);
        }
        if planted::active(Bug::RetryAppliedTwice) {
            continue;
        }
        let key = keys::dedup(&group.key, operation.request);
        if target.overlay.dedup.contains(&key) || target.engine.get(Family::Dedup, &key)?.is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
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
        let key = keys::version(&group.key, operation.at);
        target.batch.put(Family::Data, key, codec::encode(&version));
    }
    let remembered = DedupRecord {
        first_attempt: operation.first_attempt,
        hash: operation.hash,
        at: operation.at,
        outcome: operation.outcome,
    };
    let key = keys::dedup(&group.key, operation.request);
    target.batch.put(Family::Dedup, key.clone(), codec::encode(&remembered));
    target.overlay.dedup.insert(key);
}
