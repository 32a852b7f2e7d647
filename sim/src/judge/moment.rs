//! Does each scan show one moment?
//!
//! Clients `insert` keys that nobody else writes and that are never removed, in several ranges, and
//! `scan` all of them meanwhile. What is there at a moment is a set that only grows, so:
//!
//! | two things | what has to hold |
//! |---|---|
//! | an insert acknowledged before the scan began | it is in the scan |
//! | an insert asked for after the scan ended | it is not |
//! | an insert acknowledged before another was asked for | where the other is in a scan, so is the first |
//! | two scans, also at the same time | one shows all that the other shows |
//! | two scans, one after the other | the later one shows all that the earlier one shows |
//!
//! The first two are linearizability of a scan, the others that all of its ranges are shown as of one
//! moment. Scans that were not answered say nothing. Without an answered scan the judge is `Undecided`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, Violation};
use crate::history::{Call, Op, Outcome, Reply};

/// Judges the scans of a run by its inserts.
pub fn check(ops: &[Op]) -> Verdict {
    let inserts: BTreeMap<&str, &Op> = ops
        .iter()
        .filter(|op| matches!(op.call, Call::Insert { .. }))
        .map(|op| (op.key.as_str(), op))
        .collect();
    let mut scans: Vec<Shown<'_>> = ops.iter().filter_map(Shown::of).collect();
    if scans.is_empty() {
        return Verdict::Undecided("no scan was answered".to_string());
    }
    for scan in &scans {
        if let Some(violation) = alone(scan, &inserts) {
            return violation.into();
        }
    }
    scans.sort_by_key(|scan| (scan.keys.len(), scan.op.invoke_index));
    for pair in scans.windows(2) {
        let [less, more] = pair else { continue };
        if let Some(only) = less.keys.difference(&more.keys).next() {
            let words = format!(
                "two scans show what no order of moments does: {only:?} is only in that of process {}, \
                 and that of process {} has as much",
                less.op.process, more.op.process
            );
            return wrong(words).with(less.op).with(more.op).into();
        }
    }
    for (index, less) in scans.iter().enumerate() {
        let mut larger = scans.iter().skip(index).filter(|more| more.keys.len() > less.keys.len());
        if let Some(more) = larger.find(|more| more.op.precedes(less.op)) {
            let lost = more.keys.difference(&less.keys).next().copied().unwrap_or_default();
            let words = format!(
                "a later scan shows less than an earlier one: process {} should have seen {lost:?} too",
                less.op.process
            );
            let violation = wrong(words).with(more.op).with(less.op);
            return Violation { key: Some(lost.to_owned()), ..violation }.into();
        }
    }
    Verdict::Holds
}

/// A scan and the keys that it shows.
struct Shown<'a> {
    op: &'a Op,
    keys: BTreeSet<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(op: &'a Op) -> Option<Shown<'a>> {
        let Outcome::Ok(Reply::Scanned(entries)) = &op.outcome else { return None };
        Some(Shown { op, keys: entries.iter().map(|entry| entry.key.as_str()).collect() })
    }
}

fn wrong(words: impl Into<String>) -> Violation {
    Violation::new("moment", words)
}

