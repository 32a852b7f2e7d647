//! Values that expire.
//!
//! The leader that writes a value adds its time to live to the timestamp that it takes from its clock;
//! the value is gone when the clock of whoever leads then has passed that. Clocks of nodes differ from
//! real time by half of `skew` at most, so that
//!
//! ```text
//!   written somewhere in here        may be gone from here on        must be gone from here on
//!   |invoked ........ acknowledged|  invoked + ttl - skew            acknowledged + ttl + skew
//! ```
//!
//! A later expire or persist makes a new version with a window of its own, or none. An increment, and a
//! compare-and-set that keeps it, leave the expiry as it was: their version has the window of the one before
//! it, or of an operation of unknown outcome that may have come in between.
//!
//! Late is checked by itself ([`outlived`]). Early, and that what is gone does not come back, is left
//! to the search: an expiry is to it a delete on condition of the version, of unknown outcome, that
//! somebody asks for at the earliest moment. It explains absence from then on, once; and a value that
//! is seen after its absence has no explanation.

use std::collections::BTreeMap;

use super::limits::JUDGE;
use crate::{
    history::{Call, Op, OpOutcome, Reply, Version, millis},
    judge::verdict::Violation,
};

const NS_PER_MS: u64 = 1_000_000;
/// The process of an expiry: nobody.
pub(super) const NOBODY: u64 = u64::MAX;

/// The window in which a version expires.
#[derive(Clone, Copy)]
struct Life<'a> {
    /// It may be gone from here on; none: never.
    earliest_ns: Option<u64>,
    /// It must be gone from here on; none: nobody can tell.
    latest_ns: Option<u64>,
    /// Who gave it.
    by: &'a Op,
}

impl<'a> Life<'a> {
    /// What an operation gives that sets the expiry; none where it leaves that as it is.
    fn given(by: &'a Op, skew_ns: u64) -> Option<Life<'a>> {
        let forever = Life { earliest_ns: None, latest_ns: None, by };
        match (&by.call, by.call.ttl_ms()) {
            (Call::Increment { .. } | Call::Cas { keep_ttl: true, .. }, _) => None,
            (_, None) => Some(forever),
            (_, Some(ttl_ms)) => Some(Life {
                earliest_ns: Some((by.invoke_ns + ttl_ms * NS_PER_MS).saturating_sub(skew_ns)),
                latest_ns: by.complete_ns.map(|end| end + ttl_ms * NS_PER_MS + skew_ns),
                by,
            }),
        }
    }

    /// Either of them.
    fn or(self, other: Life<'a>) -> Life<'a> {
        let earliest_ns = match (self.earliest_ns, other.earliest_ns) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let latest_ns = self.latest_ns.zip(other.latest_ns).map(|(one, other)| one.max(other));
        Life { earliest_ns, latest_ns, by: self.by }
    }
}

/// The windows of all versions that were acknowledged.
fn lives<'a>(ops: &[&'a Op], skew_ns: u64) -> BTreeMap<Version, Life<'a>> {
    let mut made: Vec<(Version, &Op)> =
        ops.iter().filter_map(|op| Some((op.version_made()?, *op))).collect();
    made.sort_by_key(|(version, _)| *version);
    let is_unknown = |op: &&&Op| op.outcome == OpOutcome::Unknown && op.call.is_mutation();
    let unknown: Vec<&Op> = ops.iter().filter(is_unknown).copied().collect();
    let mut lives: BTreeMap<Version, Life<'_>> = BTreeMap::new();
    for (version, op) in made {
        let given = Life::given(op, skew_ns);
        let life = given.unwrap_or_else(|| inherited(op, &lives, &unknown, skew_ns));
        lives.insert(version, life);
    }
    lives
}

/// The window of the version of an operation that leaves the expiry as it was: `before` has those of all lower
/// versions.
fn inherited<'a>(
    op: &'a Op,
    before: &BTreeMap<Version, Life<'a>>,
    unknown: &[&'a Op],
    skew_ns: u64,
) -> Life<'a> {
    let forever = Life { earliest_ns: None, latest_ns: None, by: op };
    if let Call::Cas { expected, .. } = &op.call
        && let Some(life) = before.get(expected)
    {
        return *life;
    }
    let begins = match (&op.call, &op.outcome) {
        (Call::Increment { delta }, OpOutcome::Ok(Reply::Incremented { number, .. })) => {
            number == delta
        }
        _ => false,
    };
    if begins {
        // There was nothing, so there was no expiry.
        return forever;
    }
    let last = before.last_key_value().map_or(forever, |(_, life)| *life);
    let meanwhile = unknown.iter().filter(|other| !op.precedes(other));
    meanwhile.fold(last, |life, other| match Life::given(other, skew_ns) {
        // Done late: nobody can say when it must be gone.
        Some(given) => life.or(Life { latest_ns: None, ..given }),
        // A sum that began anew, after the expiry: it has none.
        None => Life { latest_ns: None, ..life },
    })
}

