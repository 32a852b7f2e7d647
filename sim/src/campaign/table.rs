//! The totals of a campaign as text.

use comfy_table::{CellAlignment, Table, presets};

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

/// One row per scenario, and all of them together.
pub fn scenarios(totals: &ScenarioTotals) -> String {
    let mut all = Totals::default();
    let mut rows = Vec::new();
    for (name, totals) in &totals.0 {
        add(&mut all, totals);
        rows.push((name.clone(), totals));
    }
    let all = ("all".to_owned(), &all);
    rows.push(all);
    align("scenario", rows.into_iter().map(|(name, totals)| row(name, totals)).collect())
}

/// One row a commit, in the order in which they were tried.
pub fn commits(records: &[Record]) -> String {
    let rows = by_commit(records).into_iter();
    align("commit", rows.map(|(name, totals)| row(name.to_owned(), &totals)).collect())
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

/// Names and faults to the left, numbers to the right.
fn align(first: &str, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        first,
        "seeds",
        "hours",
        "commits",
        "elections",
        "violations",
        "faults by kind",
    ]);
    let last = table.column_count().saturating_sub(1);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if position > 0 && position < last {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    format!("{}\n", table.trim_fmt())
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
