//! Does a list that is only appended to grow in one order?
//!
//! Clients append elements that are unique in the run to the list of a key, and read whole lists. One
//! order of the elements explains everything: the longest list that was read, behind it what was
//! acknowledged and never seen.
//!
//! ```text
//! order    4  9  2  7 | 11 12       4, 9, 2, 7 is the longest read
//! reads    4  9                     each is a beginning of it and stands where it ends:
//!          4  9  2  7               after 9 and before 2, after 7 and before 11
//! ```
//!
//! | what | must be so |
//! |---|---|
//! | a read | is a beginning of the longest one, and shows no element twice |
//! | an element that is seen | was asked for on this key, before the read ended, and did not fail |
//! | an append of unknown outcome | is seen once, at any later time, or never |
//! | an append acknowledged before a read was asked for | is in it |
//! | an append acknowledged before another was asked for | stands before it |
//! | of two reads, one after the other | the later one shows all that the earlier one shows |
//!
//! With these no two operations stand in the order against real time, and that is all that
//! linearizability asks: in an order of all operations each contradiction is one between two of them.
//!
//! A key is `Undecided` if nobody read it after its last acknowledged append, or if the workload
//! appended an element twice; so is a run without lists.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Op, OpOutcome, Reply, millis};

/// Judges every list of a run.
pub fn check(ops: &[Op]) -> Verdict {
    let mut keys: BTreeMap<&str, List<'_>> = BTreeMap::new();
    let mut asked: BTreeMap<u64, &Op> = BTreeMap::new();
    for op in ops {
        match &op.call {
            Call::Append { element } => {
                if let Some(other) = asked.insert(*element, op) {
                    return Verdict::Undecided(format!(
                        "the workload appends {element} twice\n  {other}\n  {op}"
                    ));
                }
                keys.entry(&op.key).or_default().appends.insert(*element, op);
            }
            Call::List => {
                let list = keys.entry(&op.key).or_default();
                if let OpOutcome::Ok(Reply::Listed(elements)) = &op.outcome {
                    list.reads.push(Read { op, elements });
                }
            }
            _ => {}
        }
    }
    if asked.is_empty() {
        return Verdict::Undecided("no list was appended to".to_string());
    }
    let judged = keys.iter().map(|(key, list)| match list.broken(&asked) {
        Some(violation) => violation.of_key(key, &format!("list {key:?}: ")).into(),
        None if list.is_read_at_the_end() => Verdict::Holds,
        None => Verdict::Undecided(format!(
            "list {key:?}: nobody read it after the last acknowledged append"
        )),
    });
    judged.fold(Verdict::Holds, Verdict::and)
}

/// A read that was answered.
struct Read<'a> {
    op: &'a Op,
    elements: &'a [u64],
}

/// What was done with one key.
#[derive(Default)]
struct List<'a> {
    appends: BTreeMap<u64, &'a Op>,
    reads: Vec<Read<'a>>,
}

fn wrong(words: impl Into<String>) -> Violation {
    Violation::new("list", words)
}

/// How long before `later` began `earlier` was over, in words.
fn gap(earlier: &Op, later: &Op) -> String {
    let end_ns = earlier.complete_ns.unwrap_or(later.invoke_ns);
    format!("{} ms", millis(later.invoke_ns.saturating_sub(end_ns)))
}

impl<'a> List<'a> {
    fn is_read_at_the_end(&self) -> bool {
        let acknowledged = || self.appends.values().filter(|op| op.complete_index.is_some());
        acknowledged().next().is_none()
            || self.reads.iter().any(|read| acknowledged().all(|append| append.precedes(read.op)))
    }

    fn broken(&self, asked: &BTreeMap<u64, &Op>) -> Option<Violation> {
        if let Some(violation) = self.reads.iter().find_map(|read| self.impossible(read, asked)) {
            return Some(violation);
        }
        let longest = self.reads.iter().max_by_key(|read| read.elements.len())?;
        self.reads
            .iter()
            .find_map(|read| forked(read, longest))
            .or_else(|| self.against_time(longest))
            .or_else(|| self.shrunk())
    }

