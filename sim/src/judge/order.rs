//! Is the order of commits that of timestamps, over all keys and ranges?
//!
//! Versions are timestamps of the oracle. A write takes its own once it has been asked for, and it is above everything
//! that was published before. From before it takes it until it is done nobody is shown its key. So of two things, one
//! of which was over before the other began, the second has the greater version, whichever keys they are about and
//! whoever led their ranges; and what has happened by timestamps is seen:
//!
//! | what was over | what began then | what has to hold |
//! |---|---|---|
//! | a write was acknowledged, or its version was seen | a write, or a request for a timestamp | it has a greater version, or brings one |
//! | a page of a scan, or a deletion of a prefix, was answered with its moment; a timestamp was | the same | it is above that |
//! | any of these, with a version `T` | a read of a key | it shows what was written to the key up to `T`, or something newer |
//!
//! The last is the anomaly of `docs/time.md`, looked for in every run: a write whose timestamp is below what was
//! published long since, and which comes later. (Planted bug: `naive-time-server`.) Writes of unknown outcome have no
//! version that is known, and that nothing is shown is excused by whatever may have removed the key.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Op, OpOutcome, Reply, Version, millis};

/// The name of this judge.
const JUDGE: &str = "order";
/// Bits of a version below its microseconds.
pub(crate) const LOGICAL_BITS: u32 = 12;

/// Judges the versions of a run.
pub fn check(ops: &[Op]) -> Verdict {
    let mut over: Vec<(u64, Version, &Op)> =
        ops.iter().filter_map(|op| Some((op.complete_index?, published(op)?, op))).collect();
    over.sort_by_key(|(index, ..)| *index);
    let keys = Keys::of(ops);
    let mut began: Vec<&Op> = ops.iter().collect();
    began.sort_by_key(|op| op.invoke_index);
    let (mut over, mut highest) = (over.into_iter().peekable(), None::<(Version, &Op)>);
    for op in began {
        while let Some((_, before, by)) = over.next_if(|(index, ..)| *index < op.invoke_index) {
            if highest.is_none_or(|(highest, _)| highest < before) {
                highest = Some((before, by));
            }
        }
        let Some((before, by)) = highest else { continue };
        let taken = op.version_made().or_else(|| timestamp(op));
        if let Some(version) = taken.filter(|version| *version <= before) {
            let words = format!(
                "version {version} is not above {before}, which was there before it was asked for{}",
                apart(before, version)
            );
            return Violation::new(JUDGE, words).with(by).with(op).into();
        }
        if let Some(violation) = keys.unseen(op, (before, by)) {
            return violation.into();
        }
    }
    Verdict::Holds
}

/// By how much one is above the other, where that says something.
fn apart(above: Version, below: Version) -> String {
    match above.saturating_sub(below) >> LOGICAL_BITS {
        0 => String::new(),
        us => format!(", but {} ms below it", millis(us * 1_000)),
    }
}

/// What is known to have happened to each key.
struct Keys<'a> {
    /// By the version that they made.
    made: BTreeMap<&'a str, BTreeMap<Version, &'a Op>>,
    /// What may have removed it: deletions, and whatever has let it expire.
    removals: BTreeMap<&'a str, Vec<&'a Op>>,
    sweeps: Vec<&'a Op>,
}

