//! What versions alone give away, without a search.
//!
//! Each check is necessary, not sufficient: what passes here goes to the search. They come first
//! because they can name the two or three operations that contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::JUDGE;
use crate::{
    history::{Call, Op, OpOutcome, Record, Reply, Version, millis},
    judge::verdict::Violation,
};

fn wrong(words: impl Into<String>) -> Violation {
    Violation::new(JUDGE, words)
}

/// The first contradiction found.
pub(super) fn contradiction(ops: &[&Op]) -> Option<Violation> {
    malformed(ops)
        .or_else(|| duplicate_version(ops))
        .or_else(|| wrong_value(ops))
        .or_else(|| against_time(ops))
}

/// Answers that are wrong whatever the others say.
fn malformed(ops: &[&Op]) -> Option<Violation> {
    ops.iter().find_map(|op| {
        let why = match (&op.call, &op.outcome) {
            (
                _,
                OpOutcome::Ok(
                    Reply::Written { version: 0 } | Reply::Incremented { version: 0, .. },
                ),
            ) => "an acknowledged write has a version above 0",
            (
                _,
                OpOutcome::Ok(Reply::Read(Some(Record { version: 0, .. })))
                | OpOutcome::Refused(Some(Record { version: 0, .. })),
            ) => "version 0 means absent, and there is a value",
            (
                Call::Cas { expected, .. } | Call::Delete { expected: Some(expected) },
                OpOutcome::Refused(current),
            ) if current.as_ref().map_or(0, |record| record.version) == *expected => {
                "it was refused although, by its own words, the condition was met"
            }
            (Call::Delete { expected: None }, OpOutcome::Refused(_)) => {
                "it had no condition that could fail"
            }
            (
                Call::Delete { expected: Some(expected) },
                OpOutcome::Ok(Reply::Deleted { version: 0 }),
            ) if *expected > 0 => {
                "it expected a version, so that there must have been something to delete"
            }
            _ => return None,
        };
        Some(wrong(why).with(op))
    })
}

/// Two acknowledged writes under one version.
fn duplicate_version(ops: &[&Op]) -> Option<Violation> {
    let mut makers: BTreeMap<Version, &Op> = BTreeMap::new();
    ops.iter().find_map(|op| {
        let version = op.version_made()?;
        let other = makers.insert(version, op)?;
        let words = format!("two acknowledged writes have version {version}");
        Some(wrong(words).with(other).with(op))
    })
}

/// What a write leaves in the key, if that can be told from the operation alone.
fn value_left(op: &Op) -> Option<String> {
    match (&op.call, &op.outcome) {
        (Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. }, _) => {
            Some(value.clone())
        }
        (_, OpOutcome::Ok(Reply::Incremented { number, .. })) => Some(number.to_string()),
        _ => None,
    }
}

/// A version seen with another value than it was written with, or one that nobody can have written.
fn wrong_value(ops: &[&Op]) -> Option<Violation> {
    let mut meanings: BTreeMap<Version, (Option<String>, &Op)> = BTreeMap::new();
    for op in ops.iter().filter(|op| !keeps(op)) {
        if let Some(version) = op.version_made() {
            meanings.insert(version, (value_left(op), op));
        }
    }
    let increments_unknown = ops
        .iter()
        .any(|op| op.outcome == OpOutcome::Unknown && matches!(op.call, Call::Increment { .. }));
    // What is left as it was has any value that was ever there: the search knows which.
    let kept: BTreeSet<Version> =
        ops.iter().filter(|op| keeps(op)).filter_map(|op| op.version_made()).collect();
    let kept_unknown = ops.iter().any(|op| op.outcome == OpOutcome::Unknown && keeps(op));
    let written: BTreeSet<String> = match kept_unknown {
        true => ops.iter().filter_map(|op| value_left(op)).collect(),
        false => BTreeSet::new(),
    };
    let mut unknown: BTreeMap<String, &Op> = BTreeMap::new();
    for op in ops.iter().rev().filter(|op| op.outcome == OpOutcome::Unknown) {
        if let Some(value) = value_left(op) {
            unknown.insert(value, op);
        }
    }
    for op in ops {
        let Some(Some(Record { version, value })) = op.observation() else { continue };
        if let Some((meant, other)) = meanings.get(version) {
            if meant.as_ref() != Some(value) {
                let meant = meant.as_ref().map_or("absence".to_string(), |v| format!("{v:?}"));
                let words = format!("version {version} is {meant} to one and {value:?} to another");
                return Some(wrong(words).with(other).with(op));
            }
            if op.precedes(other) && other.version_made() == Some(*version) {
                let words = format!("version {version} was seen before its write began");
                return Some(wrong(words).with(op).with(other));
            }
            continue;
        }
        if kept.contains(version) || written.contains(value) {
            continue;
        }
        let writer = unknown.get(value);
        let could_be_counted = increments_unknown && value.parse::<i64>().is_ok();
        if could_be_counted {
            // The search knows what sums are possible.
        } else if let Some(writer) = writer {
            if op.precedes(writer) {
                let words = format!("{value:?} was seen before anybody had asked to write it");
                return Some(wrong(words).with(op).with(writer));
            }
        } else {
            return Some(never_written(ops, op, *version, value));
        }
        meanings.insert(*version, (Some(value.clone()), op));
    }
    None
}

