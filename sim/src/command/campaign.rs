//! `campaign`: all scenarios in turn, with ever new seeds, until time or seeds are used up.
//!
//! Each seed that is over is a line of the resume file, so a campaign goes on where it stopped or was killed
//! ([`Log`]). Which scenario gets the next seed is said by [`Turns`]. Threads take one seed after the other; what could
//! not be run at all ends the campaign.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use quintet_sim::{
    campaign::{
        Held, Log, Record, ScenarioTotals, SeedOutcome, Sheet, Totals, Turns, commits, findings,
        hours, ledger, page, scenarios,
    },
    judge::Verdict,
    plan::Reduced,
    run::{Options, Report},
    scenario::Scenario,
    speed,
};

use super::{
    explain::{Failing, Settings},
    file::write,
    progress::Progress,
    seed,
};

/// A scenario that failed so often gets no further seed: it has told what it can.
const FAILURES_MAX: u64 = 3;
/// Failures that are explained at length, of one scenario each.
const EXPLAINED_MAX: usize = 3;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Begin no further seed after N minutes [default: 10, unless --seeds is given].
    #[arg(long, conflicts_with_all = ["seeds", "budget_s"])]
    minutes: Option<f64>,
    /// Begin no further seed after N seconds.
    #[arg(long, conflicts_with = "seeds")]
    budget_s: Option<u64>,
    /// Run N seeds, of all scenarios together.
    #[arg(long)]
    seeds: Option<u64>,
    /// Only these scenarios, by name, or files of your own [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    scenarios: Vec<String>,
    /// Where scenarios are.
    #[arg(
        long,
        env = "QUINTET_SCENARIOS",
        default_value = "sim/scenarios",
        value_name = "DIRECTORY"
    )]
    directory: PathBuf,
    /// Seeds that run at the same time; 0 is one a core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// The file that keeps what was done; a campaign goes on where it stopped.
    #[arg(long, default_value = "target/sim-campaign.jsonl", value_name = "FILE")]
    resume: PathBuf,
    /// Keep nothing, and begin with seed 1.
    #[arg(long, conflicts_with = "resume")]
    no_resume: bool,
    /// Write a page about the campaign.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Take over what the resume file has into a document with a table of campaigns, such as docs/campaigns.md.
    #[arg(long, value_name = "FILE", conflicts_with = "no_resume")]
    ledger: Option<PathBuf>,
    /// Print the totals of the resume file (and write the page and the ledger), and run nothing.
    #[arg(long, conflicts_with_all = ["no_resume", "minutes", "seeds", "budget_s"])]
    summary: bool,
    /// Look for no smaller run that fails alike.
    #[arg(long)]
    no_shrink: bool,
    /// Wall seconds for each such look.
    #[arg(long, default_value_t = 60)]
    shrink_s: u64,
    /// Commit of the source; `script/sim` sets it.
    #[arg(long, env = "QUINTET_COMMIT", default_value = "unknown", hide = true)]
    commit: String,
}

/// A ledger with these records as well.
fn kept_with(path: &Path, records: &[Record]) -> anyhow::Result<String> {
    let shown = path.display();
    let document = std::fs::read_to_string(path).with_context(|| format!("can't read {shown}"))?;
    ledger::keep(&document, records).map_err(|why| anyhow!("{shown}: {why}"))
}

/// A scenario and its file.
struct Entry {
    file: PathBuf,
    scenario: Scenario,
}

pub(super) fn run(args: Args) -> anyhow::Result<bool> {
    let entries = entries(&args)?;
    // Before hours of work: what can't be kept is known at once.
    if let Some(path) = &args.ledger {
        kept_with(path, &[])?;
    }
    if args.summary {
        let records = Log::read(&args.resume)?;
        println!("by scenario:\n{}", scenarios(&ScenarioTotals::of(&records)));
        println!("by commit, oldest first:\n{}", commits(&records));
        let commit = records.last().map_or(args.commit.clone(), |record| record.commit.clone());
        return finish(&args, &entries, &records, None, &commit);
    }
    let (log, records) = if args.no_resume {
        (None, Vec::new())
    } else {
        let (log, records) = Log::open(&args.resume)?;
        (Some(log), records)
    };
    let names = entries.iter().map(|entry| entry.scenario.name.clone());
    let turns = Turns::new(names, &records);
    let minutes = args.minutes.unwrap_or(10.0);
    ensure!(minutes.is_finite() && minutes >= 0.0, "--minutes must be 0 or more");
    let time = args.budget_s.map_or(Duration::from_secs_f64(minutes * 60.0), Duration::from_secs);
    let before = records.len();
    let campaign = Campaign {
        jobs: seed::jobs(args.jobs),
        progress: Progress::new(),
        started: Instant::now(),
        time: args.seeds.is_none().then_some(time),
        state: Mutex::new(State { turns, log, records, ..State::default() }),
        done: Condvar::new(),
        entries,
        args,
    };
    campaign.work();
    campaign.conclude(before)
}

