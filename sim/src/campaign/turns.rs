//! Whose turn it is: each scenario gets as many seeds as any other, and never one that it had before.
//!
//! Seeds grow by one from where the resume file stopped, over all commits: a new commit is tried with new
//! seeds. The next turn is that of the scenario with fewest seeds in this campaign; among those with
//! fewest, of the one with fewest in the file, so that many short campaigns reach all of them too.

use std::collections::BTreeMap;

use super::Record;

/// The scenarios of a campaign, and how far each has come.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    scenarios: Vec<Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    name: String,
    /// Seeds begun in this campaign.
    begun: u64,
    /// Seeds in the file.
    before: u64,
    next: u64,
    is_out: bool,
}

impl Turns {
    /// The scenarios in the order in which they begin, after what is in the file.
    pub fn new(names: impl IntoIterator<Item = String>, records: &[Record]) -> Turns {
        let mut known: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for record in records {
            let (count, last) = known.entry(&record.scenario).or_default();
            (*count, *last) = (*count + 1, (*last).max(record.seed));
        }
        let scenarios = names.into_iter().map(|name| {
            let (before, last) = known.get(name.as_str()).copied().unwrap_or_default();
            Turn { name, begun: 0, before, next: last + 1, is_out: false }
        });
        Turns { scenarios: scenarios.collect() }
    }

    /// The next turn: which scenario, by position, and which seed; `None`: all are out.
    pub fn take(&mut self) -> Option<(usize, u64)> {
        let open = self.scenarios.iter_mut().enumerate().filter(|(_, turn)| !turn.is_out);
        let (position, turn) = open.min_by_key(|(_, turn)| (turn.begun, turn.before))?;
        let seed = turn.next;
        turn.begun += 1;
        turn.next += 1;
        Some((position, seed))
    }

    /// A scenario gets no further turn.
    pub fn leave(&mut self, name: &str) {
        for turn in self.scenarios.iter_mut().filter(|turn| turn.name == name) {
            turn.is_out = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::log::tests::record, *};

    fn turns(names: &[&str], records: &[Record]) -> Turns {
        Turns::new(names.iter().map(|name| (*name).to_owned()), records)
    }

    #[test]
    fn all_get_the_same_share_and_seeds_grow() {
        let mut turns = turns(&["a", "b", "c"], &[]);
        let got: Vec<_> = (0..7).filter_map(|_| turns.take()).collect();
        assert_eq!(got, [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2), (0, 3)]);
    }

    #[test]
    fn a_campaign_goes_on_where_the_file_stopped() {
        let file = [record("a", 1, "c"), record("a", 2, "d"), record("b", 9, "c")];
        let mut turns = turns(&["a", "b", "new"], &file);
        let got: Vec<_> = (0..4).filter_map(|_| turns.take()).collect();
        // Those that the file has fewest of come first, and none has to make up for what it lacks.
        assert_eq!(got, [(2, 1), (1, 10), (0, 3), (2, 2)]);
    }

    #[test]
    fn what_is_out_gets_no_turn() {
        let mut turns = turns(&["a", "b"], &[]);
        turns.leave("a");
        assert_eq!(turns.take(), Some((1, 1)));
        turns.leave("b");
        assert_eq!(turns.take(), None);
    }
}
