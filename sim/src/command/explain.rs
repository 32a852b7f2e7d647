//! What is said of a run that failed: the verdict, the command, a time line, a page; and first, if there
//! is time, a smaller run that fails alike.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use quintet_sim::{
    failure::{Failure, Window, frames, page, time_line},
    plan::Reduced,
    run::Options,
    scenario::Scenario,
};

use super::{file::write, oracle, seed};

/// Where pages go unless it is said otherwise.
const PAGES: &str = "target/sim-failures";

/// A run that failed.
pub(super) struct Failing<'a> {
    /// The scenario, whole.
    pub(super) scenario: &'a Scenario,
    /// Its file, as the command line spells it.
    pub(super) file: &'a Path,
    /// The seed.
    pub(super) seed: u64,
    /// What was left out of it.
    pub(super) reduced: Reduced,
    /// The bug that was planted.
    pub(super) bug: Option<&'a str>,
}

/// What to do about it.
pub(super) struct Settings {
    /// Wall time to look for a smaller run; none: don't.
    pub(super) shrink: Option<Duration>,
    /// Where the page goes; `None`: no page.
    pub(super) page: Option<PathBuf>,
    /// Runs at the same time.
    pub(super) jobs: usize,
}

impl Failing<'_> {
    /// The page that it gets by default.
    pub(super) fn page(&self) -> PathBuf {
        Path::new(PAGES).join(format!("{}-{}.html", self.scenario.name, self.seed))
    }

    /// The command that runs it again, or a smaller one of the same seed.
    pub(super) fn command(&self, reduced: &Reduced) -> String {
        let bug = self.bug.map(|bug| format!(" --bug {bug}")).unwrap_or_default();
        format!("script/sim {} --seed {}{reduced}{bug}", self.file.display(), self.seed)
    }

    /// Runs it again, everything kept, and says all there is to say; the last line is the command.
    pub(super) fn explain(&self, settings: &Settings) -> anyhow::Result<()> {
        let whole = self.command(&self.reduced);
        let mut reduced = self.reduced.clone();
        if let Some(budget) = settings.shrink {
            let options = Options { keep_trace: false, reduced: reduced.clone() };
            let report = seed::one(self.scenario, self.seed, &options)?;
            let (seed, jobs) = (self.seed, settings.jobs);
            if let Some(shrunk) =
                oracle::smaller(self.scenario, seed, &reduced, &report, budget, jobs)
            {
                reduced = shrunk.reduced;
            }
        }
        let options = Options { keep_trace: settings.page.is_some(), reduced: reduced.clone() };
        let report = seed::one(self.scenario, self.seed, &options)?;
        let violations = report.verdict.violations();
        if violations.is_empty() {
            println!(
                "error: the run failed, and holds when it is run again: it is not deterministic \
                 (script/determinism tells more)"
            );
            println!("reproduce: {whole}");
            return Ok(());
        }
        let is_smaller = reduced != self.reduced;
        let scenario = reduced.of(self.scenario);
        let failure = Failure {
            scenario: &scenario,
            seed: self.seed,
            command: self.command(&reduced),
            whole: is_smaller.then(|| whole.clone()),
            violations,
            history: &report.history,
            clients: &report.clients,
            timeline: report.timeline.moments(),
            end_ns: u64::try_from(report.simulated.as_nanos()).unwrap_or(u64::MAX),
        };
        if is_smaller {
            println!("the smaller run: {}", report.verdict);
        }
        print!("{}", time_line(&failure));
        if let Some(path) = &settings.page {
            let log = report.trace.as_deref().unwrap_or_default();
            let text = page(&failure, &frames(log, Window::around(&failure)));
            write(path, |out| Ok(out.write_all(text.as_bytes())?))?;
            println!("page: {}", path.display());
        }
        if is_smaller {
            println!("whole: {whole}");
        }
        println!("reproduce: {}", failure.command);
        Ok(())
    }
}
