//! Where the search came furthest and got stuck, in words.

use super::{Furthest, Search, model::State};
use crate::{
    history::{Op, OpOutcome},
    judge::{
        linearizable::{expiry::NOBODY, limits::JUDGE},
        verdict::Violation,
    },
};

impl Search<'_> {
    /// Where the search came furthest, and who is concerned there.
    pub(super) fn report(&self) -> Violation {
        const CONCURRENT_MAX: usize = 12;
        let Some(Furthest { done, stuck, state, pos }) = &self.furthest else {
            return Violation::new(JUDGE, "there is no order of its operations");
        };
        let stuck = self.ops[*stuck];
        let words = format!(
            "no order explains what process {} saw. The search got to where the key is {} ({done} of \
             {} operations looked at), and this one cannot follow:",
            stuck.process,
            self.state_in_words(*state),
            self.by_complete.len(),
        );
        let mut report = Violation::new(JUDGE, words).with(stuck);
        let last = self.steps[..*pos].iter().rev().find(|step| !step.demand.only_looks());
        if let Some(last) = last {
            report = report.with_labelled("last write before: ", self.ops[last.op]);
        }
        if let Some(next) = self.steps.get(*pos).map(|step| self.ops[step.op])
            && next != stuck
        {
            report = report.with_labelled("next by version: ", next);
        }
        let asked = self.ops.iter().filter(|op| op.process != NOBODY);
        let others = asked.filter(|op| **op != stuck && op.overlaps(stuck));
        let (unknown, open): (Vec<&&Op>, Vec<&&Op>) =
            others.partition(|op| op.outcome == OpOutcome::Unknown);
        let unknown = unknown.into_iter().filter(|op| op.call.is_mutation());
        for op in open.into_iter().chain(unknown.rev()).take(CONCURRENT_MAX) {
            report = report.with_labelled("at the same time: ", op);
        }
        report.at(stuck.complete_ns.unwrap_or(stuck.invoke_ns))
    }

    fn state_in_words(&self, state: State) -> String {
        let relation = if state.exact { "" } else { "at least " };
        match state.value {
            None => "absent".to_string(),
            Some(value) => {
                format!("{:?} at {relation}version {}", self.values.text(value), state.version)
            }
        }
    }
}
