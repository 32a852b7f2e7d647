//! Do versions rise in real time, over all keys and ranges?
//!
//! Versions are timestamps of the oracle. A write takes its own once it has been asked for, and it is above everything
//! that was published before. So of two things, one of which was over before the other began, the second has the
//! greater version, whichever keys they are about and whoever led their ranges:
//!
//! | what was over | what began then | what has to hold |
//! |---|---|---|
//! | a write was acknowledged, or its version was seen | a write | it has a greater version |
//! | a page of a scan, or a deletion of a prefix, was answered with its moment | a write | it is above the moment |
//!
//! That is the anomaly of `docs/time.md`, looked for in every run. Writes of unknown outcome have no version that is
//! known.

use super::verdict::{Verdict, Violation};
use crate::history::{Op, OpOutcome, Reply, Version};

/// The name of this judge.
const JUDGE: &str = "order";

/// Judges the versions of a run.
pub fn check(ops: &[Op]) -> Verdict {
    let mut over: Vec<(u64, Version, &Op)> =
        ops.iter().filter_map(|op| Some((op.complete_index?, published(op)?, op))).collect();
    over.sort_by_key(|(index, ..)| *index);
    let mut began: Vec<(Version, &Op)> =
        ops.iter().filter_map(|op| Some((op.version_made()?, op))).collect();
    began.sort_by_key(|(_, op)| op.invoke_index);
    let (mut over, mut highest) = (over.into_iter().peekable(), None::<(Version, &Op)>);
    for (version, op) in began {
        while let Some((_, before, by)) = over.next_if(|(index, ..)| *index < op.invoke_index) {
            if highest.is_none_or(|(highest, _)| highest < before) {
                highest = Some((before, by));
            }
        }
        if let Some((before, by)) = highest.filter(|(before, _)| *before >= version) {
            let words = format!(
                "version {version} is not above {before}, which was there before it was asked for"
            );
            return Violation::new(JUDGE, words).with(by).with(op).into();
        }
    }
    Verdict::Holds
}

/// The highest timestamp that an operation shows to be published when it is over.
fn published(op: &Op) -> Option<Version> {
    match &op.outcome {
        OpOutcome::Ok(Reply::Paged(page)) => Some(page.at),
        OpOutcome::Ok(Reply::Swept { at, .. }) => Some(*at),
        OpOutcome::Ok(Reply::Watched(seen)) => Some(seen.upto),
        _ => op.version_met(),
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
