//! Everything that is judged at the end of a run.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use crate::{
    client::Recording,
    cluster::{Cluster, raft_found},
    judge::{
        Verdict, Violation,
        answered::{self, Heal},
        promise::{self, Layout, Seen},
    },
    plan::Strike,
    scenario::Scenario,
    workload::Workloads,
};

/// Leaders, of all ranges together, that a run under faults has at least.
const LEADERS_MIN: u64 = 2;
/// The judge of whether a run has exercised anything.
const EXERCISED: &str = "exercised";

/// A run that is over.
pub(super) struct Over<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) recording: &'a Recording,
    pub(super) workloads: &'a Workloads,
    pub(super) cluster: &'a Cluster,
    /// What was planned and not left out.
    pub(super) strikes: &'a [Strike],
    /// When faults were over.
    pub(super) until_ns: u64,
    /// From when on calls had to be answered, where the scenario asks for that.
    pub(super) answers: Option<Heal>,
    /// Whether nothing was left out: then it must have exercised what the scenario expects.
    pub(super) is_whole: bool,
}

impl Over<'_> {
    /// What all judges say together, but for those that judged as it went: see [`as_it_went`].
    pub(super) fn judge(&self) -> Verdict {
        let ops = self.recording.history.lock().operations();
        let skew_ns = skew_ns(self.cluster);
        let mut verdict = self.workloads.judge(&ops, skew_ns);
        for broken in self.cluster.broken() {
            verdict = verdict.and(Verdict::violation(broken));
        }
        let promises = self.strikes.iter().map(|it| (it.number, it.fault.promise.clone()));
        let promises: BTreeMap<_, _> = promises.collect();
        let layout = Layout {
            split_points: self.scenario.split_points.clone(),
            preferred: self.scenario.topology.preferred_room(),
        };
        let (timeline, errors) = (self.cluster.timeline(), self.recording.errors());
        let seen = Seen { timeline: timeline.moments(), errors: &errors, until_ns: self.until_ns };
        verdict = verdict.and(promise::check(&promises, &layout, &ops, seen));
        if let Some(heal) = self.answers {
            verdict = verdict.and(answered::check(&self.recording.history.lock(), heal));
        }
        if let Some(most) = self.scenario.expect.unknown_max {
            verdict = verdict.and(self.known(most));
        }
        if self.is_whole { verdict.and(self.exercised()) } else { verdict }
    }

    /// How many calls at most ended without anybody knowing what came of them.
    fn known(&self, most: u64) -> Verdict {
        let unknown = self.recording.unknown.load(Ordering::Relaxed);
        if unknown <= most {
            return Verdict::Holds;
        }
        let why = format!("{unknown} operations are of unknown outcome, {most} may be");
        Violation::new(EXERCISED, why).into()
    }

    /// A run that did less than it should has shown nothing.
    fn exercised(&self) -> Verdict {
        let wanted = &self.scenario.expect;
        let commits = self.recording.commits.load(Ordering::Relaxed);
        let leaders_min = if self.scenario.faults.is_empty() { 0 } else { LEADERS_MIN };
        let seen = raft_found();
        let did = [
            ("commits", commits, wanted.commits_min.max(1)),
            ("elections", self.cluster.elections(), wanted.elections_min.max(leaders_min)),
            ("observations of replicas", seen.observations, commits.min(1)),
            ("blocks of timestamps", seen.blocks, commits.min(1)),
            ("changes of the time servers", seen.time_changes, wanted.time_changes_min),
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
        let why = format!("the run exercised too little: {}", less.join(", "));
        Violation::new(EXERCISED, why).into()
    }
}

/// What the judges of Raft and of the oracle have found as the run went. That is put first: what a broken log does
/// shows in many ways later on, such as keys that can't be read.
pub(super) fn as_it_went() -> Verdict {
    raft_found().violations.into_iter().map(Verdict::from).fold(Verdict::Holds, Verdict::and)
}

/// By how much the moment of an expiry may differ from where real time has it.
///
/// Let cluster time be ahead of real time by `low` to `high` at all moments of the run: a round that begins at real
/// time `t` issues at least `t + low`, and nothing above `t + high` is issued before `t`. A value that is written
/// between `w1` and `w2` expires at a timestamp from `w1 + low + ttl` to `w2 + high + ttl`, and a read between `r1` and
/// `r2` judges by one from `r1 + low` to `r2 + high`. So the value can't be gone before `w1 + ttl - (high - low)`, and
/// can't be there after `w2 + ttl + (high - low)`. The last millisecond is for blocks that are one above another.
fn skew_ns(cluster: &Cluster) -> u64 {
    let spread = cluster.clock_spread() + std::time::Duration::from_millis(1);
    u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX)
}
