//! What a campaign must have exercised: silence of the judges means nothing where nothing happened.

use std::collections::BTreeSet;

use super::Totals;
use crate::scenario::Scenario;

/// Fewer seeds of a scenario say nothing about how often a fault happens.
pub const SEEDS_TO_JUDGE: u64 = 20;

/// A kind of fault that a scenario asks for happens in at least this share of its seeds.
pub const FIRED_SHARE_MIN: f64 = 0.05;

/// What is wrong with a scenario's part of a campaign, in words; empty where nothing is. Of no seed
/// nothing is known.
pub fn findings(scenario: &Scenario, totals: &Totals) -> Vec<String> {
    let mut found = Vec::new();
    if totals.violations > 0 {
        found.push(format!("{} seeds with a violation", totals.violations));
    }
    if totals.undecided > 0 {
        found.push(format!("{} seeds that could not be judged", totals.undecided));
    }
    if totals.seeds > 0 && totals.commits == 0 {
        found.push("exercised nothing: no commit in any seed".to_owned());
    }
    if totals.seeds < SEEDS_TO_JUDGE {
        return found;
    }
    let kinds: BTreeSet<&str> = scenario.faults.iter().map(|fault| fault.name()).collect();
    for kind in kinds {
        // Some kinds are counted by what they hit, said behind the kind: each of these is enough.
        let of_kind =
            totals.fired_in.iter().filter(|(name, _)| name.split(' ').next() == Some(kind));
        let fired = of_kind.map(|(_, seeds)| *seeds).max().unwrap_or(0);
        if (fired as f64) < FIRED_SHARE_MIN * totals.seeds as f64 {
            found.push(format!(
                "exercised nothing: {kind} happened in {fired} of {} seeds",
                totals.seeds
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text = "name = \"p\"\ndescription = \"d\"\nduration_s = 30\n[workload]\nclients = 2\n\
                    keys = 1\nmix = { get = 1 }\nthink_time_ms_max = 1\n\
                    operation_timeout_ms = 100\n[[faults]]\nkind = \"stale-routes\"\n\
                    every_s_min = 1\nevery_s_max = 3\n";
        Scenario::parse(text).unwrap()
    }

    fn totals(seeds: u64, fired: u64) -> Totals {
        let fired_in = [("stale-routes".to_owned(), fired)].into();
        Totals { seeds, commits: 1, fired_in, ..Totals::default() }
    }

    #[test]
    fn a_fault_that_hardly_happens_is_found_once_there_are_enough_seeds() {
        let found = |seeds, fired| findings(&scenario(), &totals(seeds, fired));
        assert_eq!(found(19, 0), Vec::<String>::new());
        assert_eq!(found(20, 0), ["exercised nothing: stale-routes happened in 0 of 20 seeds"]);
        assert_eq!(found(20, 1), Vec::<String>::new());
        assert_eq!(found(100, 4).len(), 1);
        assert_eq!(found(100, 5), Vec::<String>::new());
    }

    #[test]
    fn a_kind_that_is_counted_by_what_it_hit_has_happened() {
        let fired_in = [("stale-routes of n1".to_owned(), 9)].into();
        let totals = Totals { seeds: 20, commits: 1, fired_in, ..Totals::default() };
        assert_eq!(findings(&scenario(), &totals), Vec::<String>::new());
    }

    #[test]
    fn violations_and_silence_are_found() {
        let found = |totals: Totals| findings(&scenario(), &totals);
        assert_eq!(found(Totals::default()), Vec::<String>::new());
        let nothing = Totals { commits: 0, ..totals(3, 3) };
        assert_eq!(found(nothing), ["exercised nothing: no commit in any seed"]);
        let bad = Totals { violations: 2, undecided: 1, ..totals(3, 3) };
        assert_eq!(found(bad), ["2 seeds with a violation", "1 seeds that could not be judged"]);
    }
}
