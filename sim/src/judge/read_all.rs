//! Does a read of all registers, over however many ranges, show one moment of them?
//!
//! Other than the keys of [`super::moment`] registers are overwritten and removed, so that old versions
//! are collected while slow readers want them. Versions are timestamps, the same for all ranges: what is
//! there at a moment is each key's newest version up to it.
//!
//! | what a read shows | what has to hold |
//! |---|---|
//! | keys in a row | they rise: none comes twice, and all begin with the prefix |
//! | a version of one key, and the newest version of all that it shows | nobody made or saw a version of that key between the two |
//! | no version of a key | it was absent at some time while it was read |
//!
//! Since what it shows was there when its newest version was, a version of another key between the two is
//! one that it has missed. That each key by itself had this state, or was absent, at some time while it was
//! read is left to [`super::linearizable`], which takes it for a read of each of the keys ([`reads`]). Reads that were
//! not answered say nothing; without an answered one the judge is `Undecided`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use super::{
    moment::in_order,
    verdict::{Verdict, Violation},
};
use crate::history::{Call, Entry, Op, OpOutcome, Record, Reply, Version};

/// The name of this judge.
const JUDGE: &str = "read_all";

/// Judges the reads of all registers of a run.
pub fn check(ops: &[Op]) -> Verdict {
    let met = versions(ops);
    let mut answered = ops.iter().filter_map(shown).peekable();
    if answered.peek().is_none() {
        return Verdict::Undecided("no read of all registers was answered".to_string());
    }
    let broken =
        |(op, entries)| in_order(JUDGE, op, entries).or_else(|| one_moment(op, entries, &met));
    answered.filter_map(broken).map(Verdict::from).fold(Verdict::Holds, Verdict::and)
}

/// Each answered read of all registers as reads of the registers, of those that are absent too.
pub fn reads(ops: &[Op]) -> Vec<Op> {
    let mut answered = ops.iter().filter_map(shown).peekable();
    if answered.peek().is_none() {
        return Vec::new();
    }
    let registers: BTreeSet<&str> =
        ops.iter().filter(|op| !op.call.operation().is_of_many()).map(|op| &*op.key).collect();
    let mut reads = Vec::new();
    for (op, entries) in answered {
        let prefix = &*op.key;
        let mut states: BTreeMap<&str, Option<Record>> = registers
            .range(prefix..)
            .take_while(|key| key.starts_with(prefix))
            .map(|key| (*key, None))
            .collect();
        for Entry { key, value, version } in entries {
            states.insert(key, Some(Record { value: value.clone(), version: *version }));
        }
        reads.extend(states.into_iter().map(|(key, state)| Op {
            key: key.to_owned(),
            call: Call::Read,
            outcome: OpOutcome::Ok(Reply::Read(state)),
            ..op.clone()
        }));
    }
    reads
}

fn shown(op: &Op) -> Option<(&Op, &[Entry])> {
    match (&op.call, &op.outcome) {
        (Call::ReadAll, OpOutcome::Ok(Reply::Scanned(entries))) => Some((op, entries)),
        _ => None,
    }
}

/// Every version of every key that somebody made or saw, and who was the first.
fn versions(ops: &[Op]) -> BTreeMap<&str, BTreeMap<Version, &Op>> {
    let mut met: BTreeMap<&str, BTreeMap<Version, &Op>> = BTreeMap::new();
    for op in ops {
        let alone = op.version_met().map(|version| (&*op.key, version));
        let together = shown(op).map_or(&[][..], |(_, entries)| entries);
        let together = together.iter().map(|entry| (&*entry.key, entry.version));
        for (key, version) in alone.into_iter().chain(together) {
            met.entry(key).or_default().entry(version).or_insert(op);
        }
    }
    met
}

fn wrong(words: String) -> Violation {
    Violation::new(JUDGE, words)
}

/// Whether it shows each key's newest version up to a moment that all of them were there at.
fn one_moment(
    op: &Op,
    entries: &[Entry],
    met: &BTreeMap<&str, BTreeMap<Version, &Op>>,
) -> Option<Violation> {
    let newest = entries.iter().max_by_key(|entry| entry.version)?;
    entries.iter().find_map(|entry| {
        let between = (Excluded(entry.version), Included(newest.version));
        let after = met.get(&*entry.key)?.range(between);
        let (missed, by) = after.last()?;
        let words = format!(
            "process {} was shown no single moment: {:?} at version {} and {:?} at version {}, which had \
             version {missed} by then",
            op.process, newest.key, newest.version, entry.key, entry.version
        );
        let mut violation = wrong(words).with(op).with_labelled("version made or seen: ", by);
        let made = |by: &&&Op| by.version_made() == Some(entry.version);
        if let Some(writer) = met[&*entry.key].get(&entry.version).filter(made) {
            violation = violation.with_labelled("what it was shown is from: ", writer);
        }
        Some(Violation { key: Some(entry.key.clone()), ..violation })
    })
}
