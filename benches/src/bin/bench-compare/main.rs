//! Turns the samples of `script/bench-vs-etcd`, `bench-oracle` and `bench-rounds` into one table: medians of all
//! systems, ratios, and which targets are met.
//!
//! Input is a file of JSON lines, in the order in which they were measured. A sample is what a load
//! prints, with `system` (`quintet`, `quintet-1` with one range of data, `etcd`, `tsoracle` and `tsoracle-0`, whose
//! client waits for nobody, or `own-clock`: Quintet without rounds) and `round`; a line with `idle_cpu_percent`
//! instead says what the servers used without any load. Medians are over rounds, and a ratio is one of medians: machine
//! noise lasts longer than a sample, so pairs of samples say no more.

mod losses;
mod report;
mod samples;
mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::{Value, json};

use self::{report::Report, samples::parse};

/// Prints the comparison of Quintet and others.
#[derive(Debug, Parser)]
struct Args {
    /// Samples, one JSON object a line
    #[arg(requires = "json", required_unless_present = "losses")]
    samples: Option<PathBuf>,
    /// Where all samples, medians and verdicts go
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Samples in which a server was lost
    #[arg(long, value_name = "FILE", conflicts_with_all = ["samples", "json"])]
    losses: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(losses) = &args.losses {
        print!("{}", losses::report(&read(losses)?)?);
        return Ok(());
    }
    let (Some(samples), Some(to)) = (&args.samples, &args.json) else {
        bail!("name a file of samples, and with --json where the report goes");
    };
    let text = read(samples)?;
    let (samples, idle) = parse(&text)?;
    let report = Report::new(&samples, &idle)?;
    print!("{}", report.table);
    let raw: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let json = json!({ "samples": raw, "comparison": report.rows });
    fs::write(to, format!("{json:#}\n")).with_context(|| format!("cannot write {}", to.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
