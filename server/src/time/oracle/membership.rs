//! Another set of time servers in the place of the one that is active.
//!
//! The order of sets is a record of the system range: which one is active, and which ones were begun after it
//! ([`Epochs`]). It is written by commands that are ordered by the log and take no timestamp: the oracle must be
//! mended also when it gives none.
//!
//! ```text
//!   commit     the new set is noted as the newest that was begun
//!   fence      a majority of the active set, and of every one begun after it, answers no earlier epoch any more
//!   seed       a majority of the new set begins above the highest clock that they told
//!   activate   the new set is noted as the active one, where it is the newest still
//! ```
//!
//! A change that stopped halfway may have issued blocks in its epoch already, because its seeded servers answer
//! before it is noted as active. So a later change fences its set too, and not only the active one.
//!
//! # On a crash
//!
//! Nothing is kept beside the record: whoever leads the system range next begins a newer epoch with the same members
//! or others, which fences what was begun.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Block, Config, Epoch, ServerId,
    server::{Fenced, Seeded},
};
use crate::planted::{self, Bug};

/// The sets of time servers, as the system range has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epochs {
    /// The one that rounds are decided in.
    pub active: Config,
    /// Those that were begun after it, in their order.
    pub begun: Vec<Config>,
}

/// How many sets may be begun after the active one.
pub const BEGUN_MAX: usize = 1_000;

/// Why a command on [`Epochs`] does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A set without members decides nothing.
    #[error("a set of time servers has at least one member")]
    Empty,
    /// Changes are begun, and none comes to its end.
    #[error(
        "{BEGUN_MAX} sets of time servers were begun since the active one: a majority of one of them is lost"
    )]
    TooMany,
    /// Another set was begun since.
    #[error("a newer set of time servers was begun since")]
    NotNewest,
}

impl Epochs {
    /// The newest epoch.
    pub fn newest(&self) -> &Config {
        self.begun.last().unwrap_or(&self.active)
    }

    /// Notes the next set. What it is from then on.
    pub fn begin(&mut self, members: BTreeSet<ServerId>) -> Result<Config, Refusal> {
        if members.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.begun.len() >= BEGUN_MAX {
            return Err(Refusal::TooMany);
        }
        let config = Config { epoch: Epoch(self.newest().epoch.0 + 1), members };
        self.begun.push(config.clone());
        Ok(config)
    }

    /// Notes that a set is active: it is seeded, and all before it are fenced.
    pub fn activate(&mut self, epoch: Epoch) -> Result<(), Refusal> {
        if self.active.epoch == epoch {
            return Ok(());
        }
        match self.begun.pop() {
            Some(newest) if newest.epoch == epoch => {
                self.active = newest;
                self.begun.clear();
                Ok(())
            }
            other => {
                self.begun.extend(other);
                Err(Refusal::NotNewest)
            }
        }
    }
}

/// What a change waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These are to be fenced for the new set.
    Fence(BTreeSet<ServerId>),
    /// These are to be seeded with this value.
    Seed(BTreeSet<ServerId>, Block),
    /// The new set is to be noted as active.
    Activate,
    /// A newer set was begun: this change is over.
    Superseded,
}

/// A change that is under way, at whoever leads the system range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The active set and those begun after it, without the new one.
    earlier: Vec<Config>,
    target: Config,
    fenced: BTreeSet<ServerId>,
    seeded: BTreeSet<ServerId>,
    /// What new blocks are above. It rises until enough are fenced: all servers are seeded with the same value.
    value: Block,
    superseded: bool,
}

impl Change {
    /// The change to the newest set that was begun. New blocks are above `above` beside all that was issued: for the
    /// first set the newest version that any range holds.
    pub fn to_newest(epochs: &Epochs, above: Block) -> Option<Change> {
        let (target, others) = epochs.begun.split_last()?;
        // The first set of all has no set before it.
        let active = (!epochs.active.members.is_empty()).then(|| epochs.active.clone());
        let mut earlier: Vec<_> = active.into_iter().chain(others.iter().cloned()).collect();
        // The careless hand: "the newest one was made from those before it".
        if planted::active(Bug::NewestEpochFencedOnly) {
            earlier.drain(..earlier.len().saturating_sub(1));
        }
        Some(Change {
            earlier,
            target: target.clone(),
            fenced: BTreeSet::new(),
            seeded: BTreeSet::new(),
            value: above,
            superseded: false,
        })
    }

    /// The new set.
    pub fn target(&self) -> &Config {
        &self.target
    }

