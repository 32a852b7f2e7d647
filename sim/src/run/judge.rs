//! Everything that is judged at the end of a run.

use std::sync::atomic::Ordering;

use crate::{
    cluster::Cluster,
    judge::{Verdict, Violation, acknowledged, counter, linearizable, moment},
    plan::Reduced,
    scenario::Scenario,
    workload::Shared,
};

/// Leaders, of all ranges together, that a run under faults has at least.
const LEADERS_MIN: u64 = 2;
/// The judge of whether a run has exercised anything.
const EXERCISED: &str = "exercised";

/// What all judges say together.
pub(super) fn judge(
    scenario: &Scenario,
    reduced: &Reduced,
    shared: &Shared,
    cluster: &Cluster,
) -> Verdict {
    let history = shared.history.lock();
    let ops = history.operations();
    let limits = linearizable::Limits {
        // One clock may be ahead by as much as another is behind.
        skew_ns: 2 * scenario.clocks.offset_ms_max * 1_000_000,
        ..linearizable::Limits::default()
    };
    let mut verdict = linearizable::check_within(&ops, limits);
    if scenario.workload.mix.insert > 0 {
        verdict = verdict.and(acknowledged::check(&ops));
    }
    if scenario.workload.mix.scan > 0 {
        verdict = verdict.and(moment::check(&ops));
    }
    if scenario.workload.mix.increment > 0 {
        verdict = verdict.and(counter::check(&ops));
    }
    for broken in cluster.broken() {
        verdict = verdict.and(Verdict::violation(broken));
    }
    // What is left of a run that was made smaller on purpose need not do as much as a whole one.
    if reduced.is_whole()
        && let Some(why) = exercised(scenario, shared, cluster)
    {
        verdict = verdict.and(Violation::new(EXERCISED, why).into());
    }
    verdict
}

/// What a run should have done and has not: one that exercised nothing has shown nothing.
fn exercised(scenario: &Scenario, shared: &Shared, cluster: &Cluster) -> Option<String> {
    let commits = shared.commits.load(Ordering::Relaxed);
    let (wanted, elected) = (&scenario.expect, cluster.elections());
    let leaders_min = if scenario.faults.is_empty() { 0 } else { LEADERS_MIN };
    if commits == 0 || elected < leaders_min {
        return Some(format!(
            "the run exercised nothing: {commits} commits, {elected} leaders elected"
        ));
    }
    let (installed, replaced) = (cluster.snapshots(), cluster.replacements());
    let refused = cluster.refusals();
    let enough = commits >= wanted.commits_min
        && elected >= wanted.elections_min
        && installed >= wanted.snapshots_min
        && replaced >= wanted.replacements_min
        && refused >= wanted.refusals_min;
    (!enough).then(|| {
        format!(
            "the run exercised too little: {commits} commits of {}, {elected} elections of {}, \
             {installed} raft snapshots installed of {}, {replaced} nodes replaced of {}, {refused} \
             requests refused of {}",
            wanted.commits_min,
            wanted.elections_min,
            wanted.snapshots_min,
            wanted.replacements_min,
            wanted.refusals_min
        )
    })
}
