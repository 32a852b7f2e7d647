//! Do increments count exactly once?
//!
//! A *counter* is a key that is only ever incremented and read. Its history is a sum, which can be
//! judged over runs of any length. Whenever somebody sees the number (a read, or an acknowledged
//! increment through the number that it returns), then
//!
//! ```text
//! number seen = all acknowledged increments that were over before   (each of them counts)
//!             + some of those that were open meanwhile              (each counts or does not)
//!             + some of unknown outcome that had begun              (each counts or does not)
//! ```
//!
//! An increment that definitely failed counts nowhere. Beyond the sum, for each counter:
//!
//! - acknowledged increments have versions of their own, and sorted by version the numbers form a
//!   chain: each differs from the one before by its own delta plus some unknown increments;
//! - versions rise in real time, and so do numbers where all deltas have the same sign, in which
//!   case no two increments return one number;
//! - there is a read that began after every acknowledged increment was over: the total. Without it,
//!   or without any counter, the judge is `Undecided`.
//!
//! Which sums "some of" can make is found exactly for up to [`EXACT_MAX`] optional increments;
//! above that only the least and the greatest sum are compared. The chain does not check that an
//! unknown increment is used once only (the total does); linearizability of the key does in full.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Op, OpOutcome, Reply, Version};

/// How many optional increments are added up in every combination.
const EXACT_MAX: usize = 20;

/// Judges every counter of a run. Keys that are also written otherwise are left out.
pub fn check(ops: &[Op]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        keys.entry(&op.key).or_default().push(op);
    }
    let verdicts: Vec<Verdict> = keys
        .iter()
        .filter(|(_, ops)| {
            let mut mutations = ops.iter().filter(|op| op.call.is_mutation()).peekable();
            mutations.peek().is_some()
                && mutations.all(|op| matches!(op.call, Call::Increment { .. }))
        })
        .map(|(key, ops)| match Counter::new(ops).judge() {
            Verdict::Violation(violations) => {
                let begin = format!("counter {key:?}: ");
                let violations = violations.into_iter().map(|v| v.of_key(key, &begin));
                Verdict::Violation(violations.collect())
            }
            Verdict::Undecided(words) => Verdict::Undecided(format!("counter {key:?}: {words}")),
            Verdict::Holds => Verdict::Holds,
        })
        .collect();
    if verdicts.is_empty() {
        return Verdict::Undecided("no key was only incremented and read".to_string());
    }
    verdicts.into_iter().fold(Verdict::Holds, Verdict::and)
}

fn wrong(words: impl Into<String>) -> Violation {
    Violation::new("counter", words)
}

/// An acknowledged increment, or one of unknown outcome.
struct Increment<'a> {
    op: &'a Op,
    delta: i128,
}

/// Somebody saw a number.
struct Sight<'a> {
    op: &'a Op,
    version: Version,
    number: i128,
    /// What the one who saw it added before looking: an increment's own delta.
    own: i128,
}

struct Counter<'a> {
    increments: Vec<Increment<'a>>,
    sights: Vec<Sight<'a>>,
    /// Why a read makes no sense, if one does not.
    nonsense: Option<Violation>,
}

