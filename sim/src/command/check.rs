//! `check FILE…`: validates scenario files without running them.

use std::path::PathBuf;

use anyhow::bail;
use quintet_sim::scenario::Scenario;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Scenario files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<bool> {
    let mut wrong = 0;
    for file in &args.files {
        let shown = file.display();
        let read = std::fs::read_to_string(file);
        match read.map(|text| Scenario::parse(&text).map_err(|error| error.at(&text))) {
            Err(error) => eprintln!("{shown}: can't be read: {error}"),
            Ok(Err((line, message))) => eprintln!("{shown}:{line}: {message}"),
            Ok(Ok(scenario)) => {
                let is_named_so = file.file_stem().is_some_and(|stem| stem == &*scenario.name);
                if is_named_so {
                    println!("{shown}: {}", scenario.description);
                    continue;
                }
                eprintln!(
                    "{shown}:1: name: is {:?}, and the file is called otherwise",
                    scenario.name
                );
            }
        }
        wrong += 1;
    }
    if wrong > 0 {
        bail!("{wrong} of {} files can't be run", args.files.len());
    }
    Ok(true)
}
