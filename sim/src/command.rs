//! The command line of the simulator.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Parser;
use quintet_sim::{
    judge::Verdict,
    run::{Options, Report, run},
    scenario::Scenario,
    speed,
};

/// Runs a scenario of the deterministic simulation.
#[derive(Parser)]
#[command(name = "quintet-sim", max_term_width = 100)]
struct Args {
    /// The scenario, a TOML file.
    file: PathBuf,
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds, from --from on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of the seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds that run at the same time; 0 is one a core.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no further seed after so many seconds of wall time.
    #[arg(long)]
    budget_s: Option<u64>,
    /// Write the event log of the seed to a file.
    #[arg(long, requires = "seed")]
    trace: Option<PathBuf>,
    /// Write the history of the seed to a file, JSON lines in Jepsen's shape.
    #[arg(long, requires = "seed")]
    history: Option<PathBuf>,
    /// Let one draw take real entropy: shows that the determinism check can fail.
    #[arg(long, requires = "seed", hide = true)]
    real_entropy: bool,
    /// Switch a planted bug on (needs a build with the feature `planted-bugs`).
    #[arg(long)]
    bug: Option<String>,
}

pub(crate) fn main() -> ExitCode {
    if std::env::var_os("QUINTET_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_env("QUINTET_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    match try_main(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn activate(bug: &str) -> anyhow::Result<()> {
    let known = || {
        let names = quintet_server::planted::Bug::ALL.map(|(name, _)| name);
        names.join(", ")
    };
    let Some(found) = quintet_server::planted::Bug::by_name(bug) else {
        bail!("there is no planted bug {bug:?}; there are {}", known());
    };
    #[cfg(feature = "planted-bugs")]
    {
        quintet_server::planted::activate(found);
        Ok(())
    }
    #[cfg(not(feature = "planted-bugs"))]
    bail!("this build has no planted bugs in it ({found:?}): use script/sim with --bug")
}

/// Whether everything held.
fn try_main(args: Args) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("can't read {}", args.file.display()))?;
    let scenario = Scenario::parse(&text).with_context(|| format!("in {}", args.file.display()))?;
    if let Some(bug) = &args.bug {
        activate(bug)?;
    }
    quintet_sim::random::REAL_ENTROPY
        .store(args.real_entropy, std::sync::atomic::Ordering::Release);
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => args.from..args.from + args.seeds,
    };
    let campaign = Campaign {
        scenario,
        started: Instant::now(),
        next: AtomicU64::new(seeds.start),
        end: seeds.end,
        stop: AtomicBool::new(false),
        totals: Mutex::default(),
        args,
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let jobs = if campaign.args.jobs == 0 { cores } else { campaign.args.jobs };
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| campaign.work());
        }
    });
    campaign.finish()
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    commits: u64,
    elections: u64,
    faults: u64,
    snapshots: u64,
    replacements: u64,
    events: u64,
    violation: Option<(u64, String)>,
    could_not: Option<String>,
}

struct Campaign {
    args: Args,
    scenario: Scenario,
    started: Instant,
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    totals: Mutex<Totals>,
}

impl Campaign {
    fn work(&self) {
        let budget = self.args.budget_s.map(Duration::from_secs);
        loop {
            let spent = budget.is_some_and(|budget| self.started.elapsed() >= budget);
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end || spent || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let options = Options { keep_trace: self.args.trace.is_some(), ..Options::default() };
            // A thread of its own: what a run leaves in thread-locals ends with it.
            let ran = std::thread::scope(|scope| {
                scope.spawn(|| run(&self.scenario, seed, &options)).join()
            });
            let result = match ran {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("the run panicked outside the simulation")),
            };
            if let Err(error) = result.and_then(|report| self.take(seed, report)) {
                self.stop.store(true, Ordering::Relaxed);
                let mut totals = self.totals.lock().unwrap_or_else(|poison| poison.into_inner());
                totals.could_not.get_or_insert(format!("seed {seed}: {error:#}"));
            }
        }
    }

    fn take(&self, seed: u64, report: Report) -> anyhow::Result<()> {
        if let (Some(path), Some(lines)) = (&self.args.trace, &report.trace) {
            write(path, |out| Ok(out.write_all(lines.as_bytes())?))?;
        }
        if let Some(path) = &self.args.history {
            write(path, |out| Ok(report.history.write_jsonl(out)?))?;
        }
        let mut totals = self.totals.lock().unwrap_or_else(|poison| poison.into_inner());
        totals.seeds += 1;
        totals.commits += report.commits;
        totals.elections += report.elections;
        totals.snapshots += report.snapshots;
        totals.replacements += report.replacements;
        totals.events += report.events;
        totals.faults += report.faults.values().sum::<u64>();
        if self.args.seed.is_some() {
            println!(
                "seed {seed}: {} events, trace hash {:016x}",
                report.events, report.trace_hash
            );
        }
        match report.verdict {
            Verdict::Holds => Ok(()),
            Verdict::Violation(_) => {
                self.stop.store(true, Ordering::Relaxed);
                totals.violation.get_or_insert((seed, report.verdict.to_string()));
                Ok(())
            }
            Verdict::Undecided(why) => bail!("could not judge: {why}"),
        }
    }

    fn finish(self) -> anyhow::Result<bool> {
        let totals = self.totals.into_inner().unwrap_or_else(|poison| poison.into_inner());
        let wall = self.started.elapsed().as_secs_f64();
        let simulated = totals.seeds * self.scenario.duration_s;
        println!(
            "{}: {} seeds, {} simulated seconds in {wall:.1} s, {} commits, {} elections, {} faults, \
             {} raft snapshots, {} nodes replaced, {}",
            self.scenario.name,
            totals.seeds,
            simulated,
            totals.commits,
            totals.elections,
            totals.faults,
            totals.snapshots,
            totals.replacements,
            speed::told(Duration::from_secs(simulated), speed::cpu_time())
        );
        if let Some(why) = totals.could_not {
            bail!(why);
        }
        let Some((seed, why)) = totals.violation else { return Ok(true) };
        println!("VIOLATION with seed {seed}: {why}");
        let bug = self.args.bug.map(|bug| format!(" --bug {bug}")).unwrap_or_default();
        println!("reproduce: script/sim {} --seed {seed}{bug}", self.args.file.display());
        Ok(false)
    }
}

fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn std::io::Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file =
        std::fs::File::create(path).with_context(|| format!("can't write {}", path.display()))?;
    let mut out = std::io::BufWriter::new(file);
    fill(&mut out)?;
    std::io::Write::flush(&mut out).with_context(|| format!("can't write {}", path.display()))
}
