//! One run: a scenario with a seed. Safety under faults first, then heal and look again.
//!
//! ```text
//! start nodes, form the cluster, set up      work, under faults      heal.rs          judge.rs
//! ----------------------------------------|-----------------------|----------------|------------
//!                                          ^ the plan's strikes     ^ all are aborted, and mended
//! ```
//!
//! Everything is on one thread and draws from one generator, so that a seed means one run. A panic anywhere is a
//! violation (`panic.rs`); what could not be run at all is an error. A run ends only when all of its tasks are gone.

mod heal;
mod judge;
mod panic;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use madsim::runtime::Runtime;
use parking_lot::Mutex;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    client::{Recording, Seams},
    cluster::{self, Cluster},
    crowd::{self, Crowd},
    faults::{self, Fired},
    history::History,
    judge::{Verdict, answered::Heal},
    plan::{self, Reduced},
    random::random,
    scenario::Scenario,
    timeline::{Timeline, What},
    trace,
    workload::Workloads,
};

/// Between two looks at who leads.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep the event log.
    pub keep_trace: bool,
    /// What is left out.
    pub reduced: Reduced,
}

/// What a run was and what came of it.
#[derive(Debug)]
pub struct Report {
    /// Whether everything held.
    pub verdict: Verdict,
    /// What the clients asked and saw.
    pub history: History,
    /// Which client each process of the history was.
    pub clients: BTreeMap<u64, u64>,
    /// The event log, if it was kept.
    pub trace: Option<String>,
    /// Hash over the run's randomness, event by event.
    pub trace_hash: u64,
    /// Events in the log.
    pub events: u64,
    /// Acknowledged writes.
    pub commits: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Raft snapshots installed.
    pub snapshots: u64,
    /// Nodes replaced that had lost their disks.
    pub replacements: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What happened, for people.
    pub timeline: Timeline,
    /// Simulated time, from the beginning to the end of everything.
    pub simulated: Duration,
}

/// Runs a scenario with a seed, on this thread. `Err`: it could not run.
pub fn run(scenario: &Scenario, seed: u64, options: &Options) -> anyhow::Result<Report> {
    let scenario = &options.reduced.of(scenario);
    let mut network = madsim::Config::default();
    // All that takes longer is done by `net`.
    network.net.send_latency = Duration::from_micros(50)..Duration::from_micros(150);
    let mut runtime = Runtime::with_seed_and_config(seed, network);
    runtime.set_time_limit(Duration::from_secs(scenario.duration_s + 300));
    trace::begin(options.keep_trace);
    let recording = Recording::new(Seams {
        now_ns: Arc::new(now_ns),
        random: Arc::new(random),
        slowest_clock: scenario.slowest_clock(),
    });
    let found = Arc::new(Mutex::new(Found::default()));
    let work = Work {
        scenario: scenario.clone(),
        seed,
        reduced: options.reduced.clone(),
        recording: recording.clone(),
        workloads: Arc::new(Workloads::of(&scenario.workload)),
        found: found.clone(),
    };
    let work = work.drive();
    let ended = panic::watched(|| runtime.block_on(work));
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
        // What replicas did before may say why.
        Err(panicked) => judge::as_it_went().and(Verdict::violation(panic::sentence(&*panicked))),
    };
    let found = std::mem::take(&mut *found.lock());
    let history = std::mem::take(&mut *recording.history.lock());
    let clients = std::mem::take(&mut *recording.clients.lock());
    let commits = recording.commits.load(Ordering::Relaxed);
    let unknown = recording.unknown.load(Ordering::Relaxed);
    Ok(Report {
        verdict,
        history,
        clients,
        trace: lines,
        trace_hash,
        events,
        commits,
        unknown,
        elections: found.elections,
        snapshots: found.snapshots,
        replacements: found.replacements,
        faults: found.faults,
        timeline: found.timeline,
        simulated: found.simulated,
    })
}

fn now_ns() -> u64 {
    u64::try_from(madsim::time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What is found on the way; whatever ends the run, it is there.
#[derive(Default)]
struct Found {
    elections: u64,
    snapshots: u64,
    replacements: u64,
    faults: BTreeMap<&'static str, u64>,
    timeline: Timeline,
    simulated: Duration,
}

impl Found {
    fn note(&mut self, cluster: &Cluster, fired: &Fired) {
        self.elections = cluster.elections();
        self.snapshots = cluster.snapshots();
        self.replacements = cluster.replacements();
        self.faults.clone_from(&fired.lock());
        self.timeline = cluster.timeline();
        self.simulated = madsim::time::TimeHandle::current().elapsed();
    }
}

/// A run under way.
struct Work {
    scenario: Scenario,
    seed: u64,
    reduced: Reduced,
    recording: Arc<Recording>,
    workloads: Arc<Workloads>,
    found: Arc<Mutex<Found>>,
}

impl Work {
    async fn drive(self) -> anyhow::Result<Verdict> {
        let Work { scenario, recording, workloads, .. } = &self;
        cluster::draw_sizes(self.seed, scenario.limits.sizes);
        let cluster = Cluster::start(scenario)?;
        crowd::form(&cluster, scenario).await?;
        crowd::set_up(&cluster, scenario, recording, workloads).await?;
        let steps = self.reduced.operations;
        let crowd = Crowd::start(&cluster, scenario, recording, workloads, steps).await?;
        cluster.note(What::Phase { name: "work".to_owned() });
        let began = Instant::now();
        let fired: Fired = Arc::default();
        let strikes = plan::strikes_left(scenario, self.seed, &self.reduced);
        let strike = |strike| {
            let (cluster, crowd) = (cluster.clone(), crowd.clone());
            tokio::spawn(faults::strike(cluster, crowd, fired.clone(), began, strike))
        };
        let striking: Vec<_> = strikes.iter().cloned().map(strike).collect();
        let until = began + Duration::from_secs(scenario.duration_s);
        while Instant::now() < until {
            sleep(LOOK_PAUSE).await;
            cluster.look();
            self.found.lock().note(&cluster, &fired);
        }
        // Wherever they are: what they leave behind is mended (`heal`), and nothing may break after
        // that.
        striking.iter().for_each(JoinHandle::abort);
        let until_ns = now_ns();
        let mut answers = None;
        if let Some(within_s) = scenario.expect.answered_s {
            cluster.mend_all();
            let (mended_ns, within) = (now_ns(), Duration::from_secs(within_s));
            // Those asked last have to be answered in time, too.
            sleep(2 * within).await;
            let within_ns = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            answers = Some(Heal { mended_ns, within_ns, until_ns: now_ns() });
        }
        crowd.stop().await?;
        let healed = heal::heal(&cluster, scenario, recording, workloads).await?;
        self.found.lock().note(&cluster, &fired);
        let over = judge::Over {
            scenario,
            recording,
            workloads,
            cluster: &cluster,
            strikes: &strikes,
            until_ns,
            answers,
            is_whole: self.reduced.is_whole(),
        };
        // What a broken log does shows in many ways later on, which say less.
        let verdict = judge::as_it_went().and(healed).and(over.judge());
        match cluster.end().await {
            // What was found comes before what is left of the run.
            Err(left) if verdict.holds() => Err(left),
            _ => Ok(verdict),
        }
    }
}