impl<'a> Counter<'a> {
    fn new(ops: &[&'a Op]) -> Counter<'a> {
        let mut counter = Counter { increments: Vec::new(), sights: Vec::new(), nonsense: None };
        for op in ops {
            match (&op.call, &op.outcome) {
                (Call::Increment { delta }, OpOutcome::Unknown) => {
                    counter.increments.push(Increment { op, delta: i128::from(*delta) });
                }
                (
                    Call::Increment { delta },
                    OpOutcome::Ok(Reply::Incremented { number, version }),
                ) => {
                    let (version, number, own) =
                        (*version, i128::from(*number), i128::from(*delta));
                    counter.increments.push(Increment { op, delta: own });
                    counter.sights.push(Sight { op, version, number, own });
                }
                (_, OpOutcome::Ok(Reply::Read(None))) => {
                    counter.sights.push(Sight { op, version: 0, number: 0, own: 0 });
                }
                (_, OpOutcome::Ok(Reply::Read(Some(record)))) => {
                    match record.value.parse::<i64>() {
                        Ok(number) => {
                            let (version, number) = (record.version, i128::from(number));
                            counter.sights.push(Sight { op, version, number, own: 0 });
                        }
                        Err(_) => counter.nonsense = Some(wrong("not a number was read").with(op)),
                    }
                }
                _ => {}
            }
        }
        counter
    }

    fn judge(&self) -> Verdict {
        let broken = self
            .nonsense
            .clone()
            .or_else(|| self.sights.iter().find_map(|sight| self.wrong_sum(sight)))
            .or_else(|| self.broken_chain())
            .or_else(|| self.against_time());
        if let Some(violation) = broken {
            return violation.into();
        }
        let is_total = |sight: &&Sight| {
            !sight.op.call.is_mutation()
                && self
                    .increments
                    .iter()
                    .all(|i| i.op.outcome == OpOutcome::Unknown || i.op.precedes(sight.op))
        };
        match self.sights.iter().find(is_total) {
            Some(_) => Verdict::Holds,
            None => Verdict::Undecided(
                "nobody read it after the last acknowledged increment".to_string(),
            ),
        }
    }

    /// Can the number seen be made of the increments that could have counted?
    fn wrong_sum(&self, sight: &Sight) -> Option<Violation> {
        let others = self.increments.iter().filter(|i| i.op != sight.op);
        let begun = others.filter(|i| !sight.op.precedes(i.op));
        let (sure, optional): (Vec<&Increment>, Vec<&Increment>) =
            begun.partition(|i| i.op.precedes(sight.op));
        let least_number = sight.own + sure.iter().map(|i| i.delta).sum::<i128>();
        if sight.version == 0
            && let Some(increment) = sure.first()
        {
            let words = format!(
                "absent to process {} although an increment had been acknowledged",
                sight.op.process
            );
            return Some(wrong(words).with(increment.op).with(sight.op));
        }
        let deltas: Vec<i128> = optional.iter().map(|i| i.delta).collect();
        let why = unreachable(sight.number - least_number, &deltas)?;
        let unknown = optional.iter().filter(|i| i.op.outcome == OpOutcome::Unknown).count();
        let words = format!(
            "process {} saw {}; {} increments acknowledged before make {least_number}{}, {} were open \
             and {unknown} of unknown outcome: {why}",
            sight.op.process,
            sight.number,
            sure.len(),
            if sight.own == 0 { "" } else { " with its own" },
            optional.len() - unknown,
        );
        let mut violation = wrong(words).with(sight.op);
        for increment in optional.iter().take(EXACT_MAX) {
            violation = violation.with_labelled("may have counted: ", increment.op);
        }
        Some(violation.at(sight.op.complete_ns.unwrap_or(sight.op.invoke_ns)))
    }

    /// Sorted by version, each number follows from the one before.
    fn broken_chain(&self) -> Option<Violation> {
        let mut sights: Vec<&Sight> = self.sights.iter().filter(|s| s.version > 0).collect();
        sights.sort_by_key(|s| (s.version, s.own == 0 && !s.op.call.is_mutation()));
        let mut before: Option<&Sight> = None;
        for sight in sights {
            let makes = sight.op.call.is_mutation();
            let (version, number) = before.map_or((0, 0), |b| (b.version, b.number));
            if version == sight.version {
                if makes || number != sight.number {
                    let words = format!("version {version} has two meanings");
                    return Some(wrong(words).with(before?.op).with(sight.op));
                }
                continue;
            }
            let unknown = self
                .increments
                .iter()
                .filter(|i| i.op.outcome == OpOutcome::Unknown && !sight.op.precedes(i.op));
            let deltas: Vec<i128> = unknown.map(|i| i.delta).collect();
            let step = sight.number - number - sight.own;
            let unseen = (!makes && deltas.is_empty())
                .then(|| format!("nobody acknowledged version {}", sight.version));
            if let Some(why) = unseen.or_else(|| unreachable(step, &deltas)) {
                let broken = wrong(format!(
                    "{number} at version {version} is followed by {} at version {}: {why}",
                    sight.number, sight.version,
                ));
                let broken = before.into_iter().fold(broken, |broken, b| broken.with(b.op));
                return Some(broken.with(sight.op));
            }
            before = Some(sight);
        }
        None
    }

    /// Versions rise in real time, and numbers too where all deltas have one sign.
    fn against_time(&self) -> Option<Violation> {
        let up = self.increments.iter().all(|i| i.delta > 0);
        let down = self.increments.iter().all(|i| i.delta < 0);
        let height = |sight: &Sight| match (up, down) {
            (true, _) => Some(sight.number),
            (_, true) => Some(-sight.number),
            _ => None,
        };
        let mut began: Vec<&Sight> = self.sights.iter().collect();
        let mut ended = began.clone();
        began.sort_by_key(|s| s.op.invoke_index);
        ended.sort_by_key(|s| s.op.complete_index);
        let mut ended = ended.into_iter().peekable();
        let (mut newest, mut furthest): (Option<&Sight>, Option<&Sight>) = (None, None);
        for sight in began {
            while let Some(before) = ended.next_if(|before| before.op.precedes(sight.op)) {
                if newest.is_none_or(|n| before.version > n.version) {
                    newest = Some(before);
                }
                if furthest.is_none_or(|f| height(before) > height(f)) {
                    furthest = Some(before);
                }
            }
            let makes = sight.op.call.is_mutation();
            let backwards = newest
                .filter(|n| n.version > sight.version || (makes && n.version == sight.version));
            let fallen = furthest.filter(|f| {
                height(f) > height(sight) || (makes && up | down && height(f) == height(sight))
            });
            if let Some(before) = backwards.or(fallen) {
                let words = format!(
                    "went backwards in time: process {} should have seen what had been seen before it \
                     asked",
                    sight.op.process
                );
                return Some(wrong(words).with(before.op).with(sight.op));
            }
        }
        let mut numbers: BTreeMap<i128, &Sight> = BTreeMap::new();
        for sight in self.sights.iter().filter(|s| s.op.call.is_mutation() && (up || down)) {
            if let Some(other) = numbers.insert(sight.number, sight) {
                let words = format!("two increments returned {}", sight.number);
                return Some(wrong(words).with(other.op).with(sight.op));
            }
        }
        None
    }
}

/// `None`: some of `deltas` make `sum`, as far as that is examined. Else why not.
fn unreachable(sum: i128, deltas: &[i128]) -> Option<String> {
    let least: i128 = deltas.iter().filter(|d| **d < 0).sum();
    let most: i128 = deltas.iter().filter(|d| **d > 0).sum();
    if !(least..=most).contains(&sum) {
        return Some(format!("{sum} is missing, and these can make {least} to {most}"));
    }
    // The whole of it, or nothing: no need to try combinations.
    if sum == 0 || deltas.len() > EXACT_MAX {
        return None;
    }
    let mut sums = BTreeSet::from([0]);
    for delta in deltas {
        let more: Vec<i128> = sums.iter().map(|s| s + delta).collect();
        sums.extend(more);
        if sums.contains(&sum) {
            return None;
        }
    }
    Some(format!("{sum} is missing, which no choice of these makes"))
}

#[cfg(test)]
mod tests {
    use super::unreachable;

    #[test]
    fn sums_are_exact_for_few_and_bounds_for_many() {
        assert_eq!(unreachable(0, &[]), None);
        assert_eq!(unreachable(7, &[5, 2, -1]), None);
        assert_eq!(unreachable(4, &[5, 2, -1]), None);
        assert!(unreachable(3, &[5, 2]).is_some());
        assert!(unreachable(-2, &[5, -1]).is_some());
        assert!(unreachable(8, &[5, 2, -1]).is_some());
        let many = [2; 21];
        assert_eq!(unreachable(3, &many), None, "only bounds above the limit");
        assert!(unreachable(43, &many).is_some());
    }
}
