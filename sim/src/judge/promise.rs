//! What losing a part of the cluster may cost: nobody waits longer than promised.
//!
//! The table that the product promises, as assertions in simulated time: after a node, a room or the
//! other city is lost every range takes writes again soon; leaders are home again soon after a room is
//! back; while too few nodes are left everything is refused, with the errors that are documented for
//! it, and nothing is served. That nothing acknowledged is lost is for the other judges.
//!
//! A scenario says what is promised ([`Promise`]) for each of its faults. Where another strike comes
//! before a promise is due, it is not asked for: two losses together were never promised anything.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::verdict::{Verdict, Violation};
use crate::{
    history::{Call, Op, OpOutcome, millis},
    timeline::{Moment, What},
};

const JUDGE: &str = "promise";
const SECOND_NS: f64 = 1e9;
/// A write that was asked for less than this before the promise ran out could not make it.
const LATE_NS: u64 = 500_000_000;
/// Answers to what was asked before the loss may still be under way for this long after it.
const GRACE_NS: u64 = 1_000_000_000;
/// New leaders of a range that are told one by one.
const SETTLED_TOLD_MAX: usize = 6;
/// What clients may be told while too few nodes are left.
const REFUSALS: [&str; 3] = ["unavailable", "deadline_exceeded", "unknown_outcome"];

/// What is promised for each strike of a fault. Nothing, unless said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Promise {
    /// From how many seconds after a strike has begun on each range has acknowledged a write that was asked for
    /// after it began.
    pub writable_s: Option<f64>,
    /// How many seconds after a strike has ended every range is led from the preferred room.
    pub home_s: Option<f64>,
    /// From how many seconds after a strike has begun until it ends no range gets another leader.
    pub settled_s: Option<f64>,
    /// Whatever is under way when a strike begins, or is asked for until it ends, has a result this many seconds
    /// after that, and not only word that nobody knows.
    pub answered_s: Option<f64>,
    /// From a second after a strike has begun until it ends nothing is served, reads included, and
    /// what clients are told is one of the errors documented for it.
    pub refused: bool,
    /// As `refused`, but reads of the past go on.
    pub past_only: bool,
}

/// Where the cluster's parts are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Keys at which one range of data ends and the next begins, rising.
    pub split_points: Vec<String>,
    /// Nodes of the room that leaders prefer.
    pub preferred: Vec<u64>,
}

impl Layout {
    /// Which range of data holds a key, from 2: 1 is the system range.
    fn range_of(&self, key: &str) -> u64 {
        2 + self.split_points.iter().take_while(|point| point.as_str() <= key).count() as u64
    }
}

/// A strike as far as the timeline knows it: from when to when; none: it lasted to the end.
struct Lasted<'a> {
    number: u64,
    words: &'a str,
    begins_ns: u64,
    ends_ns: Option<u64>,
}

impl Lasted<'_> {
    /// Whether it goes on at some moment between two.
    fn overlaps(&self, from_ns: u64, to_ns: u64) -> bool {
        self.begins_ns <= to_ns && self.ends_ns.is_none_or(|ends_ns| ends_ns >= from_ns)
    }

    /// Whether it is another one. A strike may hit one thing after the other.
    fn is_other_than(&self, lasted: &Lasted<'_>) -> bool {
        (self.number, self.begins_ns) != (lasted.number, lasted.begins_ns)
    }
}

/// What a run saw, beside its operations.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What happened.
    pub timeline: &'a [Moment],
    /// When calls ended with which error.
    pub errors: &'a [(u64, &'a str)],
    /// When faults were over.
    pub until_ns: u64,
}

