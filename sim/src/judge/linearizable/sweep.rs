//! Deletions of a prefix ("sweeps").
//!
//! A sweep tells how far it went, not which keys it removed: everything whose newest version was its moment or
//! an older one, at some time while it was under way. For one key that means three things:
//!
//! | what | has to hold |
//! |---|---|
//! | a write that was acknowledged before the sweep began | its version is not above the moment |
//! | a version that is not above the moment | nobody who asks after the sweep has ended sees it |
//! | the newest version that is not above the moment | may turn into absence, from when the sweep began |
//!
//! The first two are checked by themselves ([`contradiction`]). The third is left to the search, as an expiry
//! is: a delete on condition of that version, of unknown outcome. Whatever else a sweep removes has no
//! explanation. Of one that was not answered the moment is not known: any version may be the newest.

use std::collections::BTreeSet;

use super::{expiry::NOBODY, limits::JUDGE};
use crate::{
    history::{Call, Op, OpOutcome, Reply, Version},
    judge::verdict::Violation,
};

/// The sweeps of a key.
pub(super) fn of_key<'a>(sweeps: &[&'a Op], key: &str) -> Vec<&'a Op> {
    sweeps.iter().copied().filter(|sweep| key.starts_with(&*sweep.key)).collect()
}

fn moment(sweep: &Op) -> Option<Version> {
    match sweep.outcome {
        OpOutcome::Ok(Reply::Swept { at, .. }) => Some(at),
        _ => None,
    }
}

/// What a sweep has left, or what its moment has left out.
pub(super) fn contradiction(ops: &[&Op], sweeps: &[&Op]) -> Option<Violation> {
    sweeps.iter().find_map(|sweep| {
        let at = moment(sweep)?;
        ops.iter().find_map(|op| {
            if let Some(version) = op.version_made().filter(|version| *version > at)
                && op.precedes(sweep)
            {
                let words = format!(
                    "version {version} had been acknowledged before a deletion began whose moment is {at}"
                );
                return Some(Violation::new(JUDGE, words).with(op).with(sweep));
            }
            let version = op.observation()?.as_ref()?.version;
            (version <= at && sweep.precedes(op)).then(|| {
                let words = format!(
                    "process {} saw version {version} after everything up to version {at} had been deleted",
                    op.process
                );
                Violation::new(JUDGE, words).with(sweep).with(op)
            })
        })
    })
}

/// What sweeps may have done to the key, as operations for the search.
pub(super) fn as_operations(ops: &[&Op], sweeps: &[&Op]) -> Vec<Op> {
    let versions: BTreeSet<Version> = ops.iter().filter_map(|op| op.version_met()).collect();
    let mut deletes = Vec::new();
    for sweep in sweeps {
        if sweep.outcome == OpOutcome::Failed {
            continue;
        }
        let removed: Vec<Version> = match moment(sweep) {
            Some(at) => versions.range(..=at).next_back().copied().into_iter().collect(),
            None => versions.iter().copied().collect(),
        };
        deletes.extend(removed.into_iter().map(|version| Op {
            process: NOBODY,
            call: Call::Delete { expected: Some(version) },
            complete_ns: None,
            complete_index: None,
            outcome: OpOutcome::Unknown,
            ..(*sweep).clone()
        }));
    }
    deletes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::Record,
        judge::{Verdict, linearizable::check},
    };

    fn op(process: u64, key: &str, call: Call, (from, upto): (u64, u64), outcome: OpOutcome) -> Op {
        let is_over = outcome != OpOutcome::Unknown;
        Op {
            process,
            key: key.to_owned(),
            call,
            invoke_ns: from,
            complete_ns: is_over.then_some(upto),
            invoke_index: from,
            complete_index: is_over.then_some(upto),
            outcome,
        }
    }

    fn write(times: (u64, u64), version: Version) -> Op {
        let call = Call::Write { value: format!("v{version}"), ttl_ms: None };
        op(1, "key/1", call, times, OpOutcome::Ok(Reply::Written { version }))
    }

    fn read(times: (u64, u64), version: Option<Version>) -> Op {
        let record = version.map(|version| Record { value: format!("v{version}"), version });
        op(2, "key/1", Call::Read, times, OpOutcome::Ok(Reply::Read(record)))
    }

    fn sweep(times: (u64, u64), outcome: OpOutcome) -> Op {
        op(3, "key/", Call::Sweep, times, outcome)
    }

    fn swept(at: Version) -> OpOutcome {
        OpOutcome::Ok(Reply::Swept { at, deleted: 1 })
    }

    fn is_violation(ops: &[Op]) -> bool {
        matches!(check(ops), Verdict::Violation(_))
    }

    #[test]
    fn what_was_there_at_its_moment_is_gone() {
        let there = [write((0, 1), 5), sweep((2, 9), swept(7)), read((10, 11), None)];
        assert_eq!(check(&there), Verdict::Holds);
        let left = [write((0, 1), 5), sweep((2, 9), swept(7)), read((10, 11), Some(5))];
        assert!(is_violation(&left), "it was left");
        // While it is under way either may be seen, and once absent it stays so.
        let both = |first, then| {
            [write((0, 1), 5), sweep((2, 9), swept(7)), read((3, 4), first), read((5, 6), then)]
        };
        assert_eq!(check(&both(Some(5), None)), Verdict::Holds);
        assert!(is_violation(&both(None, Some(5))), "it came back");
        let early = [write((0, 1), 5), read((2, 3), None), sweep((4, 9), swept(7))];
        assert!(is_violation(&early), "gone before anybody asked");
    }

    #[test]
    fn what_came_after_its_moment_stays() {
        let newer =
            [write((0, 1), 5), sweep((2, 9), swept(7)), write((3, 4), 8), read((10, 11), Some(8))];
        assert_eq!(check(&newer), Verdict::Holds);
        let lost =
            [write((0, 1), 5), sweep((2, 9), swept(7)), write((3, 4), 8), read((10, 11), None)];
        assert!(is_violation(&lost), "the newer one went");
        let before = [write((0, 1), 8), sweep((2, 9), swept(7)), read((10, 11), Some(8))];
        assert!(is_violation(&before), "it was acknowledged before the deletion began");
    }

    #[test]
    fn without_an_answer_it_may_have_done_any_of_it() {
        let unknown =
            |then| [write((0, 1), 5), sweep((2, 9), OpOutcome::Unknown), read((10, 11), then)];
        assert_eq!(check(&unknown(Some(5))), Verdict::Holds);
        assert_eq!(check(&unknown(None)), Verdict::Holds);
        let failed = [write((0, 1), 5), sweep((2, 9), OpOutcome::Failed), read((10, 11), None)];
        assert!(is_violation(&failed), "nothing was done");
        let other = Op { key: "kex".to_owned(), ..sweep((2, 9), swept(7)) };
        assert!(is_violation(&[write((0, 1), 5), other, read((10, 11), None)]), "another prefix");
    }
}
