//! The scan against a model: does each scan show one moment of it?
//!
//! Clients `insert` keys that nobody else writes and that are never removed, in several ranges, and
//! `scan` all of them meanwhile. What is there at a moment is a set that only grows: that is the model,
//! and all that a scan can show is what was in it at one moment.
//!
//! | two things | what has to hold |
//! |---|---|
//! | a key in a scan, and its insert | it was asked for, did not fail, and has this value and version, in every scan the same |
//! | two keys in a row | they rise: none comes twice, and all begin with the prefix |
//! | an insert acknowledged before the scan began | it is in the scan |
//! | an insert asked for after the scan ended | it is not |
//! | an insert acknowledged before another was asked for | where the other is in a scan, so is the first |
//! | two scans, also at the same time | one shows all that the other shows |
//! | two scans, one after the other | the later one shows all that the earlier one shows |
//!
//! The first two are the model's content, the next two linearizability of a scan, the others that all
//! of its ranges are shown as of one moment. An insert of unknown outcome comes at any time after it was
//! asked for, or never. Scans that were not answered say nothing. Without an answered scan the judge is
//! `Undecided`, and where the workload inserts a key twice.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Entry, Op, OpOutcome, Reply, Version};

/// The name of this judge.
const JUDGE: &str = "moment";

/// Judges the scans of a run by its inserts.
pub fn check(ops: &[Op]) -> Verdict {
    let mut inserts: BTreeMap<&str, &Op> = BTreeMap::new();
    for op in ops.iter().filter(|op| matches!(op.call, Call::Insert { .. })) {
        if let Some(other) = inserts.insert(&op.key, op) {
            return Verdict::Undecided(format!(
                "the workload inserts key {:?} twice\n  {other}\n  {op}",
                op.key
            ));
        }
    }
    let scans: Vec<Shown<'_>> = ops.iter().filter_map(Shown::of).collect();
    if scans.is_empty() {
        return Verdict::Undecided("no scan was answered".to_string());
    }
    // By prefix: a scan of less than another need not show as much.
    let mut by_prefix: BTreeMap<&str, Vec<Shown<'_>>> = BTreeMap::new();
    for scan in scans {
        by_prefix.entry(&scan.op.key).or_default().push(scan);
    }
    let judged = by_prefix.into_iter().map(|(prefix, scans)| {
        let mut inserts = inserts.clone();
        inserts.retain(|key, _| key.starts_with(prefix));
        Verdict::from(broken(scans, &inserts))
    });
    judged.fold(Verdict::Holds, Verdict::and)
}