/// Judges a run, in which strikes of some numbers promise something.
pub fn check(
    promises: &BTreeMap<u64, Promise>,
    layout: &Layout,
    ops: &[Op],
    seen: Seen<'_>,
) -> Verdict {
    let strikes = strikes(seen.timeline);
    let mut verdict = Verdict::Holds;
    for strike in &strikes {
        let Some(promise) = promises.get(&strike.number) else { continue };
        let others = || strikes.iter().filter(|other| other.is_other_than(strike));
        if let Some(seconds) = promise.writable_s {
            let deadline_ns = after(strike.begins_ns, seconds);
            let begins = |other: &Lasted<'_>| {
                other.begins_ns >= strike.begins_ns && other.begins_ns <= deadline_ns
            };
            if deadline_ns <= seen.until_ns && !others().any(begins) {
                verdict = verdict.and(writable(layout, ops, strike, deadline_ns));
            }
        }
        if let (Some(seconds), Some(ends_ns)) = (promise.home_s, strike.ends_ns) {
            let deadline_ns = after(ends_ns, seconds);
            let goes_on = |other: &Lasted<'_>| other.overlaps(ends_ns, deadline_ns);
            if deadline_ns <= seen.until_ns && !others().any(goes_on) {
                verdict = verdict.and(home(layout, seen.timeline, strike, deadline_ns));
            }
        }
        if let Some(seconds) = promise.settled_s {
            let from_ns = after(strike.begins_ns, seconds);
            let to_ns = strike.ends_ns.unwrap_or(seen.until_ns).min(seen.until_ns);
            if !others().any(|other| other.overlaps(strike.begins_ns, to_ns)) {
                verdict = verdict.and(settled(seen.timeline, strike, from_ns, to_ns));
            }
        }
        if let Some(seconds) = promise.answered_s {
            // For as long before it as after it: what another strike did may last a while.
            let is_disturbed = |from_ns: u64, deadline_ns| {
                let from_ns = from_ns.saturating_sub(after(0, seconds));
                others().any(|other| other.overlaps(from_ns, deadline_ns))
            };
            verdict = verdict.and(answered(ops, strike, seconds, seen.until_ns, is_disturbed));
        }
        if promise.refused || promise.past_only {
            let refused = refused(ops, seen.errors, strike, promise.past_only, seen.until_ns);
            verdict = verdict.and(refused);
        }
    }
    verdict
}

fn after(ns: u64, seconds: f64) -> u64 {
    ns.saturating_add((seconds * SECOND_NS) as u64)
}

fn strikes(timeline: &[Moment]) -> Vec<Lasted<'_>> {
    let mut all: Vec<Lasted<'_>> = Vec::new();
    for moment in timeline {
        match &moment.what {
            What::Begins { strike, words, .. } => {
                let (number, begins_ns) = (*strike, moment.at_ns);
                all.push(Lasted { number, words, begins_ns, ends_ns: None });
            }
            What::Ends { strike, .. } => {
                for lasted in all.iter_mut().filter(|lasted| lasted.number == *strike) {
                    lasted.ends_ns.get_or_insert(moment.at_ns);
                }
            }
            _ => {}
        }
    }
    all
}

/// Each range that was asked for a write in time has acknowledged one.
fn writable(layout: &Layout, ops: &[Op], strike: &Lasted<'_>, deadline_ns: u64) -> Verdict {
    let mut asked: BTreeMap<u64, (&Op, bool)> = BTreeMap::new();
    for op in ops {
        // A write that its own condition refuses shows nothing.
        let writes = matches!(
            op.call,
            Call::Write { .. } | Call::Insert { .. } | Call::Increment { .. } | Call::Cas { .. }
        );
        let in_time = op.invoke_ns >= strike.begins_ns && op.invoke_ns + LATE_NS <= deadline_ns;
        if !writes || !in_time {
            continue;
        }
        let is_served = matches!(op.outcome, OpOutcome::Ok(_) | OpOutcome::Refused(_))
            && op.complete_ns.is_some_and(|at| at <= deadline_ns);
        let (_, served) = asked.entry(layout.range_of(&op.key)).or_insert((op, false));
        *served |= is_served;
    }
    let mut verdict = Verdict::Holds;
    for (range, (first, served)) in asked {
        if !served {
            let words = format!(
                "range {range} acknowledged no write until {} ms, after what happened at {} ms ({}); the \
                 first that was asked for:",
                millis(deadline_ns),
                millis(strike.begins_ns),
                strike.words
            );
            verdict = verdict.and(Violation::new(JUDGE, words).with(first).at(deadline_ns).into());
        }
    }
    verdict
}

