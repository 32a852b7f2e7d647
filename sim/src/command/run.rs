//! `run FILE`: a scenario with one seed or many.
//!
//! Threads take one seed after the other; a run is on one thread from its beginning to its end. The first violation
//! ends all: of several that show at about the same time the lowest seed is told, with the command that reproduces
//! it.

use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use quintet_sim::{
    judge::Verdict,
    plan::{Reduced, parse_numbers},
    run::{Options, Report},
    scenario::Scenario,
    speed,
};

use super::{
    explain::{Failing, Settings},
    file::write,
    seed,
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The scenario, a TOML file.
    file: PathBuf,
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run N seeds, from --from on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of the seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds that run at the same time; 0 is one a core.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no further seed after N seconds of wall time.
    #[arg(long)]
    budget_s: Option<u64>,
    /// Leave these strikes out, by their numbers, such as 1-3,7 (`show` lists them).
    #[arg(long, requires = "seed", value_name = "NUMBERS")]
    without: Option<String>,
    /// Let only N clients work.
    #[arg(long)]
    clients: Option<u64>,
    /// Let each client do N operations, then stop.
    #[arg(long)]
    operations: Option<u64>,
    /// End work and faults after N simulated seconds.
    #[arg(long)]
    duration_s: Option<u64>,
    /// Write the event log of the seed to a file.
    #[arg(long, requires = "seed", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the history of the seed to a file, JSON lines in Jepsen's shape.
    #[arg(long, requires = "seed", value_name = "FILE")]
    history: Option<PathBuf>,
    /// Write faults, nodes and leaders of the seed to a file, JSON lines.
    #[arg(long, requires = "seed", value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Where the page about a violation goes [default: target/sim-failures/SCENARIO-SEED.html].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the verdict and the command of a violation, and no more.
    #[arg(long, conflicts_with_all = ["report", "shrink"])]
    no_report: bool,
    /// Look for a smaller run that fails alike [default: where many seeds are run, without --bug].
    #[arg(long)]
    shrink: bool,
    /// Look for none.
    #[arg(long, conflicts_with = "shrink")]
    no_shrink: bool,
    /// Wall seconds for that.
    #[arg(long, default_value_t = 60)]
    shrink_s: u64,
    /// Let one draw take real entropy: shows that the determinism check can fail.
    #[arg(long, requires = "seed", hide = true)]
    real_entropy: bool,
    /// Switch a planted bug on (needs a build with the feature `planted-bugs`).
    #[arg(long)]
    bug: Option<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<bool> {
    let scenario = seed::load(&args.file)?;
    if let Some(bug) = &args.bug {
        seed::plant(bug)?;
    }
    quintet_sim::random::REAL_ENTROPY.store(args.real_entropy, Ordering::Release);
    let without = args.without.as_deref().map(parse_numbers).transpose();
    let reduced = Reduced {
        without: without.map_err(|why| anyhow::anyhow!("--without: {why}"))?.unwrap_or_default(),
        clients: args.clients,
        operations: args.operations,
        duration_s: args.duration_s,
    };
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => args.from..args.from + args.seeds,
    };
    let jobs = seed::jobs(args.jobs);
    let look = Look {
        scenario,
        reduced,
        started: Instant::now(),
        next: AtomicU64::new(seeds.start),
        end: seeds.end,
        stop: AtomicBool::new(false),
        totals: Mutex::default(),
        args,
    };
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| look.work());
        }
    });
    look.finish()
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    commits: u64,
    unknown: u64,
    elections: u64,
    faults: u64,
    snapshots: u64,
    replacements: u64,
    violation: Option<(u64, String)>,
    could_not: Option<String>,
}

/// A look for violations, seed by seed.
struct Look {
    args: Args,
    scenario: Scenario,
    reduced: Reduced,
    started: Instant,
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    totals: Mutex<Totals>,
}

impl Look {
    fn work(&self) {
        let budget = self.args.budget_s.map(Duration::from_secs);
        loop {
            let spent = budget.is_some_and(|budget| self.started.elapsed() >= budget);
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end || spent || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let options =
                Options { keep_trace: self.args.trace.is_some(), reduced: self.reduced.clone() };
            let ran = seed::one(&self.scenario, seed, &options);
            if let Err(error) = ran.and_then(|report| self.take(seed, report)) {
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
        if let Some(path) = &self.args.timeline {
            write(path, |out| Ok(report.timeline.write_jsonl(out)?))?;
        }
        let mut totals = self.totals.lock().unwrap_or_else(|poison| poison.into_inner());
        totals.seeds += 1;
        totals.commits += report.commits;
        totals.unknown += report.unknown;
        totals.elections += report.elections;
        totals.snapshots += report.snapshots;
        totals.replacements += report.replacements;
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
                // Of several that end at about the same time the lowest seed.
                let known = totals.violation.as_ref().map_or(u64::MAX, |(known, _)| *known);
                if seed < known {
                    totals.violation = Some((seed, report.verdict.to_string()));
                }
                Ok(())
            }
            Verdict::Undecided(why) => bail!("could not judge: {why}"),
        }
    }

    fn finish(self) -> anyhow::Result<bool> {
        let totals = self.totals.into_inner().unwrap_or_else(|poison| poison.into_inner());
        let wall = self.started.elapsed().as_secs_f64();
        let simulated = totals.seeds * self.reduced.of(&self.scenario).duration_s;
        println!(
            "{}: {} seeds, {} simulated seconds in {wall:.1} s, {} commits, {} of unknown outcome, \
             {} elections, {} faults, {} raft snapshots, {} nodes replaced, {}",
            self.scenario.name,
            totals.seeds,
            simulated,
            totals.commits,
            totals.unknown,
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
        let args = &self.args;
        let failing = Failing {
            scenario: &self.scenario,
            file: &args.file,
            seed,
            reduced: self.reduced,
            bug: args.bug.as_deref(),
        };
        // The second run would have no real entropy in it.
        if args.no_report || args.real_entropy {
            println!("reproduce: {}", failing.command(&failing.reduced));
            return Ok(false);
        }
        // Whoever runs one seed has found it already, and wants to see it again as it was.
        let shrinks = args.shrink || (!args.no_shrink && args.seed.is_none() && args.bug.is_none());
        failing.explain(&Settings {
            shrink: shrinks.then(|| Duration::from_secs(args.shrink_s)),
            page: Some(args.report.clone().unwrap_or_else(|| failing.page())),
            jobs: seed::jobs(args.jobs),
        })?;
        Ok(false)
    }
}
