//! The second phase of a run: no more faults, everything is mended, and then all must be well soon.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::crowd;
use crate::{
    cluster::Cluster,
    history::{Call, Outcome},
    judge::Verdict,
    scenario::Scenario,
    timeline::What,
    trace,
    workload::{Caller, INSERT_PREFIX, Shared, TTL_PREFIX},
};

/// Simulated time, after all faults have ended, until a write must be acknowledged.
const HEAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Simulated time, after that, until all replicas must be equal.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Simulated time, before that, in which a node that lost its disk must have been replaced.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(60);
/// Simulated time, after that, until every range must be led from where its leader belongs.
const HOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a condition.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// All nodes up, then: a write within [`HEAL_TIMEOUT`], the last reads of the judges, and equal
/// replicas within [`EQUAL_TIMEOUT`].
pub(super) async fn heal(
    cluster: &Arc<Cluster>,
    scenario: &Scenario,
    shared: &Arc<Shared>,
) -> anyhow::Result<Verdict> {
    cluster.mend_all();
    trace::event("phase", format_args!("heal"));
    cluster.note(What::Phase { name: "heal".to_owned() });
    // What lost its disk has no note of a drain left.
    let wiped = cluster.wiped();
    for node in cluster.nodes().into_iter().filter(|node| !wiped.contains(node)) {
        // One that was just started has to be there first.
        let undrained = within(HEAL_TIMEOUT, async || match cluster.drain(node, true).await {
            true => Ok(()),
            false => Err(format!("{node} is not undrained")),
        });
        if let Err(why) = undrained.await {
            return Ok(Verdict::Violation(why));
        }
    }
    let (machine, client) = crowd::client(cluster, &scenario.network, 201, HEAL_TIMEOUT).await?;
    let mut caller = Caller::new(shared.clone(), client);
    let keys = scenario.workload.keys;
    let mix = scenario.workload.mix.clone();
    let last_reads = machine.spawn(async move {
        let first =
            caller.call("healed", Call::Write { value: "yes".to_owned(), ttl_ms: None }).await;
        if !matches!(first, Outcome::Ok(_)) {
            return Verdict::Violation(format!(
                "no write is acknowledged within {HEAL_TIMEOUT:?} after all faults: {first:?}"
            ));
        }
        let mut reads = Vec::new();
        for key in 0..keys {
            reads.push((format!("key/{key}"), Call::Read));
            if mix.expiring() > 0 {
                reads.push((format!("{TTL_PREFIX}{key}"), Call::Read));
            }
            if mix.increment > 0 {
                reads.push((format!("counter/{key}"), Call::Read));
            }
        }
        if mix.insert > 0 {
            reads.push((INSERT_PREFIX.to_owned(), Call::Scan));
        }
        for (key, call) in reads {
            let outcome = caller.call(&key, call).await;
            if !matches!(outcome, Outcome::Ok(_)) {
                return Verdict::Violation(format!(
                    "{key} can't be read after all faults: {outcome:?}"
                ));
            }
        }
        Verdict::Holds
    });
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
            return Ok(Verdict::Violation(format!("{node} is not replaced: {why}")));
        }
    }
    // Whoever leads by then knows of the last change.
    if let Err(why) = within(HEAL_TIMEOUT, async || cluster.complete()).await {
        return Ok(Verdict::Violation(why));
    }
    let mut differ = None;
    let equal = within(EQUAL_TIMEOUT, async || {
        cluster.look();
        match cluster.replicas_equal() {
            Ok(true) => Ok(()),
            Ok(false) => Err("replicas do not come together".to_owned()),
            // Nothing that comes later makes this good.
            Err(why) => {
                differ = Some(why);
                Ok(())
            }
        }
    });
    if let Some(why) = equal.await.err().or(differ) {
        return Ok(Verdict::Violation(why));
    }
    // All replicas are caught up: from now on leaders have this long to come home.
    match within(HOME_TIMEOUT, async || cluster.led_at_home()).await {
        Ok(()) => Ok(verdict),
        Err(why) => Ok(Verdict::Violation(why)),
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
