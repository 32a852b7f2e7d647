//! `model`: every schedule of the timestamp oracle's machines within bounds, by a model checker.

use std::time::{Duration, Instant};

use quintet_sim::rounds::model::{Bounds, check};

use super::seed::{jobs, plant};

/// How long the small models may take: seconds on two cores.
const WHOLE_WITHIN: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(super) struct Args {
    /// For how long a model is checked that is too large for all of its schedules, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Threads; 0 is one per core.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Check the models whose name has this in it.
    #[arg(long)]
    only: Option<String>,
    /// Switch on a planted bug.
    #[arg(long)]
    bug: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(bug) = &args.bug {
        plant(bug)?;
    }
    let mut models = Bounds::all();
    models.retain(|model| args.only.as_ref().is_none_or(|only| model.name.contains(only)));
    anyhow::ensure!(!models.is_empty(), "no model has that in its name");
    for model in models {
        let started = Instant::now();
        let within = if model.is_whole { WHOLE_WITHIN } else { Duration::from_secs(args.seconds) };
        let checked = check(&model, within, jobs(args.jobs));
        let all = if checked.is_complete { "all" } else { "not all" };
        println!(
            "{}: {} states, {} steps deep, {all} of them, {:.1} s",
            model.name,
            checked.states,
            checked.depth,
            started.elapsed().as_secs_f64()
        );
        if let Some((what, steps)) = checked.broken {
            println!("VIOLATION in {} steps: {what}", steps.len());
            for step in steps {
                println!("  {step}");
            }
            return Ok(false);
        }
        anyhow::ensure!(
            checked.is_complete || !model.is_whole,
            "not all schedules of {:?} were looked at within {WHOLE_WITHIN:?}",
            model.name
        );
    }
    Ok(true)
}
