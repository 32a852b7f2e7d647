//! Is everything that was acknowledged there at the end?
//!
//! Clients `insert` keys that nobody else ever writes; after the faults a `scan` reads all of them.
//! The rules are then those of a set:
//!
//! | insert was | must it be in the scan? |
//! |---|---|
//! | acknowledged | yes, once, with that value and that version |
//! | of unknown outcome | may be, once, with that value |
//! | definitely not done | no |
//! | never asked | no |
//!
//! The scan that counts is the last one answered, and it must have begun after the last insert had
//! its answer; without one the judge is `Undecided`, as it is where nothing was inserted: a run
//! that inserted nothing has not shown anything. The scan's span must hold inserted keys only.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Entry, Op, OpOutcome, Reply};

/// How many missing or wrong keys are named one by one.
const NAMED_MAX: usize = 10;

/// Judges the inserts of a run against its last scan.
pub fn check(ops: &[Op]) -> Verdict {
    let mut inserts: BTreeMap<&str, (&Op, &str)> = BTreeMap::new();
    for op in ops {
        let Call::Insert { value } = &op.call else { continue };
        if let Some((other, _)) = inserts.insert(&op.key, (op, value)) {
            return Verdict::Undecided(format!(
                "the workload inserts key {:?} twice\n  {other}\n  {op}",
                op.key
            ));
        }
    }
    if inserts.is_empty() {
        return Verdict::Undecided("nothing was inserted".to_string());
    }
    let scans = ops.iter().filter_map(|op| match (&op.call, &op.outcome) {
        (Call::Scan, OpOutcome::Ok(Reply::Scanned(entries))) => Some((op, entries)),
        _ => None,
    });
    let Some((scan, entries)) = scans.max_by_key(|(op, _)| op.invoke_index) else {
        return Verdict::Undecided("no scan was answered".to_string());
    };
    let late = inserts.values().find(|(op, _)| {
        op.invoke_index > scan.invoke_index
            || (op.outcome != OpOutcome::Unknown && !op.precedes(scan))
    });
    if let Some((late, _)) = late {
        return Verdict::Undecided(format!(
            "the last scan began before an insert was over\n  {scan}\n  {late}"
        ));
    }
    let faults = faults(&inserts, entries);
    if faults.is_empty() {
        return Verdict::Holds;
    }
    let words = format!(
        "the acknowledged set is broken: {} faults in {} inserts, seen by process {}",
        faults.len(),
        inserts.len(),
        scan.process
    );
    let mut violation = Violation::new("acknowledged", words).with(scan);
    for Fault { words, insert, .. } in faults.iter().take(NAMED_MAX) {
        violation = match insert {
            Some(insert) => violation.with_labelled(&format!("{words}: "), insert),
            None => {
                violation.words.push_str(&format!("\n  {words}"));
                violation
            }
        };
    }
    if faults.len() > NAMED_MAX {
        violation.words.push_str(&format!("\n  and {} more", faults.len() - NAMED_MAX));
    }
    if let [fault] = &faults[..] {
        violation.key = Some(fault.key.to_owned());
    }
    violation.into()
}

/// Something wrong with one key.
struct Fault<'a> {
    key: &'a str,
    words: String,
    /// Who inserted it, or tried.
    insert: Option<&'a Op>,
}

fn faults<'a>(
    inserts: &BTreeMap<&'a str, (&'a Op, &'a str)>,
    entries: &'a [Entry],
) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let mut present: BTreeSet<&str> = BTreeSet::new();
    for Entry { key, version, value } in entries {
        let known = inserts.get(key.as_str());
        let insert = known.map(|(op, _)| *op);
        let mut fault = |words: String| faults.push(Fault { key, words, insert });
        if !present.insert(key) {
            fault(format!("key {key:?} is there twice"));
            continue;
        }
        let Some((op, written)) = known else {
            fault(format!("key {key:?} with {value:?} is there; nobody ever inserted it"));
            continue;
        };
        match &op.outcome {
            OpOutcome::Failed | OpOutcome::Refused(_) => {
                fault("is there although it was definitely not done".to_owned());
            }
            OpOutcome::Ok(Reply::Written { version: acknowledged }) if acknowledged != version => {
                fault(format!("is there at version {version}"));
            }
            _ if written != value => fault(format!("is there as {value:?}")),
            _ => {}
        }
    }
    for (key, (op, _)) in inserts {
        if matches!(op.outcome, OpOutcome::Ok(_)) && !present.contains(key) {
            let words = "should have been seen, lost".to_owned();
            faults.push(Fault { key, words, insert: Some(op) });
        }
    }
    faults
}
