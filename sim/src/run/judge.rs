//! Everything that is judged at the end of a run.

use std::sync::atomic::Ordering;

use crate::{
    cluster::Cluster,
    judge::{Verdict, acknowledged, counter, linearizable, moment},
    scenario::Scenario,
    workload::Shared,
};

/// By how much the moment of an expiry may differ from where real time has it.
///
/// Let every wall clock be ahead of real time by `low` to `high` at all moments of the run. A reading of
/// a node's HLC at real time `t` is at least its own wall clock, so at least `t + low`; and it is a wall
/// clock's reading at some earlier time on some node, or a step above one (messages, applied times and
/// what clients carry on from an answer only hand readings on, and clients' own clocks are exact), so at
/// most `t + high`. A value that is written between `w1` and `w2` expires at a reading from
/// `w1 + low + ttl` to `w2 + high + ttl`, and a read between `r1` and `r2` judges by one from `r1 + low` to
/// `r2 + high`. So the value can't be gone before `w1 + ttl - (high - low)`, and can't be there after
/// `w2 + ttl + (high - low)`, however clocks jump and whatever their rates are: the HLC never falls, so a
/// jump back ends nothing that `high` does not cover. The last millisecond is for those steps.
fn skew_ns(cluster: &Cluster) -> u64 {
    let spread = cluster.clock_spread() + std::time::Duration::from_millis(1);
    u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX)
}

/// What all judges say together.
pub(super) fn judge(scenario: &Scenario, shared: &Shared, cluster: &Cluster) -> Verdict {
    let history = shared.history.lock();
    let ops = history.operations();
    let limits =
        linearizable::Limits { skew_ns: skew_ns(cluster), ..linearizable::Limits::default() };
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
        verdict = verdict.and(Verdict::Violation(broken));
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
        verdict = verdict.and(Verdict::Violation(why));
    }
    verdict
}
