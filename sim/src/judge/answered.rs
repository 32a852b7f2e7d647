//! Is every call answered once all faults have ended?
//!
//! A call that nobody answers is of unknown outcome to every other judge, which explains it away, even
//! where its range serves all the time: its answer was lost, or it waits for something that never comes.
//! While faults go on nobody can tell that from a cut. After they have ended everything is there, and then
//! a cluster owes every caller an answer:
//!
//! ```text
//!   faults      |mended           |mended + within                |until
//!   ------------|-----------------|-------------------------------|
//!      a call that is open here is answered by here; what is asked later, within as long;
//!                                 and from here on nobody gives up
//! ```
//!
//! A caller that gives up says so itself: its outcome is unknown, or, of what changes nothing, a failure. An
//! append that failed was refused.

use super::verdict::{Verdict, Violation};
use crate::history::{Call, History, Op, OpOutcome, millis};

/// The name of this judge.
const JUDGE: &str = "answered";
/// Calls that are named.
const NAMED_MAX: usize = 3;

/// When what is owed.
#[derive(Clone, Copy, Debug)]
pub struct Heal {
    /// When all faults had ended and everything was mended.
    pub mended_ns: u64,
    /// Within how long calls have to be answered.
    pub within_ns: u64,
    /// When clients were told to stop.
    pub until_ns: u64,
}

/// Judges the calls of a run whose clients went on working after all faults had ended.
pub fn check(history: &History, heal: Heal) -> Verdict {
    let ends = history.ends();
    let broken: Vec<Violation> = history
        .operations()
        .iter()
        .filter_map(|op| not_answered(op, ends.get(&op.invoke_index).copied(), heal))
        .collect();
    let many = broken.len();
    let mut verdict = broken.into_iter().take(NAMED_MAX).map(Verdict::from);
    let first = verdict.by_ref().fold(Verdict::Holds, Verdict::and);
    match many.checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        Some(more) => {
            let words = format!("{more} further calls were not answered, {many} in all");
            first.and(Violation::new(JUDGE, words).into())
        }
        None => first,
    }
}

fn not_answered(op: &Op, ended_ns: Option<u64>, heal: Heal) -> Option<Violation> {
    let Heal { mended_ns, within_ns, until_ns } = heal;
    let due_ns = op.invoke_ns.max(mended_ns).saturating_add(within_ns);
    let gave_up = match (&op.call, &op.outcome) {
        (_, OpOutcome::Unknown) => true,
        (Call::Append { .. }, _) => false,
        (_, outcome) => *outcome == OpOutcome::Failed,
    };
    let late = ended_ns.is_none_or(|ended| ended > due_ns) && due_ns <= until_ns;
    let settled_ns = mended_ns.saturating_add(within_ns);
    let in_vain = gave_up && ended_ns.is_some_and(|ended| (settled_ns..=until_ns).contains(&ended));
    let words = match ended_ns {
        _ if !late && !in_vain => return None,
        Some(ended) if gave_up => format!(
            "process {} gave up at {} ms, although all faults had ended at {} ms",
            op.process,
            millis(ended),
            millis(mended_ns)
        ),
        Some(_) | None => format!(
            "process {} was not answered until {} ms, although all faults had ended at {} ms",
            op.process,
            millis(due_ns),
            millis(mended_ns)
        ),
    };
    let at_ns = ended_ns.unwrap_or(due_ns);
    let violation = Violation::new(JUDGE, words).with(op).at(at_ns);
    Some(Violation { key: Some(op.key.clone()), ..violation })
}
