//! Is every key by itself a register that changes at single moments in real time?
//!
//! A history is linearizable when each operation can be given one moment between its invocation and
//! its completion such that, done one after another at these moments, all would have got the
//! answers that they got (Herlihy and Wing, 1990). The property is local: it holds for the whole
//! exactly if it holds for each key, so keys are judged one by one.
//!
//! The search is Wing and Gong's with Lowe's memoization ("Testing for linearizability", 2017):
//! depth first, always among the operations that began before the first completion still to come.
//! What makes it fast here is that writes return versions, and versions rise in the order in which
//! writes take effect:
//!
//! - Acknowledged writes and everything that saw a version stand in one fixed order, by version.
//!   Only three things are left to choose: where an observation of "absent" goes, whether and where
//!   an operation of unknown outcome took effect, and which of several unknown ones.
//! - An operation that only looks is put in at the first moment at which it fits; that takes
//!   nothing away from the others.
//! - An unknown operation is put in only where the very next one needs it. (If nothing looks at an
//!   effect, the same order without it is as good.) Unknown operations that ask the same are tried
//!   in the order in which they began, since none of them ever has to be over.
//!
//! ```text
//! versions   3      3      5          8      8        what is fixed
//!            put -- get -- (unknown)- put -- cas refused
//!                               ^ get saw 5: somebody unknown must have written it
//!                 absent?                absent?      what is searched
//! ```
//!
//! What a reply must fulfil at its moment: a read tells exactly the version and value of the last
//! write, or absence; a refusal likewise, and its condition really fails there; a compare-and-set
//! finds its expected version; a delete finds something (version > 0) or nothing (version 0); an
//! increment adds to what is there, absence counting as 0; each write's version is above all
//! before. An unknown operation's version is free until somebody sees it. Operations that failed
//! definitely are left out: whoever sees their effect sees what nobody wrote. Scans, pages and lists are left
//! to the judges [`super::moment`], [`super::pages`] and [`super::list`]; a read of all registers is a read of
//! each of them here.
//!
//! A value that expires (`expiry.rs`) turns into absence at some moment of its window, which follows
//! from when it was written and how wrong clocks may be, and stays absent until something is written.
//!
//! A deletion of a prefix (`sweep.rs`) is, for each key that begins so, the absence of what was there at its
//! moment, and of nothing else.
//!
//! The search is bounded ([`Limits`]); a key that exceeds it is `Undecided`, never a pass.

use std::collections::BTreeMap;

use self::limits::JUDGE;
pub use self::limits::Limits;
use super::{
    read_all,
    verdict::{Verdict, Violation},
};
use crate::history::{Call, Op};

mod expiry;
mod limits;
mod order;
mod search;
mod sweep;

/// Violated keys that are reported: what broke one has mostly broken many.
const KEYS_SHOWN_MAX: usize = 5;

/// Judges all keys with the default limits. `ops` come from [`crate::history::History::operations`].
pub fn check(ops: &[Op]) -> Verdict {
    check_within(ops, Limits::default())
}

/// Judges all keys. Of several violated keys the [`KEYS_SHOWN_MAX`] are reported that showed it first, and how
/// many there are.
pub fn check_within(ops: &[Op], limits: Limits) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    let reads = read_all::reads(ops);
    for op in ops.iter().chain(&reads) {
        let is_of_many = op.call.operation().is_of_many();
        if !is_of_many && !matches!(op.call, Call::Append { .. } | Call::List) {
            keys.entry(&op.key).or_default().push(op);
        }
    }
    let sweeps: Vec<&Op> = ops.iter().filter(|op| op.call == Call::Sweep).collect();
    let verdict = keys
        .into_iter()
        .map(|(key, ops)| check_key(key, &ops, &sweep::of_key(&sweeps, key), limits))
        .fold(Verdict::Holds, Verdict::and);
    match verdict {
        Verdict::Violation(violations) => Verdict::Violation(first_of(violations)),
        verdict => verdict,
    }
}

/// The violations that showed first, and a line that counts the others.
fn first_of(mut violations: Vec<Violation>) -> Vec<Violation> {
    let many = violations.len();
    violations.sort_by_key(|violation| violation.at_ns);
    if let Some(more) = many.checked_sub(KEYS_SHOWN_MAX).filter(|more| *more > 0) {
        violations.truncate(KEYS_SHOWN_MAX);
        let words = format!("{more} further keys are not linearizable, {many} in all");
        violations.push(Violation::new(JUDGE, words));
    }
    violations
}

fn check_key(key: &str, ops: &[&Op], sweeps: &[&Op], limits: Limits) -> Verdict {
    // The cheap checks first: they need no search and can say plainly what is wrong.
    let begin = format!("key {key:?} is not linearizable: ");
    let plain = order::contradiction(ops)
        .or_else(|| expiry::outlived(ops, limits.skew_ns))
        .or_else(|| sweep::contradiction(ops, sweeps));
    if let Some(plain) = plain {
        return plain.of_key(key, &begin).into();
    }
    let mut others = expiry::as_operations(ops, limits.skew_ns);
    others.extend(sweep::as_operations(ops, sweeps));
    let mut with_others = ops.to_vec();
    with_others.extend(&others);
    with_others.sort_by_key(|op| op.invoke_index);
    match search::search(&with_others, limits) {
        search::Found::Order => Verdict::Holds,
        search::Found::Exhausted(stuck) => stuck.of_key(key, &begin).into(),
        search::Found::GaveUp { steps } => Verdict::Undecided(format!(
            "key {key:?}: no order found for its {} operations within {steps} steps, nor shown \
             that there is none",
            ops.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OpOutcome, Record, Reply};

    /// A read of a value that nobody ever wrote.
    fn broken(number: u64) -> Op {
        let record = Record { version: 1, value: "x".to_owned() };
        Op {
            process: number,
            key: format!("key/{}", 9 - number),
            call: Call::Read,
            invoke_ns: number * 10,
            complete_ns: Some(number * 10 + 1),
            invoke_index: number * 2,
            complete_index: Some(number * 2 + 1),
            outcome: OpOutcome::Ok(Reply::Read(Some(record))),
        }
    }

    #[test]
    fn of_many_broken_keys_the_first_five_are_shown_and_all_are_counted() {
        let ops: Vec<Op> = (0..8).map(broken).collect();
        let verdict = check(&ops);
        let keys: Vec<_> = verdict.violations().iter().map(|it| it.key.as_deref()).collect();
        // Those that showed it first, not those that sort first.
        let first = ["key/9", "key/8", "key/7", "key/6", "key/5"].map(Some);
        assert_eq!(keys[..5], first);
        assert_eq!(keys.len(), 6);
        assert!(verdict.to_string().ends_with("3 further keys are not linearizable, 8 in all"));
        assert_eq!(check(&ops[..5]).violations().len(), 5);
    }
}
