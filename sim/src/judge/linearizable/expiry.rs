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
//! Late is checked by itself ([`outlived`]). Early, and that what is gone does not come back, is left
//! to the search: an expiry is to it a delete on condition of the version, of unknown outcome, that
//! somebody asks for at the earliest moment. It explains absence from then on, once; and a value that
//! is seen after its absence has no explanation.

use std::collections::BTreeMap;

use super::{JUDGE, order::observation};
use crate::{
    history::{Call, Op, Outcome, Version, millis},
    judge::Violation,
};

const NS_PER_MS: u64 = 1_000_000;
/// The process of an expiry: nobody.
pub(super) const NOBODY: u64 = u64::MAX;

/// Who saw a value although it must have been gone.
pub(super) fn outlived(ops: &[&Op], skew_ns: u64) -> Option<Violation> {
    let mut latest: BTreeMap<Version, (u64, &Op)> = BTreeMap::new();
    for op in ops {
        if let (Some(version), Some(ttl_ms), Some(end)) =
            (op.version_made(), op.call.ttl_ms(), op.complete_ns)
        {
            latest.insert(version, (end + ttl_ms * NS_PER_MS + skew_ns, op));
        }
    }
    ops.iter().find_map(|op| {
        let (gone_ns, writer) = latest.get(&version_needed(op)?)?;
        (op.invoke_ns > *gone_ns).then(|| {
            let words = format!(
                "process {} saw a value {} ms after it must have expired",
                op.process,
                millis(op.invoke_ns - gone_ns)
            );
            Violation::new(JUDGE, words).with(writer).with(op)
        })
    })
}

/// The version that was there for certain when the operation took effect.
fn version_needed(op: &Op) -> Option<Version> {
    if let Some(Some(record)) = observation(op) {
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
        if let Some(Some(record)) = observation(op) {
            seen.insert(&record.value, record.version);
        }
    }
    let mut expiries = Vec::new();
    for op in ops {
        let Some(ttl_ms) = op.call.ttl_ms() else { continue };
        let (Call::Write { value, .. } | Call::Cas { value, .. }) = &op.call else { continue };
        let expected = match op.outcome {
            Outcome::Ok(_) => op.version_made(),
            // Whoever saw the value tells its version. Nobody did: it may have been there unseen, and
            // then nothing but the absence after it can be told.
            Outcome::Unknown => seen.get(&value[..]).copied(),
            Outcome::Refused(_) | Outcome::Failed => continue,
        };
        let earliest_ns = (op.invoke_ns + ttl_ms * NS_PER_MS).saturating_sub(skew_ns);
        expiries.push(Op {
            process: NOBODY,
            key: op.key.clone(),
            call: Call::Delete { expected },
            invoke_ns: earliest_ns.max(op.invoke_ns),
            complete_ns: None,
            invoke_index: last_before(ops, earliest_ns).max(op.invoke_index),
            complete_index: None,
            outcome: Outcome::Unknown,
        });
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
