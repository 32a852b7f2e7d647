//! How far cluster time was ahead of this machine's clock, as the versions of a history show.
//!
//! A restarted time server begins at its bound, and carries time there where it is among those that a proposer hears
//! first; time rises by steps of one then until clocks have caught up. What is written meanwhile has a version that is
//! ahead of the moment at which it was acknowledged, and lives that much longer, if it expires.

use std::time::Duration;

use crate::{history::Op, judge::order::LOGICAL_BITS};

/// How far time may be ahead: `AHEAD` of `server/src/time/oracle`, which is not linked here.
const AHEAD_MAX: Duration = Duration::from_millis(250);

/// How far time was ahead of where it mostly was; never more than it may be.
pub(super) fn ahead(ops: &[Op]) -> Duration {
    let mut beside: Vec<i128> = ops
        .iter()
        .filter_map(|op| {
            let version = op.version_made().filter(|version| *version > 0)?;
            Some(i128::from(version >> LOGICAL_BITS) - i128::from(op.complete_ns? / 1_000))
        })
        .collect();
    beside.sort_unstable();
    let (Some(most), Some(mostly)) = (beside.last(), beside.get(beside.len() / 2)) else {
        return Duration::ZERO;
    };
    let us = u64::try_from(most - mostly).unwrap_or(u64::MAX);
    Duration::from_micros(us).min(AHEAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Call, History, OpOutcome, Record, Reply},
        judge::{
            Verdict,
            linearizable::{Limits, check_within},
        },
    };

    const MS: u64 = 1_000_000;

    /// Writes of other keys with time where clocks are; then one of `ttl/4` with a version that is ahead, which is seen
    /// once more some time after its key must have expired.
    fn history(ahead_ms: u64, late_ms: u64) -> Vec<Op> {
        let mut history = History::new();
        let version = |at_ms: u64| ((1_000 + at_ms) * 1_000) << LOGICAL_BITS;
        let mut write = |at_ms: u64, key: &str, ttl_ms, version| {
            let call = Call::Write { value: key.to_owned(), ttl_ms };
            history.invoke(12, at_ms * MS, key, &call);
            history.complete(12, at_ms * MS, &OpOutcome::Ok(Reply::Written { version }));
        };
        for n in 0..9 {
            write(n, &format!("key/{n}"), None, version(n));
        }
        write(10, "ttl/4", Some(470), version(10 + ahead_ms));
        let at = (10 + 470 + late_ms) * MS;
        history.invoke(4, at, "ttl/4", &Call::Read);
        let record = Record { version: version(10 + ahead_ms), value: "ttl/4".to_owned() };
        history.complete(4, at, &OpOutcome::Ok(Reply::Read(Some(record))));
        history.operations()
    }

    #[test]
    fn a_key_lives_on_for_as_long_as_time_was_ahead_and_no_longer() {
        let holds = |ops: &[Op]| {
            let skew_ns = u64::try_from(ahead(ops).as_nanos()).unwrap_or(u64::MAX);
            check_within(ops, Limits { skew_ns, ..Limits::default() }) == Verdict::Holds
        };
        assert_eq!(ahead(&history(57, 0)), Duration::from_millis(57));
        assert!(holds(&history(57, 57)));
        assert!(!holds(&history(57, 58)), "longer than that");
        assert!(!holds(&history(0, 1)), "time was not ahead");
        assert_eq!(ahead(&history(3_600_000, 0)), AHEAD_MAX, "an hour is not allowed for");
        assert_eq!(ahead(&[]), Duration::ZERO);
    }
}
