//! The ledger of campaigns: a table in a document of the repository, a row for each scenario and commit.
//!
//! Resume files stay on the machine that ran the seeds. What they come to is kept where everybody sees it
//! (`docs/campaigns.md`): how many seeds of which scenario were run on which commit, and how many did not hold. A row
//! is never made smaller: where a machine has fewer seeds of a commit than the row has, these are taken to be among
//! them. Trees that were not as committed are left out, as nobody could run them again.

use std::collections::BTreeMap;

use super::{Record, Totals, hours};

/// The head of the table, by which it is found in the document.
const HEAD: &str =
    "| scenario | commit | seeds | simulated hours | acknowledged writes | did not hold |";
const RULE: &str = "|---|---|---|---|---|---|";

/// A row: what is counted as it is, hours as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    seeds: u64,
    hours: String,
    commits: u64,
    bad: u64,
}

/// Takes records over into a document; `Err`: its table is not there, or has a line that is no row.
pub fn keep(document: &str, records: &[Record]) -> Result<String, String> {
    let mut before: Vec<&str> = Vec::new();
    let mut lines = document.lines();
    loop {
        match lines.next() {
            Some(HEAD) => break,
            Some(line) => before.push(line),
            None => return Err(format!("there is no line {HEAD:?}")),
        }
    }
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    // In the order in which commits were first run: that of the document, then that of the records.
    let mut order: Vec<String> = Vec::new();
    let mut after: Vec<&str> = Vec::new();
    for line in lines {
        if !after.is_empty() || !line.starts_with('|') {
            after.push(line);
        } else if line != RULE && !line.starts_with("| all |") {
            let (scenario, commit, row) = parse(line).ok_or_else(|| format!("no row: {line}"))?;
            note(&mut order, &commit);
            rows.insert((scenario, commit), row);
        }
    }
    let mut found: BTreeMap<(String, String), Totals> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.commit.ends_with("-dirty")) {
        note(&mut order, &record.commit);
        found.entry((record.scenario.clone(), record.commit.clone())).or_default().add(record);
    }
    for (of, totals) in found {
        let bad = totals.violations + totals.undecided;
        let hours = hours(totals.simulated_s);
        let row = Row { seeds: totals.seeds, hours, commits: totals.commits, bad };
        let known = rows.entry(of).or_insert_with(|| row.clone());
        // What did not hold somewhere stays, however many seeds held elsewhere.
        let bad = known.bad.max(row.bad);
        if known.seeds < row.seeds {
            *known = row;
        }
        known.bad = bad;
    }
    let mut text: Vec<String> = before.into_iter().map(str::to_owned).collect();
    text.extend([HEAD.to_owned(), RULE.to_owned()]);
    let place = |commit: &str| order.iter().position(|known| known == commit);
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by_key(|((scenario, commit), _)| (scenario, place(commit)));
    for ((scenario, commit), Row { seeds, hours, commits, bad }) in sorted {
        text.push(format!("| `{scenario}` | `{commit}` | {seeds} | {hours} | {commits} | {bad} |"));
    }
    let sum = |of: fn(&Row) -> u64| rows.values().map(of).sum::<u64>();
    let hours: f64 = rows.values().filter_map(|row| row.hours.parse::<f64>().ok()).sum();
    let (seeds, commits, bad) = (sum(|row| row.seeds), sum(|row| row.commits), sum(|row| row.bad));
    text.push(format!("| all | | {seeds} | {hours:.2} | {commits} | {bad} |"));
    text.extend(after.into_iter().map(str::to_owned));
    Ok(text.join("\n") + "\n")
}

fn note(order: &mut Vec<String>, commit: &str) {
    if !order.iter().any(|known| known == commit) {
        order.push(commit.to_owned());
    }
}

fn parse(line: &str) -> Option<(String, String, Row)> {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [scenario, commit, seeds, hours, commits, bad] = cells[..] else { return None };
    let name = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
    hours.parse::<f64>().ok()?;
    let row = Row {
        seeds: seeds.parse().ok()?,
        hours: hours.to_owned(),
        commits: commits.parse().ok()?,
        bad: bad.parse().ok()?,
    };
    Some((name(scenario)?, name(commit)?, row))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{SeedOutcome, log::tests::record},
        *,
    };

    fn empty() -> String {
        format!("# Campaigns\n\n{HEAD}\n{RULE}\n\nbelow\n")
    }

    #[test]
    fn rows_are_by_scenario_and_commit_and_never_get_smaller() {
        let mut records = vec![record("b", 1, "x"), record("a", 1, "x"), record("a", 2, "x")];
        records.push(record("a", 1, "y"));
        records.push(record("a", 3, "z-dirty"));
        records[2].outcome = SeedOutcome::Violation;
        let kept = keep(&empty(), &records).expect("a table");
        let rows: Vec<_> = kept.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(
            rows,
            [
                "| `a` | `x` | 2 | 0.02 | 200 | 1 |",
                "| `a` | `y` | 1 | 0.01 | 100 | 0 |",
                "| `b` | `x` | 1 | 0.01 | 100 | 0 |",
                "| all | | 4 | 0.04 | 400 | 1 |",
            ]
        );
        assert!(kept.starts_with("# Campaigns\n") && kept.ends_with("\nbelow\n"), "{kept}");
        assert_eq!(keep(&kept, &records).as_ref(), Ok(&kept), "the same seeds once more");
        assert_eq!(keep(&kept, &records[1..2]).as_ref(), Ok(&kept), "fewer of them");
        let more = keep(&kept, &[record("a", 9, "w")]).expect("a table");
        assert!(more.contains("| all | | 5 |") && more.contains("| `a` | `w` | 1 |"), "{more}");
    }

    #[test]
    fn what_is_no_ledger_is_not_written_over() {
        assert!(keep("# Something else\n", &[]).is_err());
        let broken = empty().replace(RULE, &format!("{RULE}\n| `a` | `x` | many | 0 | 0 | 0 |"));
        assert!(keep(&broken, &[]).is_err());
    }
}