fn broken(mut scans: Vec<Shown<'_>>, inserts: &BTreeMap<&str, &Op>) -> Option<Violation> {
    let mut versions: BTreeMap<&str, (Version, &Op)> = BTreeMap::new();
    for scan in &scans {
        let wrong = in_order(JUDGE, scan.op, scan.entries)
            .or_else(|| content(scan, inserts, &mut versions))
            .or_else(|| alone(scan, inserts));
        if wrong.is_some() {
            return wrong;
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
            let violation = wrong(words).with(less.op).with(more.op);
            return Some(Violation { key: Some((*only).to_owned()), ..violation });
        }
    }
    // The first to be over, of all scans that show more; and of those that show as much.
    let (mut first, mut equal): (Option<&Shown<'_>>, Option<&Shown<'_>>) = (None, None);
    let earlier = |a: Option<_>, b: Option<_>| {
        [a, b].into_iter().flatten().min_by_key(|scan: &&Shown<'_>| scan.op.complete_index)
    };
    for less in scans.iter().rev() {
        if equal.is_some_and(|equal| equal.keys.len() > less.keys.len()) {
            first = earlier(first, equal.take());
        }
        if let Some(more) = first.filter(|more| more.op.precedes(less.op)) {
            let lost = more.keys.difference(&less.keys).next().copied().unwrap_or_default();
            let words = format!(
                "a later scan shows less than an earlier one: process {} should have seen {lost:?} too",
                less.op.process
            );
            let violation = wrong(words).with(more.op).with(less.op);
            return Some(Violation { key: Some(lost.to_owned()), ..violation });
        }
        equal = earlier(equal, Some(less));
    }
    None
}

/// A scan and the keys that it shows.
struct Shown<'a> {
    op: &'a Op,
    entries: &'a [Entry],
    keys: BTreeSet<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(op: &'a Op) -> Option<Shown<'a>> {
        let (Call::Scan, OpOutcome::Ok(Reply::Scanned(entries))) = (&op.call, &op.outcome) else {
            return None;
        };
        Some(Shown { op, entries, keys: entries.iter().map(|entry| entry.key.as_str()).collect() })
    }
}

fn wrong(words: impl Into<String>) -> Violation {
    Violation::new(JUDGE, words)
}

/// Whether what a scan shows are keys that it asked for, in a row. `judge` is who asks.
pub(super) fn in_order(judge: &'static str, op: &Op, entries: &[Entry]) -> Option<Violation> {
    let begin = format!("the scan of process {} shows", op.process);
    let stray = entries.iter().find(|entry| !entry.key.starts_with(&*op.key));
    let stray =
        stray.map(|Entry { key, .. }| (key, format!("{begin} {key:?}, which it did not ask for")));
    let (key, words) = stray.or_else(|| {
        let pair = entries.windows(2).find(|pair| pair[0].key >= pair[1].key)?;
        let (before, key) = (&pair[0].key, &pair[1].key);
        Some((key, format!("{begin} {key:?} after {before:?}: keys must rise")))
    })?;
    let violation = Violation::new(judge, words).with(op);
    Some(Violation { key: Some(key.clone()), ..violation })
}

/// What is wrong with the entries of one scan. `versions` are those that scans have shown so far.
fn content<'a>(
    scan: &Shown<'a>,
    inserts: &BTreeMap<&str, &'a Op>,
    versions: &mut BTreeMap<&'a str, (Version, &'a Op)>,
) -> Option<Violation> {
    let process = scan.op.process;
    for Entry { key, version, value } in scan.entries {
        let of = |violation: Violation| Some(Violation { key: Some(key.clone()), ..violation });
        let Some(insert) = inserts.get(&key[..]).copied() else {
            let words =
                format!("the scan of process {process} shows {key:?}, which nobody ever inserted");
            return of(wrong(words).with(scan.op));
        };
        let acknowledged = insert.version_made();
        let why = match &insert.call {
            _ if matches!(insert.outcome, OpOutcome::Failed | OpOutcome::Refused(_)) => {
                "whose insert was definitely not done".to_owned()
            }
            Call::Insert { value: inserted } if inserted != value => {
                format!("which was inserted with another value than {value:?}")
            }
            _ if acknowledged.is_some_and(|acknowledged| acknowledged != *version) => {
                format!("which was inserted at another version than {version}")
            }
            _ => {
                let (known, other) = *versions.entry(key).or_insert((*version, scan.op));
                if known == *version {
                    continue;
                }
                let words = format!(
                    "the scan of process {process} shows {key:?} at version {version}, and another one \
                     at {known}"
                );
                return of(wrong(words).with(insert).with(other).with(scan.op));
            }
        };
        let words = format!("the scan of process {process} shows {key:?}, {why}");
        return of(wrong(words).with(insert).with(scan.op));
    }
    None
}

/// What is wrong with one scan by itself.
fn alone(scan: &Shown<'_>, inserts: &BTreeMap<&str, &Op>) -> Option<Violation> {
    let is_there = |insert: &&&Op| scan.keys.contains(insert.key.as_str());
    let acknowledged = |insert: &&&Op| matches!(insert.outcome, OpOutcome::Ok(_));
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

    #[test]
    fn what_was_not_exercised_is_undecided() {
        let insert = |index| Op {
            process: 1,
            key: "a".to_owned(),
            call: Call::Insert { value: "v".to_owned() },
            invoke_ns: index,
            complete_ns: None,
            invoke_index: index,
            complete_index: None,
            outcome: OpOutcome::Unknown,
        };
        assert!(matches!(check(&[insert(0)]), Verdict::Undecided(_)));
        assert!(matches!(check(&[insert(0), insert(1)]), Verdict::Undecided(_)));
    }
}
