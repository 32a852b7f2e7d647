//! Feeds against what was written: does each bring every version of its keys once, in order, and nothing else?
//!
//! Clients follow a key, or keys with a prefix, in steps: from where a feed stood to where it has come
//! ([`Call::Watch`]). Each step is judged by itself, so that it does not matter which node or connection it came over,
//! and whether the client that asked had been the same before.
//!
//! | what | what has to hold |
//! |---|---|
//! | two versions in a row | (version, key) rises: none comes twice, and all are behind where the step began and not behind where it came to |
//! | a version that some write was told to have made, or that another feed has brought | where it lies between the two, it is in the step |
//! | a version of a step, and the write that was told to have made it | they say the same |
//! | a version that nobody was told to have made | a write of unknown outcome, or one of many keys, can have made it |
//! | one version in two steps | they say the same |
//! | where a feed begins that names no version | everything that was acknowledged before is at or below it |
//! | where it begins that names one | at that |
//!
//! A change of the expiry writes the value that is there, a deletion of a prefix tells no versions, an append tells
//! none: of these it is only judged that a version can be theirs. Without an answered step the judge is `Undecided`.

use std::collections::BTreeMap;

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Changed, Op, OpOutcome, Reply, Version, WatchAsked, WatchSeen};

/// The name of this judge.
const JUDGE: &str = "feed";

/// The place of a version in a feed.
type Place<'a> = (Version, &'a str);

/// Judges the feeds of a run by its writes.
pub fn check(ops: &[Op]) -> Verdict {
    let steps: Vec<Step<'_>> = ops.iter().filter_map(Step::of).collect();
    if steps.is_empty() {
        return Verdict::Undecided("no feed was followed".to_string());
    }
    let writes = Writes::of(ops);
    // By place: what it is, and who says so.
    let mut known: BTreeMap<Place<'_>, (Content<'_>, &Op)> = writes.made.clone();
    for step in &steps {
        if let Some(wrong) = step.in_order().or_else(|| step.begins_well(&writes)) {
            return wrong.into();
        }
        for change in &step.seen.changes {
            let place = (change.version, &change.key[..]);
            let brought = Content::Is(change.value.as_deref());
            match known.get(&place) {
                Some((content, by)) if !content.agrees(brought) => {
                    return step.wrong(change, "is another one elsewhere").with(by).into();
                }
                Some((Content::Is(_), _)) => {}
                Some((Content::Any, _)) => {
                    known.insert(place, (brought, step.op));
                }
                None if writes.can_have_made(change, step.op) => {
                    known.insert(place, (brought, step.op));
                }
                None => return step.wrong(change, "was written by nobody").into(),
            }
        }
    }
    let lacking = steps.iter().find_map(|step| step.lacks(&known));
    lacking.map_or(Verdict::Holds, Verdict::from)
}

/// What a version says.
#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    /// A value, or a removal.
    Is(Option<&'a str>),
    /// Some value: whoever wrote it was not told which.
    Any,
}

impl Content<'_> {
    fn agrees(self, other: Content<'_>) -> bool {
        match (self, other) {
            (Content::Is(one), Content::Is(other)) => one == other,
            (Content::Any, Content::Is(value)) | (Content::Is(value), Content::Any) => {
                value.is_some()
            }
            (Content::Any, Content::Any) => true,
        }
    }
}

/// What was written, as its writers know.
struct Writes<'a> {
    made: BTreeMap<Place<'a>, (Content<'a>, &'a Op)>,
    /// Of each key, those that may have made a version which they were not told.
    unsure: BTreeMap<&'a str, Vec<&'a Op>>,
    sweeps: Vec<&'a Op>,
    /// The highest version that was told by then, by the index of the completion.
    told: BTreeMap<u64, (Version, &'a Op)>,
}

impl<'a> Writes<'a> {
    fn of(ops: &'a [Op]) -> Writes<'a> {
        let (mut made, mut told) = (BTreeMap::new(), BTreeMap::new());
        let mut unsure: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
        let mut sweeps = Vec::new();
        for op in ops.iter().filter(|op| op.call.is_mutation()) {
            if op.call == Call::Sweep {
                sweeps.push(op);
            } else if matches!(op.call, Call::Append { .. }) || op.outcome == OpOutcome::Unknown {
                unsure.entry(&op.key).or_default().push(op);
            }
            let Some(version) = op.version_made() else { continue };
            if let Some(content) = told_content(op) {
                made.insert((version, &op.key[..]), (content, op));
            }
            if let Some(complete) = op.complete_index {
                told.insert(complete, (version, op));
            }
        }
        let mut highest: Option<(Version, &Op)> = None;
        for told in told.values_mut() {
            highest = highest.filter(|highest| highest.0 > told.0).or(Some(*told));
            *told = highest.unwrap_or(*told);
        }
        Writes { made, unsure, sweeps, told }
    }

    /// Whether somebody who was not told a version can have made this one.
    fn can_have_made(&self, change: &Changed, seen_by: &Op) -> bool {
        let began = |op: &Op| Some(op.invoke_index) < seen_by.complete_index;
        let unsure = self.unsure.get(&change.key[..]).into_iter().flatten();
        let is_swept = || {
            let mut sweeps = self.sweeps.iter().filter(|op| began(op));
            change.value.is_none() && sweeps.any(|op| change.key.starts_with(&op.key[..]))
        };
        unsure.filter(|op| began(op)).any(|op| can_write(op, change)) || is_swept()
    }
}

/// What a write says that was told its version.
fn told_content(op: &Op) -> Option<Content<'_>> {
    Some(match &op.call {
        Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } => {
            Content::Is(Some(value))
        }
        Call::Delete { .. } => Content::Is(None),
        Call::Expire { .. } | Call::Increment { .. } => Content::Any,
        _ => return None,
    })
}

