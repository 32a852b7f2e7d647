//! Everything that is judged at the end of a run.

use std::sync::atomic::Ordering;

use crate::{
    cluster::Cluster,
    judge::{self, Verdict},
    scenario::Scenario,
    workload::Shared,
};

/// What all judges say together.
pub(super) fn judge(scenario: &Scenario, shared: &Shared, cluster: &Cluster) -> Verdict {
    let history = shared.history.lock();
    let ops = history.operations();
    // One clock may be ahead by as much as another is behind.
    let skew_ns = 2 * scenario.clocks.offset_ms_max * 1_000_000;
    let mut verdict = judge::workload(&ops, &scenario.workload.mix, skew_ns);
    for broken in cluster.broken() {
        verdict = verdict.and(Verdict::violation(broken));
    }
    let commits = shared.commits.load(Ordering::Relaxed);
    let (wanted, elected) = (&scenario.expect, cluster.elections());
    let (installed, replaced) = (cluster.snapshots(), cluster.replacements());
    let refused = cluster.refusals();
    if commits < wanted.commits_min
        || elected < wanted.elections_min
        || installed < wanted.snapshots_min
        || replaced < wanted.replacements_min
        || refused < wanted.refusals_min
    {
        let why = format!(
            "the run exercised too little: {commits} commits of {}, {elected} elections of {}, \
             {installed} raft snapshots installed of {}, {replaced} nodes replaced of {}, {refused} \
             requests refused of {}",
            wanted.commits_min,
            wanted.elections_min,
            wanted.snapshots_min,
            wanted.replacements_min,
            wanted.refusals_min
        );
        verdict = verdict.and(Verdict::violation(why));
    }
    verdict
}