/// The scenarios that are asked for, by name.
fn entries(args: &Args) -> anyhow::Result<Vec<Entry>> {
    let mut files: Vec<PathBuf> = Vec::new();
    if args.scenarios.is_empty() {
        let directory = args.directory.display();
        let cannot = || format!("can't read {directory}: say where scenarios are with --directory");
        for file in std::fs::read_dir(&args.directory).with_context(cannot)? {
            let path = file.with_context(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        ensure!(!files.is_empty(), "there is no scenario in {directory}");
    }
    for name in &args.scenarios {
        let is_file = name.ends_with(".toml");
        let file = args.directory.join(format!("{name}.toml"));
        files.push(if is_file { PathBuf::from(name) } else { file });
    }
    let mut names = BTreeMap::new();
    let mut entries = Vec::new();
    for file in files {
        let scenario = seed::load(&file)?;
        if let Some(other) = names.insert(scenario.name.clone(), file.clone()) {
            bail!("{} and {} have one name", other.display(), file.display());
        }
        entries.push(Entry { file, scenario });
    }
    Ok(entries)
}

struct Campaign {
    args: Args,
    entries: Vec<Entry>,
    jobs: usize,
    progress: Progress,
    started: Instant,
    /// Wall time; `None`: until all seeds are run.
    time: Option<Duration>,
    state: Mutex<State>,
    /// Told when a worker ends.
    done: Condvar,
}

#[derive(Default)]
struct State {
    turns: Turns,
    log: Option<Log>,
    /// All finished seeds, those of the file first.
    records: Vec<Record>,
    /// Those of this campaign added up.
    now: Totals,
    begun: u64,
    working: usize,
    /// By scenario: seeds that failed.
    failures: BTreeMap<usize, Vec<u64>>,
    could_not: Option<CouldNot>,
}

/// A seed that was not run to its end, and whose turn ended the campaign.
struct CouldNot {
    scenario: String,
    why: String,
}

impl Campaign {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// All workers, and the line of progress.
    fn work(&self) {
        self.lock().working = self.jobs;
        std::thread::scope(|threads| {
            for _ in 0..self.jobs {
                threads.spawn(|| {
                    while let Some((entry, seed)) = self.turn() {
                        if let Err(error) = self.one(entry, seed) {
                            let scenario = self.entries[entry].scenario.name.clone();
                            let why = format!("seed {seed} could not run: {error:#}");
                            self.lock().could_not.get_or_insert(CouldNot { scenario, why });
                        }
                    }
                    self.lock().working -= 1;
                    self.done.notify_all();
                });
            }
            let mut state = self.lock();
            let mut shown = Instant::now();
            while state.working > 0 {
                let pause = self.progress.pause().saturating_sub(shown.elapsed());
                let waited = self.done.wait_timeout(state, pause);
                state = waited.unwrap_or_else(|poison| poison.into_inner()).0;
                if shown.elapsed() >= self.progress.pause() {
                    self.progress.show(&state.now, self.started.elapsed());
                    shown = Instant::now();
                }
            }
            self.progress.end();
        });
    }

    /// What to run next, if anything.
    fn turn(&self) -> Option<(usize, u64)> {
        let mut state = self.lock();
        let is_late = self.time.is_some_and(|time| self.started.elapsed() >= time);
        let is_enough = self.args.seeds.is_some_and(|seeds| state.begun >= seeds);
        if is_late || is_enough || state.could_not.is_some() {
            return None;
        }
        state.begun += 1;
        state.turns.take()
    }

    fn one(&self, position: usize, seed: u64) -> anyhow::Result<()> {
        let Entry { file, scenario } = &self.entries[position];
        let report = seed::one(scenario, seed, &Options::default())?;
        let record = record(scenario, seed, &self.args.commit, &report);
        let mut state = self.lock();
        if let Some(log) = &mut state.log {
            log.append(&record)?;
        }
        state.now.add(&record);
        if record.outcome != SeedOutcome::Held {
            let failed = state.failures.entry(position).or_default();
            failed.push(seed);
            if failed.len() as u64 >= FAILURES_MAX {
                state.turns.leave(&scenario.name);
            }
            let (reduced, bug) = (Reduced::default(), None);
            let failing = Failing { scenario, file, seed, reduced, bug };
            self.progress.aside(|| {
                println!("VIOLATION in {} with seed {seed}: {}", scenario.name, report.verdict);
                println!("reproduce: {}", failing.command(&Reduced::default()));
            });
        }
        state.records.push(record);
        Ok(())
    }

    /// Explains what failed, and says what came of it all. `before`: records of earlier sittings.
    fn conclude(self, before: usize) -> anyhow::Result<bool> {
        let (wall, cpu) = (self.started.elapsed(), speed::cpu_time());
        let state = self.state.into_inner().unwrap_or_else(|poison| poison.into_inner());
        for (position, seeds) in state.failures.iter().take(EXPLAINED_MAX) {
            let Entry { file, scenario } = &self.entries[*position];
            let Some(seed) = seeds.iter().min().copied() else { continue };
            let (reduced, bug) = (Reduced::default(), None);
            let failing = Failing { scenario, file, seed, reduced, bug };
            println!("\n{}, seed {seed}:", scenario.name);
            let shrink = Duration::from_secs(self.args.shrink_s);
            let explained = failing.explain(&Settings {
                shrink: (!self.args.no_shrink).then_some(shrink),
                page: Some(failing.page()),
                jobs: self.jobs,
            });
            // One that can't be explained failed all the same.
            if let Err(error) = explained {
                eprintln!("error: not explained: {error:#}");
            }
        }
        let now = &state.records[before..];
        println!("\n{}", scenarios(&ScenarioTotals::of(now)));
        println!(
            "{} seeds, {} simulated hours in {:.0} s with {} at the same time, {}",
            state.now.seeds,
            hours(state.now.simulated_s),
            wall.as_secs_f64(),
            self.jobs,
            speed::told(Duration::from_secs_f64(state.now.simulated_s), cpu)
        );
        if before > 0 {
            println!("\nwith earlier sittings, by commit:\n{}", commits(&state.records));
        }
        // What the other seeds came to is said all the same.
        let could_not = state.could_not.as_ref();
        let held = finish(&self.args, &self.entries, &state.records, could_not, &self.args.commit)?;
        match state.could_not {
            Some(CouldNot { scenario, why }) => bail!("{scenario}: {why}"),
            None => Ok(held),
        }
    }
}

fn record(scenario: &Scenario, seed: u64, commit: &str, report: &Report) -> Record {
    let (outcome, words) = match &report.verdict {
        Verdict::Holds => (SeedOutcome::Held, String::new()),
        Verdict::Undecided(why) => (SeedOutcome::Undecided, why.clone()),
        Verdict::Violation(violations) => {
            let judges: Vec<_> = violations.iter().map(|violation| violation.judge).collect();
            (SeedOutcome::Violation, judges.join(", "))
        }
    };
    Record {
        scenario: scenario.name.clone(),
        seed,
        commit: commit.to_owned(),
        simulated_s: report.simulated.as_secs_f64().min(scenario.duration_s as f64),
        commits: report.commits,
        elections: report.elections,
        snapshots: report.snapshots,
        faults: report.faults.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        outcome,
        words,
    }
}

/// One line per scenario, whether it held on this commit, and the page. Whether all did.
fn finish(
    args: &Args,
    entries: &[Entry],
    records: &[Record],
    could_not: Option<&CouldNot>,
    commit: &str,
) -> anyhow::Result<bool> {
    let here = ScenarioTotals::of(records.iter().filter(|record| record.commit == commit));
    let on_it: u64 = here.0.values().map(|totals| totals.seeds).sum();
    println!("{} seeds in all, {on_it} of them on commit {commit}", records.len());
    let none = Totals::default();
    let mut held = Vec::new();
    for Entry { scenario, .. } in entries {
        let totals = here.0.get(&scenario.name).unwrap_or(&none);
        let mut findings = findings(scenario, totals);
        findings
            .extend(could_not.filter(|it| it.scenario == scenario.name).map(|it| it.why.clone()));
        let is_run = totals.seeds > 0;
        match findings.as_slice() {
            [] if !is_run => println!("not run {}: give it more time", scenario.name),
            [] => println!("held    {}: {} seeds", scenario.name, totals.seeds),
            findings => println!("FAILED  {}: {}", scenario.name, findings.join("; ")),
        }
        let (name, description) = (scenario.name.as_str(), scenario.description.as_str());
        held.push(Held { name, description, is_run, findings });
    }
    let all_held = held.iter().all(|held| held.findings.is_empty());
    if let Some(path) = &args.ledger {
        let kept = kept_with(path, records)?;
        write(path, |out| Ok(out.write_all(kept.as_bytes())?))?;
        println!("ledger: {}", path.display());
    }
    if let Some(path) = &args.report {
        let text = page(&Sheet { scenarios: held, records, commit });
        write(Path::new(path), |out| Ok(out.write_all(text.as_bytes())?))?;
        println!("page: {}", path.display());
    }
    Ok(all_held)
}
