//! Records added up.

use std::collections::BTreeMap;

use super::{Record, SeedOutcome};

/// What some seeds did together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Finished seeds.
    pub seeds: u64,
    /// Seconds of work and faults.
    pub simulated_s: f64,
    /// Acknowledged writes.
    pub commits: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Raft snapshots installed.
    pub snapshots: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// In how many seeds a kind of fault happened at all.
    pub fired_in: BTreeMap<String, u64>,
    /// Seeds with a violation.
    pub violations: u64,
    /// Seeds that could not be judged.
    pub undecided: u64,
}

impl Totals {
    /// Adds a seed.
    pub fn add(&mut self, record: &Record) {
        self.seeds += 1;
        self.simulated_s += record.simulated_s;
        self.commits += record.commits;
        self.elections += record.elections;
        self.snapshots += record.snapshots;
        for (kind, count) in record.faults.iter().filter(|(_, count)| **count > 0) {
            *self.faults.entry(kind.clone()).or_default() += count;
            *self.fired_in.entry(kind.clone()).or_default() += 1;
        }
        match record.outcome {
            SeedOutcome::Held => {}
            SeedOutcome::Violation => self.violations += 1,
            SeedOutcome::Undecided => self.undecided += 1,
        }
    }

    /// All of some records together.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Totals {
        let mut totals = Totals::default();
        records.into_iter().for_each(|record| totals.add(record));
        totals
    }
}

/// Totals of each scenario, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScenarioTotals(pub BTreeMap<String, Totals>);

impl ScenarioTotals {
    /// Each scenario of some records.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> ScenarioTotals {
        let mut totals = ScenarioTotals::default();
        records.into_iter().for_each(|record| totals.add(record));
        totals
    }

    /// Adds a seed.
    pub fn add(&mut self, record: &Record) {
        self.0.entry(record.scenario.clone()).or_default().add(record);
    }
}

/// Each commit of some records with its totals, in the order in which they were first seen.
pub(super) fn by_commit(records: &[Record]) -> Vec<(&str, Totals)> {
    let mut found: Vec<(&str, Totals)> = Vec::new();
    for record in records {
        let position = found.iter().position(|(commit, _)| *commit == record.commit);
        let position = position.unwrap_or_else(|| {
            found.push((&record.commit, Totals::default()));
            found.len() - 1
        });
        found[position].1.add(record);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{super::log::tests::record, *};

    #[test]
    fn seeds_are_added_up_by_scenario_and_commit() {
        let mut records = vec![record("a", 1, "x"), record("b", 1, "x"), record("a", 2, "y")];
        records[1].faults = [("node-kill".to_owned(), 0), ("burst".to_owned(), 2)].into();
        records[2].outcome = SeedOutcome::Violation;
        let all = Totals::of(&records);
        assert_eq!((all.seeds, all.commits, all.violations), (3, 300, 1));
        assert_eq!(all.faults, [("burst".to_owned(), 2), ("node-kill".to_owned(), 6)].into());
        assert_eq!(all.fired_in, [("burst".to_owned(), 1), ("node-kill".to_owned(), 2)].into());
        let by_scenario = ScenarioTotals::of(&records);
        let seeds: Vec<_> = by_scenario.0.iter().map(|(n, t)| (n.as_str(), t.seeds)).collect();
        assert_eq!(seeds, [("a", 2), ("b", 1)]);
        let seeds: Vec<_> = by_commit(&records).iter().map(|(c, t)| (*c, t.seeds)).collect();
        assert_eq!(seeds, [("x", 2), ("y", 1)]);
    }
}