    /// What it waits for.
    pub fn step(&self) -> Step {
        if self.superseded {
            return Step::Superseded;
        }
        if !self.is_fenced() {
            let members = self.earlier.iter().flat_map(|config| &config.members);
            let left = members.filter(|member| !self.fenced.contains(member));
            return Step::Fence(left.copied().collect());
        }
        if self.seeded.len() >= self.target.majority() {
            return Step::Activate;
        }
        let left = self.target.members.difference(&self.seeded).copied();
        Step::Seed(left.collect(), self.value)
    }

    /// A server was to be fenced.
    pub fn fenced(&mut self, from: ServerId, answer: Fenced) {
        match answer {
            Fenced::Ok(_) if self.is_fenced() => {}
            Fenced::Ok(clock) => {
                self.fenced.insert(from);
                self.value = self.value.max(clock);
            }
            Fenced::Superseded(_) => self.superseded = true,
        }
    }

    /// A server was to be seeded.
    pub fn seeded(&mut self, from: ServerId, answer: Seeded) {
        match answer {
            Seeded::Ok => {
                let counts = self.is_fenced() && self.target.members.contains(&from);
                self.seeded.extend(counts.then_some(from));
            }
            Seeded::Superseded(_) => self.superseded = true,
        }
    }

    /// Whether a majority of each earlier set is fenced.
    fn is_fenced(&self) -> bool {
        self.earlier.iter().all(|config| {
            let fenced = config.members.iter().filter(|member| self.fenced.contains(member));
            fenced.count() >= config.majority()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    fn fence(change: &mut Change, ids: &[u64], clock: u64) {
        ids.iter().for_each(|id| change.fenced(ServerId(*id), Fenced::Ok(Block(clock))));
    }

    fn active(ids: &[u64]) -> Epochs {
        Epochs { active: Config { epoch: Epoch(1), members: set(ids) }, begun: Vec::new() }
    }

    #[test]
    fn a_new_set_begins_above_what_a_majority_of_the_old_one_told() {
        let mut epochs = active(&[1, 2, 3]);
        let target = epochs.begin(set(&[3, 4, 5])).expect("members");
        let mut change = Change::to_newest(&epochs, Block(0)).expect("begun");
        assert_eq!(change.step(), Step::Fence(set(&[1, 2, 3])));
        fence(&mut change, &[1], 70);
        fence(&mut change, &[4, 5], 90);
        assert_eq!(change.step(), Step::Fence(set(&[2, 3])), "4 and 5 are of no earlier set");
        fence(&mut change, &[3], 60);
        assert_eq!(change.step(), Step::Seed(set(&[3, 4, 5]), Block(90)));
        fence(&mut change, &[2], 99);
        assert_eq!(change.step(), Step::Seed(set(&[3, 4, 5]), Block(90)), "one value for all");
        change.seeded(ServerId(1), Seeded::Ok);
        change.seeded(ServerId(4), Seeded::Ok);
        assert_eq!(change.step(), Step::Seed(set(&[3, 5]), Block(90)));
        change.seeded(ServerId(5), Seeded::Ok);
        assert_eq!(change.step(), Step::Activate);
        assert_eq!(epochs.activate(target.epoch), Ok(()));
        assert_eq!(epochs.activate(target.epoch), Ok(()), "asked again");
        assert_eq!((epochs.active, epochs.begun), (target, Vec::new()));
    }

    #[test]
    fn an_unfinished_change_is_fenced_by_the_next_and_can_not_be_activated() {
        let mut epochs = active(&[1, 2, 3]);
        let unfinished = epochs.begin(set(&[4, 5, 6])).expect("members");
        epochs.begin(set(&[7])).expect("members");
        assert_eq!(epochs.activate(unfinished.epoch), Err(Refusal::NotNewest));
        let mut change = Change::to_newest(&epochs, Block(0)).expect("begun");
        fence(&mut change, &[1, 2], 10);
        assert_eq!(change.step(), Step::Fence(set(&[3, 4, 5, 6])));
        fence(&mut change, &[4, 5], 30);
        assert_eq!(change.step(), Step::Seed(set(&[7]), Block(30)));
        change.seeded(ServerId(7), Seeded::Superseded(Config::default()));
        assert_eq!(change.step(), Step::Superseded);
    }

    #[test]
    fn the_first_set_begins_above_what_is_stored() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.begin(BTreeSet::new()), Err(Refusal::Empty));
        epochs.begin(set(&[1])).expect("members");
        let change = Change::to_newest(&epochs, Block(500)).expect("begun");
        assert_eq!(change.step(), Step::Seed(set(&[1]), Block(500)));
        assert_eq!(Change::to_newest(&Epochs::default(), Block(0)), None);
    }
}
