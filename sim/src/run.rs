//! One run: a scenario with a seed. Safety under faults first, then heal and look again.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use madsim::runtime::{Handle, Runtime};
use parking_lot::Mutex;
use quintet_client::{Client, v1};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    cluster::{Cluster, random},
    faults::{self, Fired},
    history::{Call, History, Outcome},
    judge::{Verdict, acknowledged, counter, linearizable, moment},
    scenario::Scenario,
    trace,
    workload::{Caller, INSERT_PREFIX, Shared, TTL_PREFIX},
};

/// Simulated time for the cluster to form.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);
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

/// What a run was and what came of it.
#[derive(Debug)]
pub struct Report {
    /// Whether everything held.
    pub verdict: Verdict,
    /// What the clients asked and saw.
    pub history: History,
    /// The event log, if it was kept.
    pub trace: Option<String>,
    /// Hash over the run's randomness, event by event.
    pub trace_hash: u64,
    /// Events in the log.
    pub events: u64,
    /// Acknowledged writes.
    pub commits: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Raft snapshots installed.
    pub snapshots: u64,
    /// Nodes replaced that had lost their disks.
    pub replacements: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Runs a scenario with a seed, on this thread. `Err`: it could not run.
pub fn run(scenario: &Scenario, seed: u64, keep_trace: bool) -> anyhow::Result<Report> {
    let mut network = madsim::Config::default();
    network.net.packet_loss_rate = scenario.network.loss;
    network.net.send_latency = Duration::from_micros(scenario.network.latency_min_us)
        ..Duration::from_micros(scenario.network.latency_max_us + 1);
    let mut runtime = Runtime::with_seed_and_config(seed, network);
    runtime.set_time_limit(Duration::from_secs(scenario.duration_s + 300));
    trace::begin(keep_trace);
    let shared = Shared::new();
    let found = Arc::new(Mutex::new(Found::default()));
    let work = drive(scenario.clone(), shared.clone(), found.clone());
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
    let (lines, trace_hash, events) = trace::end();
    if ended.is_err() {
        // A panic leaves locks held that dropping the tasks may want.
        std::mem::forget(runtime);
    } else {
        drop(runtime);
    }
    let verdict = match ended {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => return Err(error),
        Err(panic) => Verdict::violation(format!("a node panicked: {}", words(&*panic))),
    };
    let found = std::mem::take(&mut *found.lock());
    let history = std::mem::take(&mut *shared.history.lock());
    let commits = shared.commits.load(Ordering::Relaxed);
    Ok(Report {
        verdict,
        history,
        trace: lines,
        trace_hash,
        events,
        commits,
        elections: found.elections,
        snapshots: found.snapshots,
        replacements: found.replacements,
        faults: found.faults,
    })
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without words".to_owned())
}

#[derive(Default)]
struct Found {
    elections: u64,
    snapshots: u64,
    replacements: u64,
    faults: BTreeMap<&'static str, u64>,
}

/// A client on a simulated machine of its own, attached to the nodes in a rotated order.
async fn client(
    cluster: &Cluster,
    index: u64,
    timeout: Duration,
) -> anyhow::Result<(madsim::runtime::NodeHandle, Client)> {
    let octet = u8::try_from(index + 1).context("too many clients")?;
    let machine = Handle::current()
        .create_node()
        .name(format!("client-{index}"))
        .ip(std::net::IpAddr::from([10, 0, 1, octet]))
        .build();
    let mut nodes = cluster.client_addresses();
    let count = nodes.len().max(1);
    nodes.rotate_left(usize::try_from(index)? % count);
    let seed = random();
    let connecting = machine.spawn(async move {
        Client::builder().nodes(nodes).timeout(timeout).seed(Some(seed)).connect().await
    });
    let client = connecting.await.context("client")?.context("connect")?;
    Ok((machine, client))
}

async fn form(cluster: &Cluster, scenario: &Scenario) -> anyhow::Result<()> {
    let (machine, client) = client(cluster, 200, FORM_TIMEOUT).await?;
    let request = v1::InitClusterRequest {
        nodes: u32::try_from(scenario.topology.nodes.len())?,
        split_points: scenario.split_points.iter().map(|point| point.clone().into()).collect(),
        initial_ranges: u32::try_from(scenario.split_points.len())? + 1,
    };
    let forming = machine.spawn(async move { client.form_cluster(request).await });
    match timeout(FORM_TIMEOUT, forming).await {
        Ok(Ok(Ok(_))) => Ok(()),
        other => bail!("the cluster does not form: {other:?}"),
    }
}

async fn drive(
    scenario: Scenario,
    shared: Arc<Shared>,
    found: Arc<Mutex<Found>>,
) -> anyhow::Result<Verdict> {
    let cluster = Cluster::start(&scenario)?;
    form(&cluster, &scenario).await?;
    let timeout = Duration::from_millis(scenario.workload.operation_timeout_ms);
    let (mut workers, mut machines) = (Vec::new(), Vec::new());
    for index in 0..scenario.workload.clients {
        let (machine, client) = client(&cluster, index, timeout).await?;
        let caller = Caller::new(shared.clone(), client);
        workers.push(machine.spawn(caller.work(scenario.workload.clone())));
        machines.push(machine);
    }
    let fired: Fired = Arc::default();
    let inject = |fault| tokio::spawn(faults::inject(cluster.clone(), fault, fired.clone()));
    let faults: Vec<_> = scenario.faults.iter().cloned().map(inject).collect();
    let until = Instant::now() + Duration::from_secs(scenario.duration_s);
    while Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
        cluster.look();
    }
    // Wherever they are: what they leave behind is mended (`heal`), and nothing may break after that.
    faults.iter().for_each(JoinHandle::abort);
    shared.stop.store(true, Ordering::Release);
    for worker in workers {
        worker.await.context("a client")?;
    }
    let healed = heal(&cluster, &scenario, &shared).await?;
    {
        let mut found = found.lock();
        found.elections = cluster.elections();
        found.snapshots = cluster.snapshots();
        found.replacements = cluster.replacements();
        found.faults.clone_from(&fired.lock());
    }
    let verdict = healed.and(judge(&scenario, &shared, &cluster));
    // Tasks hold one another for ever unless they are killed, and with them all that the run stored.
    for machine in machines {
        Handle::current().kill(machine.id());
    }
    cluster.end().await?;
    Ok(verdict)
}