fn can_write(op: &Op, change: &Changed) -> bool {
    match &op.call {
        Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } => {
            change.value.as_ref() == Some(value)
        }
        Call::Delete { .. } => change.value.is_none(),
        _ => change.value.is_some(),
    }
}

/// One step of a feed.
struct Step<'a> {
    op: &'a Op,
    asked: &'a WatchAsked,
    seen: &'a WatchSeen,
}

impl<'a> Step<'a> {
    fn of(op: &'a Op) -> Option<Step<'a>> {
        let (Call::Watch(asked), OpOutcome::Ok(Reply::Watched(seen))) = (&op.call, &op.outcome)
        else {
            return None;
        };
        Some(Step { op, asked, seen })
    }

    /// Whether a place is between where it began and where it came to.
    fn covers(&self, (version, key): Place<'_>) -> bool {
        let WatchSeen { from, upto, upto_key, .. } = self.seen;
        let from_key = &self.asked.after_key[..];
        let is_behind =
            version > *from || (version == *from && !from_key.is_empty() && key > from_key);
        let is_come =
            version < *upto || (version == *upto && (upto_key.is_empty() || key <= &upto_key[..]));
        let is_of_it = match self.asked.is_key {
            true => key == self.op.key,
            false => key.starts_with(&self.op.key[..]),
        };
        is_behind && is_come && is_of_it
    }

    fn wrong(&self, change: &Changed, what: &str) -> Violation {
        let Changed { key, version, value } = change;
        let value = value.as_ref().map_or("removed".to_owned(), |value| format!("{value:?}"));
        let words = format!(
            "the feed of process {} brings {key:?} at version {version} ({value}), which {what}",
            self.op.process
        );
        Violation { key: Some(key.clone()), ..Violation::new(JUDGE, words).with(self.op) }
    }

    fn in_order(&self) -> Option<Violation> {
        let changes = &self.seen.changes;
        let place = |change: &'a Changed| (change.version, &change.key[..]);
        let stray = changes.iter().find(|change| !self.covers(place(change)));
        if let Some(stray) = stray {
            return Some(self.wrong(stray, "lies outside of what it has come over"));
        }
        let pair = changes.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1]))?;
        let what = match place(&pair[0]) == place(&pair[1]) {
            true => "comes twice",
            false => "comes behind a later one",
        };
        Some(self.wrong(&pair[1], what))
    }

    fn begins_well(&self, writes: &Writes<'_>) -> Option<Violation> {
        let (asked, from, process) = (self.asked.after, self.seen.from, self.op.process);
        if asked != 0 && asked != from {
            let words =
                format!("the feed of process {process} begins at {from} and not at {asked}");
            return Some(Violation::new(JUDGE, words).with(self.op));
        }
        let (_, (version, by)) = writes.told.range(..self.op.invoke_index).next_back()?;
        (asked == 0 && *version > from).then(|| {
            let words = format!(
                "the feed of process {process} begins at {from}, and version {version} was acknowledged before"
            );
            Violation::new(JUDGE, words).with(self.op).with(by)
        })
    }

    /// A version that it should have brought.
    fn lacks(&self, known: &BTreeMap<Place<'_>, (Content<'_>, &Op)>) -> Option<Violation> {
        let WatchSeen { from, upto, changes, .. } = self.seen;
        let mut brought = changes.iter().map(|change| (change.version, &change.key[..])).peekable();
        let between = known.range((*from, "")..).take_while(|((version, _), _)| version <= upto);
        for (place, (_, by)) in between.filter(|(place, _)| self.covers(**place)) {
            while brought.next_if(|brought| brought < place).is_some() {}
            if brought.peek() != Some(place) {
                let (version, key) = place;
                let words = format!(
                    "the feed of process {} leaves out {key:?} at version {version}",
                    self.op.process
                );
                let violation = Violation::new(JUDGE, words).with(self.op).with(by);
                return Some(Violation { key: Some((*key).to_owned()), ..violation });
            }
        }
        None
    }
}
