//! What a judge says: it holds, it does not and why, or nobody can tell.
//!
//! A violation speaks in words, for whoever has to find the cause: which client read or wrote what and
//! when, and which operation it should have seen or should not. Beside the words it carries what a
//! report needs to draw the time around it: the events concerned, by their index in the history, the
//! key and the moment at which it showed. Findings of the harness itself (a node that panicked, no
//! write after the heal) are words alone: [`Verdict::violation`].

use std::fmt;

use serde::Serialize;

use crate::history::{Op, millis};

/// The judge of findings that are not from a history.
const HARNESS: &str = "harness";

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which judge says so.
    pub judge: &'static str,
    /// What is wrong: a sentence, then the operations concerned, one a line.
    pub words: String,
    /// Indexes in the history of the events concerned, rising.
    pub events: Vec<u64>,
    /// The key concerned, if it is one.
    pub key: Option<String>,
    /// When it showed, in simulated time; `None` if that is not known.
    pub at_ns: Option<u64>,
}

impl Violation {
    /// Words alone, so far.
    pub fn new(judge: &'static str, words: impl Into<String>) -> Violation {
        Violation { judge, words: words.into(), events: Vec::new(), key: None, at_ns: None }
    }

    /// Adds a line with an operation that it is about. It showed when the last of them was over, if
    /// [`Violation::at`] says nothing else.
    #[must_use]
    pub fn with(self, op: &Op) -> Violation {
        self.with_labelled("", op)
    }

    /// As [`Violation::with`], the line beginning with what the operation has to do with it.
    #[must_use]
    pub fn with_labelled(mut self, label: &str, op: &Op) -> Violation {
        self.words.push_str(&format!("\n  {label}{op}"));
        self.events.extend([Some(op.invoke_index), op.complete_index].into_iter().flatten());
        self.events.sort_unstable();
        self.events.dedup();
        self.at_ns = self.at_ns.max(Some(op.complete_ns.unwrap_or(op.invoke_ns)));
        self
    }

    /// Sets when it showed.
    #[must_use]
    pub fn at(mut self, at_ns: u64) -> Violation {
        self.at_ns = Some(at_ns);
        self
    }

    /// Sets the key, and begins the words with what is said of it.
    #[must_use]
    pub fn of_key(mut self, key: &str, begin: &str) -> Violation {
        self.key = Some(key.to_owned());
        self.words.insert_str(0, begin);
        self
    }
}

/// `at 812.345 ms: key "a" is not linearizable: …`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at_ns) = self.at_ns {
            write!(f, "at {} ms: ", millis(at_ns))?;
        }
        f.write_str(&self.words)
    }
}

/// What a judge found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The history fulfils what this judge demands.
    Holds,
    /// It does not. Never empty.
    Violation(Vec<Violation>),
    /// It could not be judged, and why. Never a pass.
    Undecided(String),
}

impl Verdict {
    /// A violation in plain words, found by the harness.
    pub fn violation(words: impl Into<String>) -> Verdict {
        Violation::new(HARNESS, words).into()
    }

    /// Did it hold?
    pub fn holds(&self) -> bool {
        matches!(self, Verdict::Holds)
    }

    /// The violations, if it is that.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Verdict::Violation(violations) => violations,
            _ => &[],
        }
    }

    /// Both verdicts in one: a violation outweighs "undecided", which outweighs "holds".
    #[must_use]
    pub fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Violation(mut a), Verdict::Violation(b)) => {
                a.extend(b);
                Verdict::Violation(a)
            }
            (violation @ Verdict::Violation(_), _) | (_, violation @ Verdict::Violation(_)) => {
                violation
            }
            (Verdict::Undecided(a), Verdict::Undecided(b)) => {
                Verdict::Undecided(format!("{a}\n{b}"))
            }
            (undecided @ Verdict::Undecided(_), _) | (_, undecided @ Verdict::Undecided(_)) => {
                undecided
            }
            (Verdict::Holds, Verdict::Holds) => Verdict::Holds,
        }
    }
}

impl From<Violation> for Verdict {
    fn from(violation: Violation) -> Verdict {
        Verdict::Violation(vec![violation])
    }
}

impl From<Option<Violation>> for Verdict {
    fn from(violation: Option<Violation>) -> Verdict {
        violation.map_or(Verdict::Holds, Verdict::from)
    }
}

/// In words, a violation after the other.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Holds => f.write_str("holds"),
            Verdict::Undecided(why) => write!(f, "could not be judged: {why}"),
            Verdict::Violation(violations) => {
                for (position, violation) in violations.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "\n" };
                    write!(f, "{separator}{violation}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, OpOutcome};

    fn read(process: u64, begin: u64, end: Option<u64>) -> Op {
        Op {
            process,
            key: "a".to_owned(),
            call: Call::Read,
            invoke_ns: begin * 1_000_000,
            complete_ns: end.map(|end| end * 1_000_000),
            invoke_index: begin,
            complete_index: end,
            outcome: end.map_or(OpOutcome::Unknown, |_| OpOutcome::Failed),
        }
    }

    #[test]
    fn a_violation_says_who_and_when_and_which_events() {
        let violation = Violation::new("linearizable", "wrong")
            .with(&read(3, 4, Some(9)))
            .with_labelled("beside: ", &read(5, 7, None))
            .of_key("a", "key \"a\": ");
        assert_eq!(violation.events, [4, 7, 9]);
        assert_eq!(violation.at_ns, Some(9_000_000));
        assert_eq!(violation.key.as_deref(), Some("a"));
        assert_eq!(
            violation.to_string(),
            "at 9.000 ms: key \"a\": wrong\n  process 3 reads \"a\" -> not done (4.000 .. 9.000 ms, \
             events 4 and 9)\n  beside: process 5 reads \"a\" -> outcome unknown (from 7.000 ms, \
             event 7)"
        );
        assert_eq!(violation.at(5).at_ns, Some(5));
    }

    #[test]
    fn a_violation_outweighs_all_else() {
        let undecided = Verdict::Undecided("why".to_owned());
        let violated = Verdict::violation("a").and(undecided.clone()).and(Verdict::Holds);
        assert_eq!(violated, Verdict::violation("a"));
        assert_eq!(Verdict::Holds.and(undecided.clone()), undecided);
        let both = violated.and(Verdict::violation("b"));
        assert_eq!(both.violations().len(), 2);
        assert_eq!(both.to_string(), "a\nb");
        assert!(Verdict::Holds.and(Verdict::Holds).holds());
    }
}
