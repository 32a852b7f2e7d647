//! The totals of a campaign as text.

use super::{Record, ScenarioTotals, Totals, totals::by_commit};

/// Seconds as hours, for people.
pub fn hours(seconds: f64) -> String {
    format!("{:.2}", seconds / 3_600.0)
}

/// Faults by kind: `node-kill 12, burst 3`.
pub fn faults(totals: &Totals) -> String {
    let told: Vec<_> =
        totals.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    told.join(", ")
}

/// One row a scenario, and all of them together.
pub fn scenarios(totals: &ScenarioTotals) -> String {
    let mut all = Totals::default();
    let mut rows = Vec::new();
    for (name, totals) in &totals.0 {
        add(&mut all, totals);
        rows.push((name.clone(), totals));
    }
    let all = ("all".to_owned(), &all);
    rows.push(all);
    let rows: Vec<_> = rows.into_iter().map(|(name, totals)| row(name, totals)).collect();
    align(
        &["scenario", "seeds", "hours", "commits", "elections", "violations", "faults by kind"],
        &rows,
    )
}

/// One row a commit, in the order in which they were tried.
pub fn commits(records: &[Record]) -> String {
    let rows: Vec<_> = by_commit(records)
        .into_iter()
        .map(|(name, totals)| row(name.to_owned(), &totals))
        .collect();
    align(
        &["commit", "seeds", "hours", "commits", "elections", "violations", "faults by kind"],
        &rows,
    )
}

fn row(name: String, totals: &Totals) -> Vec<String> {
    let bad = totals.violations + totals.undecided;
    vec![
        name,
        totals.seeds.to_string(),
        hours(totals.simulated_s),
        totals.commits.to_string(),
        totals.elections.to_string(),
        bad.to_string(),
        faults(totals),
    ]
}

fn add(all: &mut Totals, one: &Totals) {
    all.seeds += one.seeds;
    all.simulated_s += one.simulated_s;
    all.commits += one.commits;
    all.elections += one.elections;
    all.violations += one.violations;
    all.undecided += one.undecided;
    for (kind, count) in &one.faults {
        *all.faults.entry(kind.clone()).or_default() += count;
    }
}

/// Columns as wide as what is in them: the first and the last to the left, numbers to the right.
fn align(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.len()).max().unwrap_or(0)
    };
    let last = head.len().saturating_sub(1);
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(0)),
            column if column == last => cell.clone(),
            column => format!("{cell:>0$}", width(column)),
        });
        let text = cells.collect::<Vec<_>>().join("  ");
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::log::tests::record, *};

    #[test]
    fn columns_stand_below_one_another() {
        let mut records = vec![record("leader-cut", 1, "x"), record("steady", 1, "y")];
        records[1].faults.clear();
        records[1].commits = 12_345;
        assert_eq!(
            scenarios(&ScenarioTotals::of(&records)),
            "scenario    seeds  hours  commits  elections  violations  faults by kind\n\
             leader-cut      1   0.01      100         12           0  node-kill 3\n\
             steady          1   0.01    12345         12           0\n\
             all             2   0.02    12445         24           0  node-kill 3\n"
        );
        assert!(commits(&records).contains("\ny           1"), "{}", commits(&records));
    }
}
