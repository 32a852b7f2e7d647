//! What callers notice of a lost server: the table and the verdicts of `script/bench-oracle`.
//!
//! Input is a file of JSON lines: what a load printed, with `system`, `loss` (`killed` or `stopped`), `what` was lost
//! while it ran, and its `role`: it is `answering` the callers, or `another` one.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::{samples::median, targets::met};

/// How long a caller of ours may wait at most.
const WAIT_MAX_MS: f64 = 50.0;

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Any other server than that.
    Another,
    /// Who answers the callers.
    Answering,
}

#[derive(Debug, Deserialize)]
struct Loss {
    system: String,
    loss: String,
    role: Role,
    what: String,
    gap_us: f64,
    errors: u64,
}

/// The table for people.
pub(super) fn report(text: &str) -> anyhow::Result<String> {
    let mut of: BTreeMap<(Role, String, String), Vec<Loss>> = BTreeMap::new();
    for line in text.lines() {
        let loss: Loss =
            serde_json::from_str(line).with_context(|| format!("not a loss: {line}"))?;
        let kind = (loss.role, loss.loss.clone(), loss.system.clone());
        of.entry(kind).or_default().push(loss);
    }
    if of.is_empty() {
        bail!("there are no losses");
    }
    let mut table =
        "| lost is | and it is | system | times | without a timestamp, ms: median | most | errors |\n\
                     |---|---|---|--:|--:|--:|--:|\n"
            .to_owned();
    let mut verdicts = String::new();
    for ((role, kind, system), losses) in &of {
        let waits = losses.iter().map(|loss| loss.gap_us / 1e3);
        let middle = median(waits.clone().collect()).unwrap_or_default();
        let most = waits.fold(0.0, f64::max);
        let errors: u64 = losses.iter().map(|loss| loss.errors).sum();
        let times = losses.len();
        let lost = match role {
            Role::Another => "another server",
            Role::Answering => "who answers the callers",
        };
        writeln!(
            table,
            "| {lost} | {kind} | {system} | {times} | {middle:.1} | {most:.1} | {errors} |"
        )?;
        if system == "quintet" && *role == Role::Another {
            let is_met = most <= WAIT_MAX_MS && errors == 0;
            let worst = losses.iter().max_by(|a, b| a.gap_us.total_cmp(&b.gap_us));
            writeln!(
                verdicts,
                "{:6} a time server {kind} {times} times: {most:.1} ms at most ({}), {errors} errors, target \
                 {WAIT_MAX_MS} ms and none",
                met(is_met),
                worst.map_or("", |worst| &worst.what),
            )?;
        }
    }
    Ok(format!("{table}\n{verdicts}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_wait_of_all_counts_and_so_does_every_error() {
        let line = |system: &str, kind: &str, gap_us: u64, errors: u64| {
            let role = if gap_us < 1_000_000 { "another" } else { "answering" };
            json!({ "system": system, "loss": kind, "role": role, "what": "node 1", "gap_us": gap_us, "errors": errors })
                .to_string()
        };
        let lines = [
            line("quintet", "killed", 10_000, 0),
            line("quintet", "killed", 40_000, 0),
            line("quintet", "stopped", 10_000, 1),
            line("quintet", "killed", 1_500_000, 0),
            line("tsoracle-0", "killed", 3_500_000, 64),
        ];
        let report = report(&lines.join("\n")).expect("a report");
        assert!(
            report.contains("| another server | killed | quintet | 2 | 25.0 | 40.0 | 0 |"),
            "{report}"
        );
        assert!(
            report.contains(
                "| who answers the callers | killed | tsoracle-0 | 1 | 3500.0 | 3500.0 | 64 |"
            ),
            "{report}"
        );
        assert!(
            report.contains("met    a time server killed 2 times: 40.0 ms at most"),
            "{report}"
        );
        assert!(
            report.contains("MISSED a time server stopped 1 times: 10.0 ms at most"),
            "{report}"
        );
        assert!(super::report("").is_err());
    }
}