    /// An element that a read can't show, whatever the order.
    fn impossible(&self, read: &Read<'a>, asked: &BTreeMap<u64, &Op>) -> Option<Violation> {
        let process = read.op.process;
        let mut seen = BTreeSet::new();
        read.elements.iter().find_map(|element| {
            if !seen.insert(*element) {
                let words = format!("process {process} saw {element} twice");
                let twice = wrong(words).with(read.op);
                return Some(match self.appends.get(element) {
                    Some(append) => twice.with(append),
                    None => twice,
                });
            }
            let Some(append) = self.appends.get(element) else {
                let words = format!("process {process} saw {element}, which nobody ever appended");
                return Some(match asked.get(element) {
                    Some(other) => wrong(format!("{words} here")).with(other).with(read.op),
                    None => wrong(words).with(read.op),
                });
            };
            if matches!(append.outcome, OpOutcome::Failed | OpOutcome::Refused(_)) {
                let words = format!(
                    "process {process} saw {element}, but its append was definitely not done"
                );
                return Some(wrong(words).with(append).with(read.op));
            }
            if read.op.precedes(append) {
                let words =
                    format!("process {process} saw {element} before anybody had asked for it");
                return Some(wrong(words).with(read.op).with(append));
            }
            None
        })
    }

    /// Appends that are missing or stand behind others against real time.
    fn against_time(&self, longest: &Read<'a>) -> Option<Violation> {
        let order = longest.elements;
        let place: BTreeMap<u64, usize> =
            order.iter().enumerate().map(|(place, element)| (*element, place)).collect();
        // The first to be over, of all that stand at a place or behind it.
        let unseen = self.appends.iter().filter(|(element, _)| !place.contains_key(element));
        let unseen = unseen.map(|(_, op)| *op).filter(|op| matches!(op.outcome, OpOutcome::Ok(_)));
        let mut first = unseen.min_by_key(|op| op.complete_index);
        let mut first_from = vec![first; order.len() + 1];
        for (at, element) in order.iter().enumerate().rev() {
            let append = self.appends.get(element).copied();
            let over = append.filter(|op| op.complete_index.is_some());
            first = [first, over].into_iter().flatten().min_by_key(|op| op.complete_index);
            first_from[at] = first;
        }
        for read in &self.reads {
            if let Some(missed) = first_from[read.elements.len()].filter(|op| op.precedes(read.op))
            {
                let words = format!(
                    "process {} read {} elements and missed one that had been appended {} before it \
                     asked; it should have seen it",
                    read.op.process,
                    read.elements.len(),
                    gap(missed, read.op),
                );
                return Some(wrong(words).with(missed).with(read.op));
            }
        }
        order.iter().enumerate().find_map(|(at, element)| {
            let append = *self.appends.get(element)?;
            let behind = first_from[at + 1].filter(|op| op.precedes(append))?;
            let words = format!(
                "process {} saw {element} before an element that had been acknowledged {} before \
                 {element} was asked for; it should have seen that one first",
                longest.op.process,
                gap(behind, append),
            );
            Some(wrong(words).with(behind).with(append).with(longest.op))
        })
    }

    /// A read that shows less than one that was over before.
    fn shrunk(&self) -> Option<Violation> {
        let mut by_length: Vec<&Read<'a>> = self.reads.iter().collect();
        by_length.sort_by_key(|read| std::cmp::Reverse(read.elements.len()));
        let mut first: Option<&Read<'a>> = None;
        let mut of_length: Option<&Read<'a>> = None;
        for read in by_length {
            if of_length.is_some_and(|other| other.elements.len() > read.elements.len()) {
                first = [first, of_length.take()]
                    .into_iter()
                    .flatten()
                    .min_by_key(|read| read.op.complete_index);
            }
            if let Some(longer) = first.filter(|longer| longer.op.precedes(read.op)) {
                let words = format!(
                    "process {} saw {} elements although {} had been seen {} before it asked",
                    read.op.process,
                    read.elements.len(),
                    longer.elements.len(),
                    gap(longer.op, read.op),
                );
                return Some(wrong(words).with(longer.op).with(read.op));
            }
            of_length = [of_length, Some(read)]
                .into_iter()
                .flatten()
                .min_by_key(|read| read.op.complete_index);
        }
        None
    }
}

/// A read that is no beginning of the longest one.
fn forked(read: &Read<'_>, longest: &Read<'_>) -> Option<Violation> {
    let mut pairs = read.elements.iter().zip(longest.elements).enumerate();
    let (place, (one, other)) = pairs.find(|(_, (one, other))| one != other)?;
    let words = format!(
        "two orders: at place {place} process {} saw {one} and process {} saw {other}",
        read.op.process, longest.op.process
    );
    Some(wrong(words).with(read.op).with(longest.op))
}
