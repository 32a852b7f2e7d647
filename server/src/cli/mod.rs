//! The command line: one file per command. The only part of this crate that uses `quintet_client`,
//! and the only one that prints.
//!
//! Every command returns `Result<(), Failure>`; `exit.rs` has the exit codes. Results go to
//! standard output, everything else to standard error.

mod bench;
mod cluster;
mod config;
mod connect;
mod debug;
mod deletion;
mod demo;
mod dev;
mod dev_cluster;
mod drain;
mod duration;
mod exit;
mod kv;
mod node;
mod output;
mod range_view;
mod recover;
mod replace;
mod retention;
mod split_points;
mod start;
mod status;
mod table;
mod time;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use self::exit::{Exit, Failure};

/// Quintet: a strictly serializable key-value database that survives the loss of a server room.
#[derive(Debug, Parser)]
#[command(name = "quintet", version, after_help = exit::TABLE, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Start(Box<start::Args>),
    /// Show the configuration of a node.
    #[command(subcommand)]
    Config(config::Command),
    /// Form a cluster.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Read and write keys.
    #[command(subcommand)]
    Kv(kv::Command),
    /// Show nodes, ranges and leaders.
    Status(status::Args),
    /// Move all leaders off a node and keep them away, as before maintenance.
    Drain(node::Args),
    /// Let leaders come back to a drained node.
    Undrain(node::Args),
    /// Take back a node that lost its disk: it runs with an empty directory and gets new replicas.
    ///
    /// `--timeout` limits how long nothing may be done: it starts again with each range that is done.
    Replace(node::Args),
    /// Set for how long versions are kept.
    #[command(subcommand)]
    Retention(retention::Command),
    /// Go on where more is lost for good than the cluster bears.
    #[command(subcommand)]
    Recover(recover::Command),
    /// Show cluster time and the time servers, and what a timestamp means.
    #[command(subcommand)]
    Time(time::Command),
    /// Run a local cluster of five nodes.
    Dev(dev::Args),
    /// Show what goes wrong where the order of timestamps is not that of commits, and what Quintet does about it.
    #[command(subcommand)]
    Demo(demo::Command),
    /// Measure a running cluster.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Look into a running cluster.
    #[command(subcommand)]
    Debug(debug::Command),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and may be piped into something that has gone.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let is_node = matches!(cli.command, Command::Start(_));
    let exit = match run(cli.command) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            if let Some(line) = failure.line() {
                drop(writeln!(std::io::stderr(), "{line}"));
            }
            failure.exit
        }
    };
    if is_node { start::end(exit) } else { exit.into() }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Start(args) => start::run(*args),
        Command::Config(command) => config::run(command),
        Command::Cluster(command) => on_one_thread(cluster::run(command)),
        Command::Kv(command) => on_one_thread(kv::run(command)),
        Command::Status(args) => on_one_thread(status::run(args)),
        Command::Drain(args) => on_one_thread(drain::drain(args)),
        Command::Undrain(args) => on_one_thread(drain::undrain(args)),
        Command::Replace(args) => on_one_thread(replace::run(args)),
        Command::Retention(command) => on_one_thread(retention::run(command)),
        Command::Recover(command) => on_one_thread(recover::run(command)),
        Command::Time(command) => on_one_thread(time::run(command)),
        Command::Dev(args) => on_one_thread(dev::run(args)),
        Command::Demo(command) => demo::run(command),
        Command::Bench(command) => bench::run(command),
        Command::Debug(command) => on_one_thread(debug::run(command)),
    }
}

fn on_one_thread(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::internal(format!("cannot start a runtime: {error}")))?;
    let result = runtime.block_on(command);
    // A thread that waits for standard input can't be ended; it must not hold up the program.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_what_is_documented() {
        for line in [
            "quintet start --config node.toml --node-id 3 --seed a:1 --seed b:2 --set raft.x=1",
            "quintet config print",
            "quintet config print --effective --config node.toml",
            "quintet cluster init --node 127.0.0.1:7401",
            "quintet cluster init --initial-ranges 100",
            "quintet cluster init --split-points points.txt --node a:1",
            "quintet dev --initial-ranges 32",
            "quintet kv get k --node a:1 --node b:2 --output json",
            "quintet kv put k -",
            "quintet kv del k",
            "quintet kv del --prefix p --dry-run",
            "quintet kv del --start a --end b --limit 10 --output json",
            "quintet kv del --everything",
            "quintet kv get \\xff --escaped",
            "quintet kv scan --prefix p --limit 10 --reverse --keys-only",
            "quintet kv scan --start a --end b",
            "quintet kv cas k v --expect-version 7",
            "quintet kv cas k v --absent",
            "quintet kv incr k",
            "quintet kv incr k -5",
            "quintet kv get k --at 775028954013335552",
            "quintet kv get k --at -10s --output json",
            "quintet kv get k --stale 5s",
            "quintet kv history k --limit 5 --output json",
            "quintet retention list --output json",
            "quintet retention set sessions/ 10m --node a:1",
            "quintet retention unset s\\xff --escaped",
            "quintet time now --node a:1",
            "quintet time servers --output json",
            "quintet time decode 775028954013335552",
            "quintet time place 1,2,5 --node a:1",
            "quintet time place 1 2 5",
            "quintet time place --all --output json",
            "quintet demo anomaly",
            "quintet demo anomaly --seed 7 --output json",
            "quintet status --output json",
            "quintet drain 3 --node a:1 --timeout 30",
            "quintet undrain 3",
            "quintet replace 3 --node a:1 --output json",
            "quintet kv locate k --output json",
            "quintet debug checksum --range 2 --output json",
            "quintet debug range 2 --output json --node a:1",
            "quintet dev --dir d --detach --base-port 7000",
            "quintet dev stop --dir d",
            "quintet bench kv --clients 64 --seconds 5 --op mixed --value-size 256 --keys 100",
            "quintet bench kv --clients 1 --seconds 5 --op put --server-pids 1,2,3",
            "quintet bench load --records 10 --clean",
            "quintet bench clean --node a:1 --output json",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for line in [
            "quintet",
            "quintet kv cas k v",
            "quintet kv cas k v --absent --expect-version 7",
            "quintet kv scan --prefix p --start a",
            "quintet kv get",
            "quintet kv get k --at 5 --stale 1s",
            "quintet time decode yesterday",
            "quintet demo",
            "quintet kv del",
            "quintet kv del k --everything",
            "quintet bench kv --clients 0 --op put",
            "quintet debug range",
            "quintet bench kv --op sideways",
            "quintet dev --nodes 4",
            "quintet dev --initial-ranges 0",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} is accepted"));
            assert!(error.use_stderr(), "{line}");
        }
    }
}
