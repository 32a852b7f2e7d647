//! Tells the search for a smaller run whether a candidate still fails.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use quintet_sim::{
    judge::Violation,
    plan::{self, Reduced},
    run::{Options, Report},
    scenario::Scenario,
    shrink::{Failed, Oracle, OutOfTime, Shrunk, shrink},
    timeline::What,
};

use super::seed;

/// Words of a violation that have to be the same where the judge alone says too little.
const WORDS_ALIKE: usize = 4;

/// Runs candidates.
struct Runs<'a> {
    scenario: &'a Scenario,
    seed: u64,
    alike: String,
    jobs: usize,
    until: Instant,
    tried: u64,
}

/// Makes a failing run smaller, for a limited time. `report`: what it was; it says progress on standard
/// error.
pub(super) fn smaller(
    scenario: &Scenario,
    seed: u64,
    reduced: &Reduced,
    report: &Report,
    budget: Duration,
    jobs: usize,
) -> Option<Shrunk> {
    let alike = alike(report.verdict.violations().first()?);
    let until = Instant::now() + budget;
    let failed = failed(scenario, seed, reduced, report);
    let before = told(&failed);
    let mut runs = Runs { scenario, seed, alike, jobs, until, tried: 0 };
    eprintln!("making it smaller, {} s at most: {before}", budget.as_secs());
    let shrunk = shrink(reduced.clone(), failed, &mut runs);
    let why = if shrunk.is_done { "no smaller one found" } else { "time is over" };
    eprintln!("  {} runs, {why}: {}", runs.tried, told(&shrunk.failed));
    Some(shrunk)
}

impl Oracle for Runs<'_> {
    fn first(&mut self, candidates: &[Reduced]) -> Result<Option<(usize, Failed)>, OutOfTime> {
        for (batch, candidates) in candidates.chunks(self.jobs.max(1)).enumerate() {
            if Instant::now() >= self.until {
                return Err(OutOfTime);
            }
            let found: Vec<Option<Failed>> = std::thread::scope(|threads| {
                let this = &*self;
                let runs: Vec<_> = candidates
                    .iter()
                    .map(|candidate| threads.spawn(move || this.fails(candidate)))
                    .collect();
                runs.into_iter().map(|run| run.join().ok().flatten()).collect()
            });
            self.tried += candidates.len() as u64;
            for (position, failed) in found.into_iter().enumerate() {
                let Some(failed) = failed else { continue };
                eprintln!("  {:>4} runs: {}", self.tried, told(&failed));
                return Ok(Some((batch * self.jobs.max(1) + position, failed)));
            }
        }
        Ok(None)
    }
}

impl Runs<'_> {
    fn fails(&self, candidate: &Reduced) -> Option<Failed> {
        let options = Options { keep_trace: false, reduced: candidate.clone() };
        // One that can't be run is none that fails alike.
        let report = seed::one(self.scenario, self.seed, &options).ok()?;
        let violations = report.verdict.violations();
        let is_alike = violations.iter().any(|violation| alike(violation) == self.alike);
        is_alike.then(|| failed(self.scenario, self.seed, candidate, &report))
    }
}

/// What two violations have in common that are of one cause: the judge; where it is the harness, which
/// finds many things, what it says too.
fn alike(violation: &Violation) -> String {
    if violation.judge != Violation::new("harness", "").judge {
        return violation.judge.to_owned();
    }
    let words = violation.words.split_whitespace().filter(|word| !word.contains(char::is_numeric));
    words.take(WORDS_ALIKE).collect::<Vec<_>>().join(" ")
}

fn failed(scenario: &Scenario, seed: u64, reduced: &Reduced, report: &Report) -> Failed {
    let run = reduced.of(scenario);
    let phase = |wanted: &str| {
        report.timeline.moments().iter().find_map(|moment| match &moment.what {
            What::Phase { name } if name == wanted => Some(moment.at_ns),
            _ => None,
        })
    };
    let (work_ns, heal_ns) = (phase("work").unwrap_or(0), phase("heal").unwrap_or(u64::MAX));
    let at_ns = report.verdict.violations().iter().filter_map(|violation| violation.at_ns).min();
    let shown_s = at_ns.map_or(run.duration_s, |at_ns| {
        at_ns.saturating_sub(work_ns).div_ceil(1_000_000_000).clamp(1, run.duration_s)
    });
    let mut operations: BTreeMap<u64, u64> = BTreeMap::new();
    for op in report.history.operations().iter().filter(|op| op.invoke_ns < heal_ns) {
        let client = report.clients.get(&op.process).unwrap_or(&op.process);
        *operations.entry(*client).or_default() += 1;
    }
    let strikes = plan::strikes_left(scenario, seed, reduced);
    Failed {
        strikes: strikes.iter().map(|strike| strike.number).collect(),
        duration_s: run.duration_s,
        shown_s,
        clients: run.workload.clients,
        operations: operations.into_values().max().unwrap_or(0),
    }
}

fn told(failed: &Failed) -> String {
    format!(
        "{} strikes, {} clients, {} operations of one at most, {} s",
        failed.strikes.len(),
        failed.clients,
        failed.operations,
        failed.duration_s
    )
}
