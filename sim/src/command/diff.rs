//! `diff A B`: where two event logs part.

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::Context;
use quintet_sim::diff::first_difference;

#[derive(clap::Args)]
pub(super) struct Args {
    /// An event log, written by `--trace`.
    a: PathBuf,
    /// Another one.
    b: PathBuf,
    /// Equal lines that are shown before the difference.
    #[arg(long, default_value_t = 5)]
    before: usize,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let open = |path: &PathBuf| {
        let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
        anyhow::Ok(BufReader::new(file))
    };
    let found = first_difference(open(&args.a)?, open(&args.b)?, args.before);
    match found.context("can't compare")? {
        None => {
            println!("equal");
            Ok(true)
        }
        Some(difference) => {
            println!("a {}\nb {}\n{difference}", args.a.display(), args.b.display());
            Ok(false)
        }
    }
}