/// All nodes up, then: a write within [`HEAL_TIMEOUT`], the last reads of the judges, and equal
/// replicas within [`EQUAL_TIMEOUT`].
async fn heal(
    cluster: &Arc<Cluster>,
    scenario: &Scenario,
    shared: &Arc<Shared>,
) -> anyhow::Result<Verdict> {
    for node in cluster.nodes() {
        cluster.restart(node);
        cluster.mend(node);
    }
    trace::event("phase", format_args!("heal"));
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
    let (machine, client) = client(cluster, 201, HEAL_TIMEOUT).await?;
    let mut caller = Caller::new(shared.clone(), client);
    let keys = scenario.workload.keys;
    let mix = scenario.workload.mix.clone();
    let last_reads = machine.spawn(async move {
        let first =
            caller.call("healed", Call::Write { value: "yes".to_owned(), ttl_ms: None }).await;
        if !matches!(first, Outcome::Ok(_)) {
            return Verdict::violation(format!(
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
                return Verdict::violation(format!(
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
        return Ok(Verdict::violation(why));
    }
    // All replicas are caught up: from now on leaders have this long to come home.
    match within(HOME_TIMEOUT, async || cluster.led_at_home()).await {
        Ok(()) => Ok(verdict),
        Err(why) => Ok(Verdict::violation(why)),
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

fn judge(scenario: &Scenario, shared: &Shared, cluster: &Cluster) -> Verdict {
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
