//! `show FILE`: which faults strike when, with a seed, before anything is run.

use std::path::PathBuf;

use quintet_sim::plan;

use super::seed::load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The scenario, a TOML file.
    file: PathBuf,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let scenario = load(&args.file)?;
    println!("{}: {}", scenario.name, scenario.description);
    println!(
        "{} nodes, {} clients, {} s of work",
        scenario.topology.nodes.len(),
        scenario.workload.clients,
        scenario.duration_s
    );
    let strikes = plan::strikes(&scenario, args.seed);
    println!("seed {}: {} strikes", args.seed, strikes.len());
    for strike in strikes {
        let (at, lasts) = (strike.at.as_secs_f64(), strike.lasts.as_secs_f64());
        let lasts = if lasts > 0.0 { format!(" for {lasts:.3} s") } else { String::new() };
        println!("{:>5}  {at:>8.3} s  {}{lasts}", strike.number, strike.fault.name());
    }
    Ok(true)
}