/// Every call that met the strike, and no other one meanwhile, has a result in time.
fn answered(
    ops: &[Op],
    strike: &Lasted<'_>,
    seconds: f64,
    until_ns: u64,
    is_disturbed: impl Fn(u64, u64) -> bool,
) -> Verdict {
    let met = |op: &&Op| {
        let begins_before_end = strike.ends_ns.is_none_or(|ends_ns| op.invoke_ns < ends_ns);
        let goes_on = op.complete_ns.is_none_or(|at| at > strike.begins_ns);
        // Two requests in one: the second is not sent where the list has changed.
        begins_before_end && goes_on && !matches!(op.call, Call::Append { .. })
    };
    for op in ops.iter().filter(met) {
        let from_ns = op.invoke_ns.max(strike.begins_ns);
        let deadline_ns = after(from_ns, seconds);
        let has_result = matches!(op.outcome, OpOutcome::Ok(_) | OpOutcome::Refused(_))
            && op.complete_ns.is_some_and(|at| at <= deadline_ns);
        if !has_result && deadline_ns <= until_ns && !is_disturbed(from_ns, deadline_ns) {
            let words = format!(
                "no result until {} ms, {seconds} s after what happened at {} ms ({}), or after it was asked \
                 for:",
                millis(deadline_ns),
                millis(strike.begins_ns),
                strike.words
            );
            return Violation::new(JUDGE, words).with(op).at(deadline_ns).into();
        }
    }
    Verdict::Holds
}

/// Every range is led from the preferred room at a moment.
fn home(layout: &Layout, timeline: &[Moment], strike: &Lasted<'_>, deadline_ns: u64) -> Verdict {
    let mut leaders: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for moment in timeline.iter().filter(|moment| moment.at_ns <= deadline_ns) {
        if let What::Leads { node, range, term } = moment.what {
            let led = leaders.entry(range).or_insert((term, node));
            *led = (*led).max((term, node));
        }
    }
    let mut verdict = Verdict::Holds;
    for (range, (term, node)) in leaders {
        if !layout.preferred.contains(&node) {
            let words = format!(
                "range {range} is led by node {node} in term {term} at {} ms, and not from the preferred \
                 room (nodes {:?}), although everything was back at {} ms ({})",
                millis(deadline_ns),
                layout.preferred,
                millis(strike.ends_ns.unwrap_or_default()),
                strike.words
            );
            verdict = verdict.and(Violation::new(JUDGE, words).at(deadline_ns).into());
        }
    }
    verdict
}

/// No range gets another leader between two moments.
fn settled(timeline: &[Moment], strike: &Lasted<'_>, from_ns: u64, to_ns: u64) -> Verdict {
    let mut changes: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for moment in timeline.iter().filter(|moment| (from_ns..to_ns).contains(&moment.at_ns)) {
        if let What::Leads { node, range, .. } = moment.what {
            changes.entry(range).or_default().push((moment.at_ns, node));
        }
    }
    let mut verdict = Verdict::Holds;
    for (range, changes) in changes {
        let told = changes.iter().take(SETTLED_TOLD_MAX);
        let told: Vec<_> =
            told.map(|(at_ns, node)| format!("node {node} at {} ms", millis(*at_ns))).collect();
        let words = format!(
            "range {range} got another leader {} times from {} ms until {} ms ({}), although nothing has \
             changed since {} ms ({})",
            changes.len(),
            millis(from_ns),
            millis(to_ns),
            told.join(", "),
            millis(strike.begins_ns),
            strike.words
        );
        let at_ns = changes.last().map_or(to_ns, |(at_ns, _)| *at_ns);
        verdict = verdict.and(Violation::new(JUDGE, words).at(at_ns).into());
    }
    verdict
}

/// A read of a moment that had passed.
fn is_of_the_past(op: &Op) -> bool {
    matches!(&op.call, Call::Page(asked) if asked.at > 0)
}

