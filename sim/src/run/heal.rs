//! The second phase of a run: no more faults, everything is mended, and then all must be well soon.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Caller, Recording},
    cluster::{Cluster, Difference},
    crowd,
    judge::{Verdict, Violation, replicas::Together},
    scenario::Scenario,
    timeline::What,
    trace,
    workload::{self, Workloads},
};

/// Simulated time, after all faults have ended, until a write must be acknowledged.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// Simulated time, after that, for each of the last reads, and for what operators do.
const HEAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Simulated time, after that, until all replicas must be equal.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Simulated time, before that, in which a node that lost its disk must have been replaced.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(60);
/// Simulated time, after that, until every range must be led from where its leader belongs.
const HOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a condition.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// All nodes up, then: a write within [`WRITE_TIMEOUT`], the last reads of the judges, and equal
/// replicas within [`EQUAL_TIMEOUT`].
pub(super) async fn heal(
    cluster: &Arc<Cluster>,
    scenario: &Scenario,
    recording: &Arc<Recording>,
    workloads: &Arc<Workloads>,
) -> anyhow::Result<Verdict> {
    cluster.mend_all();
    trace::event("phase", format_args!("heal"));
    cluster.note(What::Phase { name: "heal".to_owned() });
    // What an operator was about to do when the faults ended, an operator does.
    let recovered = within(HEAL_TIMEOUT, async || {
        let asked = cluster.up().into_iter().find(|node| !cluster.wiped().contains(node));
        match asked {
            _ if !cluster.is_time_lost() => Ok(()),
            Some(asked) if cluster.recover_time(asked).await => Ok(()),
            _ => Err("time is not begun anew".to_owned()),
        }
    });
    if let Err(why) = recovered.await {
        return Ok(Verdict::violation(why));
    }
    let until = Instant::now() + WRITE_TIMEOUT;
    let (machine, client) = crowd::client(cluster, &scenario.network, 201, HEAL_TIMEOUT).await?;
    let mut caller = Caller::new(recording.clone(), client);
    let left = until.saturating_duration_since(Instant::now());
    let writing =
        machine.spawn(async move { (workload::first_write(&mut caller, left).await, caller) });
    let (written, caller) = writing.await.context("the first write")?;
    if !written.holds() {
        return Ok(written);
    }
    // What lost its disk has no note of a drain left.
    let wiped = cluster.wiped();
    for node in cluster.nodes().into_iter().filter(|node| !wiped.contains(node)) {
        // One that was just started has to be there first.
        let undrained = within(HEAL_TIMEOUT, async || match cluster.drain(node, true).await {
            true => Ok(()),
            false => Err(format!("{node} is not undrained")),
        });
        if let Err(why) = undrained.await {
            return Ok(Verdict::violation(why));
        }
    }
    let last_reads = machine.spawn(workload::last_reads(caller, workloads.clone()));
    let verdict = last_reads.await.context("the last reads")?;
    if !verdict.holds() {
        return Ok(verdict);
    }
    for node in cluster.wiped() {
        let replaced = within(REPLACE_TIMEOUT, async || {
            let asked = cluster.up().into_iter().find(|asked| *asked != node);
            cluster.replace(node, asked.unwrap_or(node)).await
        });
        if let Err(why) = replaced.await {
            return Ok(Verdict::violation(format!("{node} is not replaced: {why}")));
        }
    }
    // Whoever leads by then knows of the last change.
    if let Err(why) = within(HEAL_TIMEOUT, async || cluster.complete()).await {
        return Ok(Verdict::violation(why));
    }
    let mut differ = None;
    let equal = within(EQUAL_TIMEOUT, async || {
        cluster.look();
        match cluster.together() {
            Together::Equal => Ok(()),
            Together::NotYet(why) => Err(format!("replicas do not come together: {why}")),
            // Nothing that comes later makes this good.
            Together::Differ(violation) => {
                differ = Some(violation);
                Ok(())
            }
        }
    });
    if let Err(why) = equal.await {
        return Ok(Verdict::violation(why));
    }
    if let Some(violation) = differ {
        return Ok(with_difference(violation, cluster, recording).into());
    }
    // All replicas are caught up: from now on leaders have this long to come home.
    match within(HOME_TIMEOUT, async || cluster.led_at_home()).await {
        Ok(()) => Ok(verdict),
        Err(why) => Ok(Verdict::violation(why)),
    }
}

/// Names the first record that differs, and who wrote it.
fn with_difference(violation: Violation, cluster: &Cluster, recording: &Recording) -> Violation {
    let Some(Difference { words, key, version }) = cluster.difference() else { return violation };
    let words = format!("{}\n  {words}", violation.words);
    let violation = Violation { words, key, ..violation };
    let ops = recording.history.lock().operations();
    match ops.iter().find(|op| version.is_some() && op.version_made() == version) {
        Some(writer) => violation.with_labelled("who wrote it: ", writer),
        None => violation,
    }
}

/// Looks until something is so; once the time is over, what was said last is why not.
async fn within(
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<(), String>,
) -> Result<(), String> {
    let until = Instant::now() + timeout;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() >= until => return Err(format!("{why}, for {timeout:?}")),
            Err(_) => sleep(LOOK_PAUSE).await,
        }
    }
}
