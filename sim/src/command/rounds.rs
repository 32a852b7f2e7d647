//! `rounds`: random schedules of the timestamp oracle's machines, seed by seed.

use std::time::Instant;

use quintet_sim::rounds::{schedule, world::Counted};

use super::seed::{jobs, plant};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// Steps per seed.
    #[arg(long, default_value_t = 3_000)]
    steps: usize,
    /// Threads; 0 is one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Stop after this many seconds, whatever is left of the seeds.
    #[arg(long)]
    budget_s: Option<u64>,
    /// Switch on a planted bug.
    #[arg(long)]
    bug: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(bug) = &args.bug {
        plant(bug)?;
    }
    let (started, jobs) = (Instant::now(), jobs(args.jobs) as u64);
    let is_over = || args.budget_s.is_some_and(|budget| started.elapsed().as_secs() >= budget);
    let some = |job: u64| {
        let (mut sum, mut seeds) = (schedule::Report::default(), 0);
        for seed in
            (args.from..args.from.saturating_add(args.seeds)).filter(|seed| seed % jobs == job)
        {
            if is_over() {
                break;
            }
            let report = schedule::run(seed, args.steps);
            seeds += 1;
            sum.add(&report);
            if let Some(broken) = report.broken {
                return (sum, seeds, Some((seed, broken)));
            }
        }
        (sum, seeds, None)
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let some = &some;
        let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(move || some(job))).collect();
        threads.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    anyhow::ensure!(done.len() as u64 == jobs, "a schedule panicked, see above");
    let (mut sum, mut seeds) = (schedule::Report::default(), 0);
    for (part, count, _) in &done {
        sum.add(part);
        seeds += count;
    }
    let Counted { blocks, at_once } = sum.issued;
    let took_s = started.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds of {} steps: {blocks} blocks issued, {at_once} of them in one round trip, {} changes of the \
         servers, {took_s:.1} s",
        args.steps, sum.changes
    );
    match done.into_iter().filter_map(|(.., broken)| broken).min() {
        None => Ok(true),
        Some((seed, (step, what))) => {
            println!("VIOLATION with seed {seed}: step {step}: {what}");
            Ok(false)
        }
    }
}