/// While it lasted nothing was served, perhaps but for reads of the past, and clients were told what is documented.
fn refused(
    ops: &[Op],
    errors: &[(u64, &str)],
    strike: &Lasted<'_>,
    past_only: bool,
    until_ns: u64,
) -> Verdict {
    let from_ns = strike.begins_ns.saturating_add(GRACE_NS);
    let to_ns = strike.ends_ns.unwrap_or(until_ns);
    let inside = |ns: u64| ns >= from_ns && ns < to_ns;
    let is_served = |op: &&Op| {
        let answered = matches!(op.outcome, OpOutcome::Ok(_) | OpOutcome::Refused(_));
        answered && inside(op.invoke_ns) && op.complete_ns.is_some_and(inside)
    };
    let served = ops.iter().filter(is_served).find(|op| !(past_only && is_of_the_past(op)));
    let is_long = to_ns > from_ns.saturating_add(5 * GRACE_NS);
    let happened = format!("({} at {} ms)", strike.words, millis(strike.begins_ns));
    if let Some(op) = served {
        let words = format!("served although too few nodes were left {happened}:");
        return Violation::new(JUDGE, words).with(op).into();
    }
    let other = errors.iter().find(|(at, code)| inside(*at) && !REFUSALS.contains(code));
    if let Some((at, code)) = other {
        let words = format!(
            "at {} ms a client was told {code}, where {} is documented {happened}",
            millis(*at),
            REFUSALS.join(", ")
        );
        return Violation::new(JUDGE, words).at(*at).into();
    }
    let told = errors.iter().any(|(at, _)| inside(*at));
    let asked = ops.iter().any(|op| inside(op.invoke_ns));
    if asked && !told && is_long {
        let words = format!("clients were told nothing for seconds {happened}");
        return Violation::new(JUDGE, words).at(to_ns).into();
    }
    if past_only && is_long && !ops.iter().any(|op| is_served(&op) && is_of_the_past(op)) {
        let words = format!("no read of the past was served for seconds {happened}");
        return Violation::new(JUDGE, words).at(to_ns).into();
    }
    Verdict::Holds
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn leads(at_s: u64, node: u64) -> Moment {
        Moment { at_ns: at_s * S, what: What::Leads { node, range: 2, term: at_s } }
    }

    fn judged(moments: Vec<Moment>) -> Verdict {
        let kind = || "half-seen-home".to_owned();
        let begins =
            What::Begins { strike: 1, kind: kind(), nodes: vec![1], words: "is cut".to_owned() };
        let mut timeline = vec![Moment { at_ns: 10 * S, what: begins }];
        timeline.extend(moments);
        timeline.push(Moment { at_ns: 40 * S, what: What::Ends { strike: 1, kind: kind() } });
        timeline.sort_by_key(|moment| moment.at_ns);
        let promise = Promise { settled_s: Some(5.0), ..Promise::default() };
        let promises = BTreeMap::from([(1, promise)]);
        let seen = Seen { timeline: &timeline, errors: &[], until_ns: 60 * S };
        check(&promises, &Layout::default(), &[], seen)
    }

    #[test]
    fn leaders_that_change_once_settled_is_over_are_named() {
        assert_eq!(
            judged(vec![leads(1, 1), leads(12, 3), leads(14, 2), leads(45, 1)]),
            Verdict::Holds
        );
        let words = judged(vec![leads(12, 3), leads(16, 1), leads(39, 3)]).to_string();
        assert!(words.contains("range 2 got another leader 2 times from 15"), "{words}");
        assert!(words.contains("node 1 at 16"), "{words}");
    }

    /// A read of the past, or a write, that is served from one second to the next.
    fn served(at_s: u64, of_the_past: bool) -> Op {
        let asked = crate::history::PageAsked { at: 7, ..Default::default() };
        let call = match of_the_past {
            true => Call::Page(asked),
            false => Call::Increment { delta: 1 },
        };
        Op {
            process: at_s,
            key: "a".to_owned(),
            call,
            invoke_ns: at_s * S,
            complete_ns: Some((at_s + 1) * S),
            invoke_index: at_s,
            complete_index: Some(at_s + 1),
            outcome: OpOutcome::Ok(crate::history::Reply::Appended),
        }
    }

    #[test]
    fn while_a_majority_is_lost_the_past_alone_is_served() {
        let strike =
            Lasted { number: 1, words: "are lost", begins_ns: 10 * S, ends_ns: Some(40 * S) };
        let errors = [(15 * S, "unavailable")];
        let says = |ops: &[Op], past_only, errors: &[(u64, &str)]| {
            refused(ops, errors, &strike, past_only, 60 * S).to_string()
        };
        let (past, write) = (served(20, true), served(20, false));
        assert_eq!(says(std::slice::from_ref(&past), true, &errors), "holds");
        assert!(says(std::slice::from_ref(&past), false, &errors).contains("served although"));
        assert!(says(&[past.clone(), write], true, &errors).contains("served although"));
        assert!(says(&[served(50, true)], true, &errors).contains("no read of the past"));
        assert!(says(std::slice::from_ref(&past), true, &[]).contains("told nothing"));
        assert!(says(&[past], true, &[(15 * S, "internal")]).contains("told internal"));
    }
}