/// Whether it leaves the value as it was, under another version.
fn keeps(op: &Op) -> bool {
    matches!(op.call, Call::Expire { .. })
}

fn never_written(ops: &[&Op], reader: &Op, version: Version, value: &str) -> Violation {
    let attempt =
        ops.iter().find(|op| op.call.is_mutation() && value_left(op).as_deref() == Some(value));
    let (words, attempt) = match attempt {
        None => {
            let words = format!("{value:?} was seen, which nobody ever wrote");
            return wrong(words).with(reader);
        }
        Some(op) if matches!(op.outcome, OpOutcome::Ok(_)) => {
            (format!("{value:?} was seen at version {version}, but its only write has another"), op)
        }
        Some(op) => (
            format!(
                "{value:?} was seen, but the operation that would have written it was definitely not \
                 done"
            ),
            op,
        ),
    };
    wrong(words).with(attempt).with(reader)
}

/// A lower version met wholly after a higher one had been.
fn against_time(ops: &[&Op]) -> Option<Violation> {
    let mut began: Vec<(&Op, Version)> =
        ops.iter().filter_map(|op| Some((*op, op.version_met()?))).collect();
    let mut ended = began.clone();
    began.sort_by_key(|(op, _)| op.invoke_index);
    ended.sort_by_key(|(op, _)| op.complete_index);
    let mut ended = ended.into_iter().peekable();
    let mut highest: Option<(&Op, Version)> = None;
    for (op, version) in began {
        while let Some((before, met)) = ended.next_if(|(before, _)| before.precedes(op)) {
            if highest.is_none_or(|(_, most)| met > most) {
                highest = Some((before, met));
            }
        }
        let Some((before, most)) = highest.filter(|(_, most)| *most > version) else { continue };
        let words = match (op.version_made(), before.version_made()) {
            (None, _) => return Some(stale_read(ops, op, version, before, most)),
            (Some(_), Some(_)) => format!(
                "versions went backwards: {version} was given after {most} had been acknowledged"
            ),
            (Some(_), None) => {
                format!("version {most} was seen before the lower version {version} was asked for")
            }
        };
        return Some(wrong(words).with(before).with(op));
    }
    None
}

/// A read that missed a write: `before` had met version `most` before it began.
fn stale_read(ops: &[&Op], op: &Op, version: Version, before: &Op, most: Version) -> Violation {
    let late_ns = op.invoke_ns.saturating_sub(before.complete_ns.unwrap_or(op.invoke_ns));
    let words = format!(
        "process {} saw version {version} although version {most} had been {} {} ms before it asked; \
         it should have seen that or something newer",
        op.process,
        if before.version_made().is_some() { "acknowledged" } else { "seen" },
        millis(late_ns),
    );
    let stale = wrong(words).with(before).with(op);
    match ops.iter().find(|o| o.version_made() == Some(version)) {
        Some(writer) => stale.with_labelled("what it saw is from: ", writer),
        None => stale,
    }
}