/// What is wrong with one scan by itself.
fn alone(scan: &Shown<'_>, inserts: &BTreeMap<&str, &Op>) -> Option<Violation> {
    let is_there = |insert: &&&Op| scan.keys.contains(insert.key.as_str());
    let acknowledged = |insert: &&&Op| matches!(insert.outcome, Outcome::Ok(_));
    let missing = inserts.values().filter(|insert| acknowledged(insert) && !is_there(insert));
    let first_missing = missing.min_by_key(|insert| insert.complete_index);
    let last_there = inserts.values().filter(is_there).max_by_key(|insert| insert.invoke_index);
    let begin = format!("the scan of process {} shows no moment: ", scan.op.process);
    let of = |concerned: &Op, violation: Violation| {
        let at_ns = scan.op.complete_ns.unwrap_or(scan.op.invoke_ns);
        Some(violation.with(scan.op).of_key(&concerned.key, &begin).at(at_ns))
    };
    if let Some(missing) = first_missing.filter(|missing| missing.precedes(scan.op)) {
        let words = format!("{:?} was acknowledged before it began, and is not in it", missing.key);
        return of(missing, wrong(words).with(missing));
    }
    if let Some(early) = last_there.filter(|there| scan.op.precedes(there)) {
        let words = format!("{:?} was asked for after it ended, and is in it", early.key);
        return of(early, wrong(words).with(early));
    }
    match (first_missing, last_there) {
        (Some(missing), Some(there)) if missing.precedes(there) => {
            let words = format!(
                "{:?} was acknowledged before {:?} was asked for, and only the second is in it",
                missing.key, there.key
            );
            of(missing, wrong(words).with(missing).with(there))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Entry;

    /// An insert that was asked for and acknowledged at these indexes; `None`: nobody knows.
    fn insert(key: &str, invoke: u64, complete: Option<u64>) -> Op {
        let outcome = match complete {
            Some(_) => Outcome::Ok(Reply::Written { version: invoke + 1 }),
            None => Outcome::Unknown,
        };
        op(key, Call::Insert { value: "v".to_owned() }, invoke, complete, outcome)
    }

    fn scan(keys: &[&str], invoke: u64, complete: u64) -> Op {
        let entry =
            |key: &&str| Entry { key: (*key).to_owned(), value: "v".to_owned(), version: 1 };
        let shown = Outcome::Ok(Reply::Scanned(keys.iter().map(entry).collect()));
        op("", Call::Scan, invoke, Some(complete), shown)
    }

    fn op(key: &str, call: Call, invoke: u64, complete: Option<u64>, outcome: Outcome) -> Op {
        Op {
            process: invoke,
            key: key.to_owned(),
            call,
            invoke_ns: invoke,
            complete_ns: complete,
            invoke_index: invoke,
            complete_index: complete,
            outcome,
        }
    }

    #[test]
    fn moments() {
        let (a, b) = (insert("a", 0, Some(1)), insert("b", 2, Some(3)));
        let holds: [&[Op]; 8] = [
            &[a.clone(), b.clone(), scan(&["a", "b"], 4, 5)],
            // Under way: in it or not.
            &[insert("a", 0, Some(3)), scan(&[], 1, 2)],
            &[insert("a", 0, Some(3)), scan(&["a"], 1, 2)],
            &[insert("a", 0, None), scan(&[], 1, 2), scan(&["a"], 3, 4)],
            &[insert("a", 0, Some(9)), insert("b", 1, Some(8)), scan(&["b"], 2, 7)],
            // Two at a time, in either order.
            &[insert("a", 0, Some(9)), scan(&["a"], 1, 6), scan(&[], 2, 5)],
            &[insert("a", 2, Some(3)), insert("b", 4, Some(5)), scan(&["a"], 1, 9)],
            &[insert("a", 5, Some(6)), scan(&[], 1, 2)],
        ];
        for ops in holds {
            assert_eq!(check(ops), Verdict::Holds, "{ops:?}");
        }
    }

    #[test]
    fn no_moments() {
        let broken: [(&[Op], &str); 8] = [
            (&[insert("a", 0, Some(1)), scan(&[], 2, 3)], "was acknowledged before it began"),
            (&[insert("a", 3, Some(4)), scan(&["a"], 1, 2)], "was asked for after it ended"),
            (&[insert("a", 3, None), scan(&["a"], 1, 2)], "was asked for after it ended"),
            // Both were under way, but one after the other.
            (
                &[insert("a", 2, Some(3)), insert("b", 4, Some(5)), scan(&["b"], 1, 9)],
                "only the second",
            ),
            (
                &[insert("a", 2, Some(3)), insert("b", 4, None), scan(&["b"], 1, 9)],
                "only the second",
            ),
            (
                &[
                    insert("a", 0, Some(9)),
                    insert("b", 1, Some(8)),
                    scan(&["a"], 2, 6),
                    scan(&["b"], 3, 7),
                ],
                "no order of moments",
            ),
            (&[insert("a", 0, Some(9)), scan(&["a"], 1, 2), scan(&[], 3, 4)], "shows less"),
            (&[insert("a", 0, None), scan(&["a"], 1, 2), scan(&[], 3, 4)], "shows less"),
        ];
        for (ops, words) in broken {
            match check(ops) {
                found @ Verdict::Violation(_) => {
                    assert!(found.to_string().contains(words), "{found}");
                }
                other => panic!("{other:?}: {ops:?}"),
            }
        }
        assert!(matches!(check(&[insert("a", 0, Some(1))]), Verdict::Undecided(_)));
    }
}
