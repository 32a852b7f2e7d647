//! The command line of the crash test: its options, where data and logs go, and what is printed in the end.
//!
//! Signals and panics end the test like an error does, so that its nodes are ended and logs are kept. The temporary
//! directory stays where anything but "held" came of it.

use std::{
    io::{BufWriter, Write},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Parser;
use rand::RngExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{Report, Setup, run};
use crate::{history::History, judge::Verdict};

/// Kills and stops real nodes under load, and judges what the clients saw.
///
/// Exit codes: 0 everything held, 1 a violation, 2 could not run.
#[derive(Parser)]
#[command(name = "quintet-crashtest", max_term_width = 100)]
struct Args {
    /// How many times something happens to nodes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: u64,
    /// Decides who suffers what and when, and what clients ask for; drawn and printed where it is left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The program `quintet`; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    quintet: Option<PathBuf>,
    /// Empty directory for data and logs, which stay there; by default a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write the history to a file, JSON lines in Jepsen's shape
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Keep the temporary directory also where everything held
    #[arg(long)]
    keep: bool,
    /// Remove an acknowledged insert behind the history's back: must end as a violation
    #[arg(long, hide = true)]
    prove: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    match try_main(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Where the run lives: removed in the end unless something is to be seen there.
enum Home {
    Named(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Home {
    fn open(named: Option<PathBuf>) -> anyhow::Result<Home> {
        let Some(dir) = named else {
            let made = tempfile::Builder::new().prefix("quintet-crashtest-").tempdir();
            return Ok(Home::Temporary(made.context("can't create a temporary directory")?));
        };
        let shown = dir.display();
        std::fs::create_dir_all(&dir).with_context(|| format!("can't create {shown}"))?;
        let mut entries = std::fs::read_dir(&dir).with_context(|| format!("can't read {shown}"))?;
        if entries.next().is_some() {
            bail!("{shown} is not empty: name another directory with --dir");
        }
        let dir = dir.canonicalize().with_context(|| format!("can't find {shown}"))?;
        Ok(Home::Named(dir))
    }

    fn path(&self) -> &Path {
        match self {
            Home::Named(dir) => dir,
            Home::Temporary(dir) => dir.path(),
        }
    }

    /// Where it is kept.
    fn keep(self) -> PathBuf {
        match self {
            Home::Named(dir) => dir,
            Home::Temporary(dir) => dir.keep(),
        }
    }
}

/// Whether everything held.
fn try_main(args: Args) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    let quintet = program(args.quintet)?;
    let home = Home::open(args.dir)?;
    let dir = home.path().to_owned();
    let setup = Setup { quintet, dir, rounds: args.rounds, seed, prove: args.prove };
    println!("crash test: {} rounds, seed {seed}, in {}", args.rounds, setup.dir.display());
    let started = Instant::now();
    let report = match run_here(&setup) {
        Ok(Some(report)) => report,
        Ok(None) => bail!("interrupted: all nodes are ended"),
        Err(error) => {
            let kept = home.keep();
            return Err(error.context(format!("logs are in {}", kept.display())));
        }
    };
    finish(&report, &setup, args.history, args.keep, home, started.elapsed())
}

/// Runs the test on this thread; `None` where it was interrupted. Its nodes have ended.
fn run_here(setup: &Setup) -> anyhow::Result<Option<Report>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("can't start a runtime")?;
    let test = async {
        let (mut interrupt, mut terminate, mut hang_up) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        );
        tokio::select! {
            ended = run(setup) => ended.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
            _ = hang_up.recv() => Ok(None),
        }
    };
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(test)));
    // Neither clients nor a judge at work may hold up the end.
    runtime.shutdown_background();
    ended.unwrap_or_else(|_| bail!("the test itself panicked, see above"))
}

fn finish(
    report: &Report,
    setup: &Setup,
    history: Option<PathBuf>,
    keep: bool,
    home: Home,
    wall: Duration,
) -> anyhow::Result<bool> {
    println!(
        "crash test: {} rounds in {:.0} s, {} operations, {} writes acknowledged, {} unknown, \
         {} raft snapshots",
        setup.rounds,
        wall.as_secs_f64(),
        report.history.events().len() / 2,
        report.commits,
        report.unknown,
        report.snapshots
    );
    if let Some(path) = &history {
        write(path, &report.history)?;
    }
    let why = match &report.verdict {
        Verdict::Holds => {
            if keep {
                println!("data and logs are in {}", home.keep().display());
            }
            return Ok(true);
        }
        Verdict::Violation(_) => format!("VIOLATION with seed {}: {}", setup.seed, report.verdict),
        Verdict::Undecided(why) => format!("could not judge: {why}"),
    };
    let kept = home.keep();
    let history = history.unwrap_or_else(|| kept.join("history.jsonl"));
    write(&history, &report.history)?;
    println!("{why}");
    println!("history: {}; logs: {}", history.display(), kept.join("node-*/log").display());
    let prove = if setup.prove { " --prove" } else { "" };
    println!(
        "reproduce: script/crashtest{prove} --rounds {} --seed {} (the same victims and moments; \
         processes run as they like)",
        setup.rounds, setup.seed
    );
    match report.verdict {
        Verdict::Undecided(_) => bail!("could not judge, see above"),
        _ => Ok(false),
    }
}

fn write(path: &Path, history: &History) -> anyhow::Result<()> {
    let written = std::fs::File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        history.write_jsonl(&mut out)?;
        out.flush()
    });
    written.with_context(|| format!("can't write {}", path.display()))
}

/// The program `quintet` that is tried: the named one, or that beside this program.
pub(crate) fn program(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let quintet = match named {
        Some(named) => named,
        None => std::env::current_exe()
            .context("can't tell this program's path")?
            .with_file_name("quintet"),
    };
    let quintet = quintet.canonicalize().with_context(|| {
        format!("there is no {}: build it, or name it with --quintet", quintet.display())
    })?;
    Ok(quintet)
}
