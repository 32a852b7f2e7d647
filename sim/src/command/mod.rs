//! The command line of the simulator: one file per command.
//!
//! `quintet-sim FILE …` is short for `quintet-sim run FILE …`.

mod campaign;
mod check;
mod diff;
mod explain;
mod file;
mod model;
mod oracle;
mod progress;
mod rounds;
mod run;
mod seed;
mod show;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// The deterministic simulation of a Quintet cluster.
///
/// Exit codes: 0 everything held, 1 a violation, 2 could not run.
#[derive(Parser)]
#[command(name = "quintet-sim", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario with one seed or many; the word may be left out.
    Run(run::Args),
    /// Validate scenario files; prints what is wrong as FILE:LINE: MESSAGE.
    Check(check::Args),
    /// Show which faults strike when with a seed.
    Show(show::Args),
    /// Show the first difference of two event logs. Exit codes: 0 equal, 1 they differ, 2 could not.
    Diff(diff::Args),
    /// Run all scenarios in turn with ever new seeds, and add up what was tried.
    Campaign(campaign::Args),
    /// Run random schedules of the timestamp oracle's machines.
    Rounds(rounds::Args),
    /// Check the timestamp oracle's machines in every schedule within bounds.
    Model(model::Args),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    if std::env::var_os("QUINTET_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_env("QUINTET_LOG");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let done = match Cli::parse_from(arguments()).command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Campaign(args) => campaign::run(args),
        Command::Rounds(args) => rounds::run(&args),
        Command::Model(args) => model::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The arguments, with `run` put in where no command is named.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let names = ["help", "-h", "--help"];
    let is_named = arguments.get(1).is_none_or(|first| {
        let first = first.to_string_lossy();
        names.contains(&&*first) || Cli::command().find_subcommand(&*first).is_some()
    });
    if !is_named {
        arguments.insert(1, "run".into());
    }
    arguments
}
