//! The command line of the measurement: its options, a line a round, and whether all was within the limits.
//!
//! Signals end it like an error does, so that its nodes are ended; logs are kept where it did not end well.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use super::{Loss, Round, Setup, relay::RoundTrips, run};

/// Kills a room, or a node, of five real ones with a WAN between them, again and again, and says for how long
/// the ranges that were led there took no writes.
///
/// Exit codes: 0 within the limits, 1 not, 2 could not run.
#[derive(Parser)]
#[command(name = "quintet-failover", max_term_width = 100)]
struct Args {
    /// Rooms that are lost, in turns, each with all its nodes: a and b in city c1, c in c2
    #[arg(long, value_name = "ROOM", value_delimiter = ',', required_unless_present = "nodes")]
    rooms: Vec<String>,
    /// Nodes that are lost, in turns, each alone: 1 and 2 in room a, 3 and 4 in b, 5 in c
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "rooms")]
    nodes: Vec<u64>,
    /// How often something is lost
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    times: u64,
    /// Milliseconds there and back between rooms of a city
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    rooms_rtt_ms: f64,
    /// Milliseconds there and back between cities
    #[arg(long, value_name = "MS", default_value_t = 30.0)]
    cities_rtt_ms: f64,
    /// Half of all gaps are at most this long
    #[arg(long, value_name = "MS", default_value_t = 1_500)]
    p50_ms: u64,
    /// 99 of 100 gaps are at most this long
    #[arg(long, value_name = "MS", default_value_t = 2_500)]
    p99_ms: u64,
    /// The program `quintet`; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    quintet: Option<PathBuf>,
    /// Keep data and logs
    #[arg(long)]
    keep: bool,
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

/// Whether all was within the limits.
fn try_main(args: Args) -> anyhow::Result<bool> {
    let trip = |ms: f64| {
        let seconds = Duration::try_from_secs_f64(ms / 1_000.0);
        seconds
            .ok()
            .filter(|trip| *trip <= Duration::from_secs(1))
            .with_context(|| format!("a round trip of {ms} ms: give 0 to 1000"))
    };
    let round_trips =
        RoundTrips { rooms: trip(args.rooms_rtt_ms)?, cities: trip(args.cities_rtt_ms)? };
    let quintet = crate::crashtest::command::program(args.quintet)?;
    let dir = tempfile::Builder::new().prefix("quintet-failover-").tempdir();
    let dir = dir.context("can't create a temporary directory")?;
    let losses = args.rooms.into_iter().map(Loss::Room);
    let losses: Vec<_> = losses.chain(args.nodes.into_iter().map(Loss::Node)).collect();
    let setup =
        Setup { quintet, dir: dir.path().to_owned(), losses, times: args.times, round_trips };
    let ended = run_here(&setup);
    if args.keep || ended.is_err() {
        println!("data and logs are in {}", dir.keep().display());
    }
    let Some(rounds) = ended? else { bail!("interrupted: all nodes are ended") };
    Ok(sum_up(&rounds, args.p50_ms, args.p99_ms))
}

/// Runs it on this thread; `None` where it was interrupted. Its nodes have ended.
fn run_here(setup: &Setup) -> anyhow::Result<Option<Vec<Round>>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("can't start a runtime")?;
    let mut number = 0;
    let shown = |round: &Round| {
        number += 1;
        let ms: Vec<_> = sorted(round.gaps.values().copied());
        println!(
            "{number}/{}: loss of {}: {} ranges take no writes for {} to {} ms",
            setup.times,
            round.loss,
            ms.len(),
            ms.first().copied().unwrap_or(0),
            ms.last().copied().unwrap_or(0)
        );
    };
    let measured = async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            ended = run(setup, shown) => ended.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    };
    let ended = runtime.block_on(measured);
    runtime.shutdown_background();
    ended
}

/// Milliseconds, rising.
fn sorted(gaps: impl Iterator<Item = Duration>) -> Vec<u64> {
    let mut ms: Vec<_> =
        gaps.map(|gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX)).collect();
    ms.sort_unstable();
    ms
}

/// The smallest that this many of a hundred are at or below.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Prints what came of it. Whether it is within the limits.
fn sum_up(rounds: &[Round], p50_ms: u64, p99_ms: u64) -> bool {
    let all = sorted(rounds.iter().flat_map(|round| round.gaps.values().copied()));
    let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
    println!(
        "{} gaps in {} losses: p50 {p50} ms, p99 {p99} ms, longest {} ms (limits: p50 {p50_ms} ms, p99 \
         {p99_ms} ms)",
        all.len(),
        rounds.len(),
        all.last().copied().unwrap_or(0)
    );
    p50 <= p50_ms && p99 <= p99_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (7, 7));
        assert_eq!(percentile(&[1, 2, 3], 50), 2);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_run_above_a_limit_fails() {
        let round = |ms: u64| Round {
            loss: Loss::Node(1),
            gaps: [(1, Duration::from_millis(ms))].into_iter().collect(),
        };
        assert!(sum_up(&[round(1_500)], 1_500, 2_500));
        assert!(!sum_up(&[round(1_501)], 1_500, 2_500));
        assert!(!sum_up(&[round(100), round(100), round(2_501)], 1_500, 2_500));
    }
}
