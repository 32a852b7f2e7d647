//! Is a state that may be a little old as new as its answer says?
//!
//! An answer says which moment it shows, and how old that is at most. So all that was acknowledged longer before the
//! read was asked for has to be at or below the moment, by the time of the run, which no node knows. What is there at
//! the moment is for the judge of pages.

use std::collections::BTreeMap;

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Op, OpOutcome, PageAsked, Paged, Reply, millis};

const JUDGE: &str = "staleness";

/// Judges the reads of a run that said how old their states are.
pub fn check(ops: &[Op]) -> Verdict {
    let mut newest: BTreeMap<&str, Vec<(u64, &Op)>> = BTreeMap::new();
    for op in ops {
        if let Some((at_ns, _)) = op.complete_ns.zip(op.version_made()) {
            newest.entry(&op.key).or_default().push((at_ns, op));
        }
    }
    for acknowledged in newest.values_mut() {
        acknowledged.sort_by_key(|(at_ns, _)| *at_ns);
        // Behind each moment the highest version that was acknowledged by then.
        for last in 1..acknowledged.len() {
            let before = acknowledged[last - 1].1;
            if before.version_made() > acknowledged[last].1.version_made() {
                acknowledged[last].1 = before;
            }
        }
    }
    let mut judged = 0;
    for op in ops {
        let Some((asked, told, since_ns)) = shown(op) else { continue };
        judged += 1;
        let of_span = newest.range(&*asked.start..);
        let of_span = of_span.take_while(|(key, _)| asked.end.is_empty() || **key < &*asked.end);
        for (key, acknowledged) in of_span {
            let before = acknowledged.partition_point(|(at_ns, _)| *at_ns < since_ns);
            let last = before.checked_sub(1).map(|last| acknowledged[last].1);
            let Some(missed) = last.filter(|last| last.version_made() > Some(told.at)) else {
                continue;
            };
            let begin = format!("the read of process {} is older than it says: ", op.process);
            let words = format!(
                "at version {} it is to show what was acknowledged until {} ms, and of {key:?} version {} was",
                told.at,
                millis(since_ns),
                missed.version_made().unwrap_or_default()
            );
            return Violation::new(JUDGE, words).with(missed).with(op).of_key(key, &begin).into();
        }
    }
    match judged {
        0 => Verdict::Undecided("no read said how old its state is".to_owned()),
        _ => Verdict::Holds,
    }
}

/// What a read has asked and shown that said how old it is, and until when all of it has to be there.
fn shown(op: &Op) -> Option<(&PageAsked, &Paged, u64)> {
    match (&op.call, &op.outcome) {
        (Call::Page(asked), OpOutcome::Ok(Reply::Paged(told))) => {
            Some((asked, told, asked.since_ns?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(call: Call, reply: Reply, (invoke_ns, complete_ns): (u64, u64)) -> Op {
        Op {
            process: 1,
            key: "a".to_owned(),
            call,
            invoke_ns,
            complete_ns: Some(complete_ns),
            invoke_index: invoke_ns,
            complete_index: Some(complete_ns),
            outcome: OpOutcome::Ok(reply),
        }
    }

    fn write(version: u64, at_ns: u64) -> Op {
        let call = Call::Write { value: "v".to_owned(), ttl_ms: None };
        op(call, Reply::Written { version }, (at_ns - 1, at_ns))
    }

    fn read(at: u64, since_ns: Option<u64>) -> Op {
        let asked = PageAsked {
            start: "a".to_owned(),
            end: "a\0".to_owned(),
            at,
            since_ns,
            ..PageAsked::default()
        };
        let told = Paged { at, records: Vec::new(), next: None };
        op(Call::Page(asked), Reply::Paged(told), (900, 901))
    }

    #[test]
    fn what_was_acknowledged_before_has_to_be_there() {
        let judged = |at, since_ns| {
            check(&[write(7, 100), write(5, 150), write(9, 200), read(at, since_ns)])
        };
        assert_eq!(judged(7, Some(200)), Verdict::Holds, "the last one may be missed");
        assert_eq!(judged(9, Some(800)), Verdict::Holds);
        assert!(matches!(judged(7, Some(201)), Verdict::Violation(_)));
        assert!(matches!(judged(6, Some(160)), Verdict::Violation(_)), "acknowledged earlier");
        assert_eq!(judged(6, Some(100)), Verdict::Holds);
        assert!(matches!(judged(9, None), Verdict::Undecided(_)));
    }
}