impl<'a> Keys<'a> {
    fn of(ops: &'a [Op]) -> Keys<'a> {
        let (mut made, mut removals): (BTreeMap<_, BTreeMap<_, _>>, BTreeMap<_, Vec<_>>) =
            Default::default();
        for op in ops {
            if let Some(version) = op.version_made() {
                made.entry(&*op.key).or_default().insert(version, op);
            }
            let removes = matches!(op.call, Call::Delete { .. } | Call::Expire { .. })
                || op.call.ttl_ms().is_some();
            if removes {
                removals.entry(&*op.key).or_default().push(op);
            }
        }
        let sweeps = ops.iter().filter(|op| op.call == Call::Sweep).collect();
        Keys { made, removals, sweeps }
    }

    /// What a read does not show, although it was there by timestamps: what is published says so.
    fn unseen(&self, op: &Op, (before, by): (Version, &Op)) -> Option<Violation> {
        let OpOutcome::Ok(Reply::Read(shown)) = &op.outcome else { return None };
        let shown = shown.as_ref().map(|record| record.version);
        let after = (Excluded(shown.unwrap_or(0)), Included(before));
        let made = self.made.get(&*op.key).filter(|_| shown.is_none_or(|shown| shown < before))?;
        let (version, write) = made.range(after).next_back()?;
        let removed = matches!(write.call, Call::Delete { .. })
            || self.removals.get(&*op.key).into_iter().flatten().chain(&self.sweeps).any(|other| {
                let is_of_key = other.key == op.key || op.key.starts_with(&*other.key);
                is_of_key
                    && other.outcome != OpOutcome::Failed
                    && !op.precedes(other)
                    && !(removes_once(&other.call) && other.precedes(write))
            });
        if shown.is_none() && removed {
            return None;
        }
        let words = format!(
            "{:?} was written at version {version}, and a read of it did not show that, although {before} was there \
             before the read began{}: by timestamps the write comes first, by what was seen it comes later",
            op.key,
            apart(before, *version)
        );
        let violation = Violation::new(JUDGE, words).with_labelled("was there: ", by);
        let violation = violation.with_labelled("not shown: ", write).with_labelled("shown: ", op);
        Some(Violation { key: Some(op.key.clone()), ..violation })
    }
}

/// Whether it removes what is there, and nothing that is written later: an expiry may be kept by who writes.
fn removes_once(call: &Call) -> bool {
    matches!(call, Call::Delete { .. } | Call::Sweep)
}

/// The timestamp that an operation has brought, and nothing else.
fn timestamp(op: &Op) -> Option<Version> {
    match op.outcome {
        OpOutcome::Ok(Reply::Timestamp { version }) => Some(version),
        _ => None,
    }
}

/// The highest timestamp that an operation shows to be published when it is over.
fn published(op: &Op) -> Option<Version> {
    match &op.outcome {
        OpOutcome::Ok(Reply::Paged(page)) => Some(page.at),
        OpOutcome::Ok(Reply::Swept { at, .. }) => Some(*at),
        OpOutcome::Ok(Reply::Watched(seen)) => Some(seen.upto),
        _ => op.version_met().or_else(|| timestamp(op)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Call;

    /// A write from one index to another.
    fn write(key: &str, (from, to): (u64, u64), version: Version) -> Op {
        Op {
            process: from,
            key: key.to_owned(),
            call: Call::Insert { value: "x".to_owned() },
            invoke_ns: from,
            complete_ns: Some(to),
            invoke_index: from,
            complete_index: Some(to),
            outcome: OpOutcome::Ok(Reply::Written { version }),
        }
    }

    #[test]
    fn what_begins_later_has_the_greater_version() {
        let holds = |ops: &[Op]| check(ops).holds();
        assert!(holds(&[write("a", (0, 1), 5), write("b", (2, 3), 6)]));
        assert!(!holds(&[write("a", (0, 1), 6), write("b", (2, 3), 5)]));
        assert!(!holds(&[write("a", (0, 1), 5), write("b", (2, 3), 5)]), "the same is not greater");
        // At the same time.
        assert!(holds(&[write("a", (0, 2), 6), write("b", (1, 3), 5)]));
        // One in between is no excuse.
        let three = [write("a", (0, 1), 7), write("b", (2, 3), 9), write("c", (4, 5), 8)];
        assert!(!holds(&three));
        // The order of the history is that of invocations.
        assert!(holds(&[write("a", (4, 5), 9), write("b", (0, 1), 8)]));
    }

    #[test]
    fn timestamps_stand_between_writes() {
        let take = |at: (u64, u64), version| {
            let outcome = OpOutcome::Ok(Reply::Timestamp { version });
            Op { call: Call::Timestamp, outcome, ..write("", at, 0) }
        };
        let holds = |ops: &[Op]| check(ops).holds();
        assert!(holds(&[write("a", (0, 1), 5), take((2, 3), 6), write("a", (4, 5), 7)]));
        assert!(!holds(&[write("a", (0, 1), 5), take((2, 3), 5)]), "it is of before the write");
        assert!(!holds(&[take((0, 1), 5), write("a", (2, 3), 5)]), "it is of after the write");
        assert!(!holds(&[take((0, 1), 5), take((2, 3), 5)]), "two that do not overlap");
        assert!(holds(&[take((0, 2), 5), take((1, 3), 5)]), "two that do");
        // What is published is seen.
        assert!(!holds(&[write("a", (0, 1), 5), take((2, 3), 9), read("a", (4, 5), 4)]));
    }

    fn read(key: &str, (from, to): (u64, u64), shown: Version) -> Op {
        let record = crate::history::Record { version: shown, value: "x".to_owned() };
        let shown = Some(record).filter(|record| record.version > 0);
        let outcome = OpOutcome::Ok(Reply::Read(shown));
        Op { call: Call::Read, outcome, ..write(key, (from, to), 0) }
    }

    #[test]
    fn what_has_happened_by_timestamps_is_seen() {
        let ms = |ms: u64| (ms * 1_000) << LOGICAL_BITS;
        // C1 takes 500 and needs until 560; A1 takes 510 meanwhile; a read at 530 can't know of C1.
        let story = |shown, at| {
            let far = write("r2", (500, 560), ms(500));
            check(&[far, write("r1", (510, 520), ms(510)), read("r2", at, shown)])
        };
        let words = story(0, (530, 531)).to_string();
        assert!(words.contains("\"r2\" was written at version"), "{words}");
        assert!(words.contains("10.000 ms below it"), "{words}");
        assert!(!story(ms(490), (530, 531)).holds(), "an older version");
        assert!(story(ms(500), (530, 570)).holds());
        assert!(story(ms(520), (530, 531)).holds(), "a newer one");
        assert!(story(0, (515, 570)).holds(), "510 was not known when it began");
    }

    #[test]
    fn what_may_have_been_removed_need_not_be_seen() {
        let with = |call, outcome, shown| {
            let removal = Op { call, outcome, ..write("a", (3, 4), 0) };
            let read = read("a", (7, 8), shown);
            check(&[write("a", (1, 2), 5), removal, write("b", (5, 6), 9), read]).holds()
        };
        let delete = || Call::Delete { expected: None };
        assert!(with(delete(), OpOutcome::Unknown, 0));
        assert!(with(delete(), OpOutcome::Ok(Reply::Deleted { version: 7 }), 0));
        assert!(!with(delete(), OpOutcome::Failed, 0));
        assert!(!with(delete(), OpOutcome::Unknown, 4), "older than what was there");
        assert!(!with(Call::Read, OpOutcome::Failed, 0));
        // It was over before the write was asked for.
        let before = |call| {
            let outcome = OpOutcome::Ok(Reply::Deleted { version: 3 });
            let removal = Op { call, outcome, ..write("a", (0, 1), 0) };
            let later = [write("a", (2, 3), 5), write("b", (5, 6), 9), read("a", (7, 8), 0)];
            check(&[[removal].as_slice(), &later].concat()).holds()
        };
        assert!(!before(delete()), "it removed what was there before");
        assert!(before(Call::Expire { ttl_ms: Some(1) }), "who wrote may have kept that");
    }

    #[test]
    fn what_was_seen_counts_and_what_nobody_knows_does_not() {
        let read = Op {
            call: Call::Read,
            outcome: OpOutcome::Ok(Reply::Read(Some(crate::history::Record {
                version: 9,
                value: "x".to_owned(),
            }))),
            ..write("a", (0, 1), 0)
        };
        assert!(!check(&[read, write("b", (2, 3), 8)]).holds());
        let unknown =
            Op { outcome: OpOutcome::Unknown, complete_index: None, ..write("a", (0, 1), 0) };
        assert!(check(&[unknown, write("b", (2, 3), 8)]).holds());
    }
}
