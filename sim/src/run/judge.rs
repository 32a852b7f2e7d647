//! Everything that is judged at the end of a run.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use crate::{
    cluster::{Cluster, raft_found},
    judge::{
        self, Verdict,
        promise::{Layout, Seen},
    },
    plan::Strike,
    scenario::Scenario,
    workload::Shared,
};

/// A run that is over.
pub(super) struct Over<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) shared: &'a Shared,
    pub(super) cluster: &'a Cluster,
    /// What was planned and not left out.
    pub(super) strikes: &'a [Strike],
    /// When faults were over.
    pub(super) until_ns: u64,
    /// Whether nothing was left out: then it must have exercised what the scenario expects.
    pub(super) is_whole: bool,
}

impl Over<'_> {
    /// What all judges say together.
    pub(super) fn judge(&self) -> Verdict {
        let ops = self.shared.history.lock().operations();
        // One clock may be ahead by as much as another is behind.
        let skew_ns = 2 * self.scenario.clocks.offset_ms_max * 1_000_000;
        let mut verdict = judge::workload(&ops, &self.scenario.workload.mix, skew_ns);
        for broken in self.cluster.broken() {
            verdict = verdict.and(Verdict::violation(broken));
        }
        for broken in raft_found().0 {
            verdict = verdict.and(broken.into());
        }
        let promises = self.strikes.iter().map(|it| (it.number, it.fault.promise.clone()));
        let promises: BTreeMap<_, _> = promises.collect();
        let layout = Layout {
            split_points: self.scenario.split_points.clone(),
            preferred: self.scenario.topology.preferred_room(),
        };
        let (timeline, errors) = (self.cluster.timeline(), self.shared.errors());
        let seen = Seen { timeline: timeline.moments(), errors: &errors, until_ns: self.until_ns };
        verdict = verdict.and(judge::promise::check(&promises, &layout, &ops, seen));
        if self.is_whole { verdict.and(self.exercised()) } else { verdict }
    }

    /// A run that did less than it should has shown nothing.
    fn exercised(&self) -> Verdict {
        let wanted = &self.scenario.expect;
        let commits = self.shared.commits.load(Ordering::Relaxed);
        let did = [
            ("commits", commits, wanted.commits_min),
            ("elections", self.cluster.elections(), wanted.elections_min),
            ("observations of replicas", raft_found().1, commits.min(1)),
            ("raft snapshots installed", self.cluster.snapshots(), wanted.snapshots_min),
            ("nodes replaced", self.cluster.replacements(), wanted.replacements_min),
            ("requests refused", self.cluster.refusals(), wanted.refusals_min),
        ];
        let less: Vec<_> = did
            .iter()
            .filter(|(_, done, least)| done < least)
            .map(|(what, done, least)| format!("{done} {what} of {least}"))
            .collect();
        if less.is_empty() {
            return Verdict::Holds;
        }
        Verdict::violation(format!("the run exercised too little: {}", less.join(", ")))
    }
}
