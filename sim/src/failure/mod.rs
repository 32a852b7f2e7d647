//! What is shown of a run that failed.
//!
//! ```text
//! report.history, timeline, trace ──> Failure ──> text.rs      a time line for the terminal
//!                                        │   ──> page.rs      one HTML page
//!                                        │          diagram/  with a space-time diagram
//!                                        └─ window.rs, frames.rs, mod.rs: what of it, and how it is said
//! ```
//!
//! Pure: it is told everything and runs nothing. All times are simulated.

mod diagram;
mod frames;
mod page;
mod text;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::{History, Op},
    judge::Violation,
    scenario::Scenario,
    timeline::Moment,
};

pub use self::{
    frames::{Frame, frames},
    page::page,
    text::time_line,
    window::Window,
};

/// A run that failed.
pub struct Failure<'a> {
    /// Its scenario, as it was run.
    pub scenario: &'a Scenario,
    /// Its seed.
    pub seed: u64,
    /// The command that runs it again.
    pub command: String,
    /// The command of the whole run, where this is a smaller one.
    pub whole: Option<String>,
    /// What is wrong; the first is what it is about.
    pub violations: &'a [Violation],
    /// What clients asked and saw.
    pub history: &'a History,
    /// Which client each process of the history was.
    pub clients: &'a BTreeMap<u64, u64>,
    /// Faults, nodes, leaders.
    pub timeline: &'a [Moment],
    /// When everything was over, in nanoseconds.
    pub end_ns: u64,
}

/// An operation, and what it has to do with the failure.
struct Shown {
    op: Op,
    /// When whoever asked knew how it ended, or that nobody knows; `None`: never.
    told_ns: Option<u64>,
    client: u64,
    concern: Concern,
}

/// How much an operation has to do with the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    /// Nothing.
    None,
    /// It is on the key.
    Key,
    /// The judge names it.
    Named,
}

impl Failure<'_> {
    /// All operations, in the order in which they were asked.
    fn operations(&self) -> Vec<Shown> {
        let keys: BTreeSet<_> = self.violations.iter().filter_map(|v| v.key.as_deref()).collect();
        let named: BTreeSet<u64> =
            self.violations.iter().flat_map(|violation| violation.events.iter().copied()).collect();
        let ends = self.history.ends();
        let shown = self.history.operations().into_iter().map(|op| {
            let concern = if named.contains(&op.invoke_index) {
                Concern::Named
            } else if keys.contains(op.key.as_str()) {
                Concern::Key
            } else {
                Concern::None
            };
            let client = self.clients.get(&op.process).copied().unwrap_or(op.process);
            let told_ns = op.complete_ns.or_else(|| ends.get(&op.invoke_index).copied());
            Shown { told_ns, client, concern, op }
        });
        shown.collect()
    }
}

/// An operation in two halves: what was asked, and what came of it.
fn halves(op: &Op) -> (String, String) {
    let whole = op.to_string();
    let (asked, told) = whole.split_once(" -> ").unwrap_or((&whole, "?"));
    let told = told.rsplit_once(" (").map_or(told, |(told, _)| told);
    (asked.to_owned(), told.to_owned())
}

/// Nanoseconds as milliseconds, for people.
fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests;
