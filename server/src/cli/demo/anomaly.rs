//! `quintet demo anomaly`: one story, told by one naive time server and by the oracle, side by side.
//!
//! ```text
//!   numbers.rs    who sets out when, and how long the ways are: those of docs/time.md, or drawn by a seed
//!   resource.rs   R2, the resource that both clients write, and what is told of a run
//!   naive.rs      a timestamp is taken first, and then the way to the resource
//!   oracle.rs     the way first; then the machines that nodes run (`time/oracle/`), in virtual time
//! ```
//!
//! Both runs end with the same questions: does the order of commits contradict that of timestamps, and is a snapshot
//! what it was? What is printed is what the runs answered; nothing of it is written down here.

mod naive;
mod numbers;
mod oracle;
mod resource;
#[cfg(test)]
mod tests;

use serde_json::json;

use self::{
    numbers::Numbers,
    resource::{Telling, ms},
};
use crate::cli::{
    exit::Failure,
    output::{Format, Output},
};

/// Width of a column of the time lines.
const COLUMN: usize = 52;

/// Flags of `demo anomaly`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Draw the delays from this number, and set the clocks of two time servers an hour wrong; 0: the story as
    /// docs/time.md tells it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let numbers = Numbers::of(args.seed);
    let (naive, oracle) = (naive::run(&numbers), oracle::run(&numbers));
    let mut out = Output::new();
    match args.output {
        Format::Text => {
            side_by_side(&numbers, &naive, &oracle).iter().try_for_each(|line| out.line(line))?
        }
        Format::Json => {
            let [naive, oracle] = [&naive, &oracle].map(|telling| told(&numbers, telling));
            out.json(&json!({ "seed": args.seed, "naive": naive, "oracle": oracle }))?;
        }
    }
    out.flush()
}

/// The two time lines, and what follows from each, as lines for people.
fn side_by_side(numbers: &Numbers, naive: &Telling, oracle: &Telling) -> Vec<String> {
    let moment = ms(numbers.moment());
    let mut lines = vec![
        "Two cities. C1 is far away, A1 is near; both write the resource R2. All numbers are milliseconds.".to_owned(),
        format!("A snapshot at {moment} is read twice. Clients and delays are the same on both sides."),
    ];
    if let Some(wrong) = numbers.wrong_clocks() {
        lines.push(wrong);
    }
    lines.push(String::new());
    let mut row = |at: &str, left: &str, right: &str| {
        lines.push(format!("{at:>8}  {left:COLUMN$}  {right}").trim_end().to_owned());
    };
    row("time", "ONE NAIVE TIME SERVER", "THE ORACLE: ANY MAJORITY OF FIVE TIME SERVERS");
    row("", "the timestamp first, then the way to R2", "the way to R2 first, then the timestamp");
    let mut times: Vec<_> =
        naive.events.iter().chain(&oracle.events).map(|event| event.at).collect();
    times.sort_unstable();
    times.dedup();
    for at in times {
        let of = |telling: &'_ Telling| -> Vec<String> {
            let events = telling.events.iter().filter(|event| event.at == at);
            events.map(|event| event.words.clone()).collect()
        };
        let (left, right) = (of(naive), of(oracle));
        for number in 0..left.len().max(right.len()) {
            let at = if number == 0 { ms(at) } else { String::new() };
            let word = |words: &[String]| words.get(number).cloned().unwrap_or_default();
            row(&at, &word(&left), &word(&right));
        }
    }
    lines.push(String::new());
    for (who, telling) in [("One naive time server", naive), ("The oracle", oracle)] {
        lines.push(format!("{who}:"));
        let order = match telling.contradiction() {
            Some((first, second)) => format!(
                "CONTRADICTION: R2 had {}'s write first, and its timestamp says that it was second ({} above {}).",
                first.who,
                ms(first.at),
                ms(second.at)
            ),
            None => "the order of commits is the order of timestamps.".to_owned(),
        };
        let snapshot = match telling.change() {
            Some((before, after)) => {
                format!("CHANGED: the snapshot at {moment} was {before}, and later it was {after}.")
            }
            None => format!("the snapshot at {moment} is what it was."),
        };
        let lost = telling.unseen().map(|who| {
            format!("LOST: {who} is told that its write is done, and who reads the newest does not see it.")
        });
        lines.extend([order, snapshot].into_iter().chain(lost).map(|line| format!("  {line}")));
    }
    lines
}

/// A run for programs.
fn told(numbers: &Numbers, telling: &Telling) -> serde_json::Value {
    let events =
        telling.events.iter().map(|event| json!({ "ms": ms(event.at), "what": event.words }));
    let commits = telling
        .commits
        .iter()
        .map(|commit| json!({ "who": commit.who, "timestamp_ms": ms(commit.at) }));
    json!({
        "events": events.collect::<Vec<_>>(),
        "commits": commits.collect::<Vec<_>>(),
        "contradiction": telling.contradiction().is_some(),
        "snapshot_at_ms": ms(numbers.moment()),
        "snapshot_changed": telling.change().is_some(),
        "write_lost": telling.unseen(),
    })
}
