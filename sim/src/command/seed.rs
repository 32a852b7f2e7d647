//! Running one seed, as all commands do it.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use quintet_sim::{
    run::{self, Options, Report},
    scenario::Scenario,
};

/// Reads a scenario file.
pub(super) fn load(file: &Path) -> anyhow::Result<Scenario> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    Scenario::parse(&text).with_context(|| format!("in {}", file.display()))
}

/// Runs a seed on a thread of its own: what a run leaves in thread-locals ends with it.
pub(super) fn one(scenario: &Scenario, seed: u64, options: &Options) -> anyhow::Result<Report> {
    let ran = std::thread::scope(|scope| scope.spawn(|| run::run(scenario, seed, options)).join());
    ran.unwrap_or_else(|_| Err(anyhow!("the run panicked outside the simulation")))
}

/// How many seeds run at the same time; 0 is one a core.
pub(super) fn jobs(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        jobs => jobs,
    }
}

/// Switches a planted bug on.
pub(super) fn plant(bug: &str) -> anyhow::Result<()> {
    let Some(found) = quintet_server::planted::Bug::by_name(bug) else {
        let names = quintet_server::planted::Bug::ALL.map(|(name, _)| name);
        bail!("there is no planted bug {bug:?}; there are {}", names.join(", "));
    };
    #[cfg(feature = "planted-bugs")]
    {
        quintet_server::planted::activate(found);
        Ok(())
    }
    #[cfg(not(feature = "planted-bugs"))]
    bail!("this build has no planted bugs in it ({found:?}): use script/sim with --bug")
}