/// Who saw a value although it must have been gone.
pub(super) fn outlived(ops: &[&Op], skew_ns: u64) -> Option<Violation> {
    let lives = lives(ops, skew_ns);
    ops.iter().find_map(|op| {
        let life = lives.get(&version_needed(op)?)?;
        let gone_ns = life.latest_ns?;
        (op.invoke_ns > gone_ns).then(|| {
            let words = format!(
                "process {} saw a value {} ms after it must have expired",
                op.process,
                millis(op.invoke_ns - gone_ns)
            );
            Violation::new(JUDGE, words).with(life.by).with(op)
        })
    })
}

/// The version that was there for certain when the operation took effect.
fn version_needed(op: &Op) -> Option<Version> {
    if let Some(Some(record)) = op.observation() {
        return Some(record.version);
    }
    op.version_made()?;
    match op.call {
        Call::Cas { expected, .. } | Call::Delete { expected: Some(expected) } => {
            Some(expected).filter(|expected| *expected > 0)
        }
        _ => None,
    }
}

/// The expiries of what was written, as operations for the search.
pub(super) fn as_operations(ops: &[&Op], skew_ns: u64) -> Vec<Op> {
    let mut seen: BTreeMap<&str, Version> = BTreeMap::new();
    for op in ops {
        if let Some(Some(record)) = op.observation() {
            let least = seen.entry(&record.value).or_insert(record.version);
            // Later ones are of those who kept the value.
            *least = record.version.min(*least);
        }
    }
    let lives = lives(ops, skew_ns);
    let expiry = |op: &Op, expected, earliest_ns: u64| Op {
        process: NOBODY,
        key: op.key.clone(),
        call: Call::Delete { expected },
        invoke_ns: earliest_ns.max(op.invoke_ns),
        complete_ns: None,
        invoke_index: last_before(ops, earliest_ns).max(op.invoke_index),
        complete_index: None,
        outcome: OpOutcome::Unknown,
    };
    let mut expiries = Vec::new();
    for op in ops.iter().filter(|op| op.call.is_mutation()) {
        match op.outcome {
            OpOutcome::Ok(_) => {
                let made = op.version_made();
                let life = made.and_then(|version| lives.get(&version));
                if let Some(earliest_ns) = life.and_then(|life| life.earliest_ns) {
                    expiries.push(expiry(op, made, earliest_ns));
                }
            }
            OpOutcome::Unknown => {
                let given = Life::given(op, skew_ns).and_then(|life| life.earliest_ns);
                // It may have made a version of whatever life there was before it.
                let least = || lives.values().filter_map(|life| life.earliest_ns).min();
                let keeps = Life::given(op, skew_ns).is_none();
                let Some(earliest_ns) = given.or_else(|| keeps.then(least).flatten()) else {
                    continue;
                };
                // Whoever saw the value tells its version. Nobody did: it may have been there unseen,
                // and then nothing but the absence after it can be told.
                let expected = match &op.call {
                    Call::Write { value, .. } | Call::Cas { value, .. } => {
                        seen.get(&value[..]).copied()
                    }
                    _ => None,
                };
                expiries.push(expiry(op, expected, earliest_ns));
            }
            OpOutcome::Refused(_) | OpOutcome::Failed => {}
        }
    }
    expiries
}

/// Index of the last event before a moment. What completed up to there is over before it.
fn last_before(ops: &[&Op], ns: u64) -> u64 {
    let events = ops.iter().flat_map(|op| {
        let complete = op.complete_ns.zip(op.complete_index);
        [Some((op.invoke_ns, op.invoke_index)), complete].into_iter().flatten()
    });
    events.filter(|(at, _)| *at < ns).map(|(_, index)| index).max().unwrap_or(0)
}
