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
//! Where a majority of one of these sets is lost for good, an operator says who ([`Epochs::recover`]). All of the set
//! that are left are fenced then, and the new set begins above all that any node knows which can be reached: of two
//! majorities one server is in both, and without that nobody else can say what was issued.
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
    /// Servers that are lost for good, as an operator has said. None of them is a member again.
    pub lost: BTreeSet<ServerId>,
}

/// How many sets may be begun after the active one.
pub const BEGUN_MAX: usize = 1_000;
/// How many servers may be lost over the life of a cluster.
pub const LOST_MAX: usize = 10_000;

/// Why a command on [`Epochs`] does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A set without members decides nothing.
    #[error("a set of time servers has at least one member")]
    Empty,
    /// A server that is lost for good is no member.
    #[error("a time server that is lost for good is no member of a set")]
    Lost,
    /// More than [`LOST_MAX`] are lost.
    #[error("{LOST_MAX} time servers are lost for good, more are not counted")]
    TooManyLost,
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
        if self.begun.len() >= BEGUN_MAX {
            return Err(Refusal::TooMany);
        }
        self.begin_anyway(members)
    }

    fn begin_anyway(&mut self, members: BTreeSet<ServerId>) -> Result<Config, Refusal> {
        if members.is_empty() {
            return Err(Refusal::Empty);
        }
        if !members.is_disjoint(&self.lost) {
            return Err(Refusal::Lost);
        }
        let config = Config { epoch: Epoch(self.newest().epoch.0 + 1), members };
        self.begun.push(config.clone());
        Ok(config)
    }

    /// Notes the next set, and who is lost for good of those before it. What it is from then on.
    pub fn recover(
        &mut self,
        members: BTreeSet<ServerId>,
        lost: BTreeSet<ServerId>,
    ) -> Result<Config, Refusal> {
        if !members.is_disjoint(&lost) {
            return Err(Refusal::Lost);
        }
        if self.lost.len() + lost.len() > LOST_MAX {
            return Err(Refusal::TooManyLost);
        }
        // However many were begun in vain: this is the way out.
        let begun = self.begin_anyway(members)?;
        self.lost.extend(lost);
        Ok(begun)
    }

    /// The sets whose servers may have issued blocks: the active one, and those begun after it.
    pub fn open(&self) -> impl Iterator<Item = &Config> {
        // The first set of all has no set before it.
        let active = (!self.active.members.is_empty()).then_some(&self.active);
        active.into_iter().chain(&self.begun)
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
    /// All nodes that can be reached are to say what they know: no majority of an earlier set can.
    Gather,
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
    /// Servers that are lost for good.
    lost: BTreeSet<ServerId>,
    /// All nodes have said what they know.
    gathered: bool,
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
        let target = epochs.begun.last()?;
        let earlier = epochs.open().filter(|config| config.epoch < target.epoch);
        let mut earlier: Vec<_> = earlier.cloned().collect();
        // The careless hand: "the newest one was made from those before it".
        if planted::active(Bug::NewestEpochFencedOnly) {
            earlier.drain(..earlier.len().saturating_sub(1));
        }
        Some(Change {
            earlier,
            target: target.clone(),
            lost: epochs.lost.clone(),
            gathered: false,
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
            let left = members
                .filter(|member| !self.fenced.contains(member) && !self.lost.contains(member));
            return Step::Fence(left.copied().collect());
        }
        if self.is_majority_lost() && !self.gathered {
            return Step::Gather;
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

    /// All nodes that can be reached have said what they know, after enough were fenced: nothing above it was issued.
    pub fn gathered(&mut self, above: Block) {
        if self.is_fenced() && !self.gathered {
            self.value = self.value.max(above);
            self.gathered = true;
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

    /// Whether a majority of each earlier set is fenced; of one whose majority is lost for good, all that are left.
    fn is_fenced(&self) -> bool {
        self.earlier.iter().all(|config| {
            let fenced = config.members.intersection(&self.fenced).count();
            fenced >= config.majority().min(config.left(&self.lost))
        })
    }

    /// Whether of an earlier set a majority is lost for good.
    fn is_majority_lost(&self) -> bool {
        self.earlier.iter().any(|config| config.left(&self.lost) < config.majority())
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
        let active = Config { epoch: Epoch(1), members: set(ids) };
        Epochs { active, ..Epochs::default() }
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
    fn where_a_majority_is_lost_all_that_are_left_are_fenced_and_all_nodes_say_what_they_know() {
        let mut epochs = active(&[1, 2, 3, 4, 5]);
        assert_eq!(epochs.recover(set(&[1, 6]), set(&[1])), Err(Refusal::Lost));
        assert_eq!(epochs.recover(BTreeSet::new(), set(&[1])), Err(Refusal::Empty));
        assert!(epochs.lost.is_empty(), "refused whole");
        epochs.recover(set(&[4, 5, 6]), set(&[1, 2, 3])).expect("members");
        assert_eq!(epochs.begin(set(&[3])), Err(Refusal::Lost), "for good");
        let mut change = Change::to_newest(&epochs, Block(0)).expect("begun");
        assert_eq!(change.step(), Step::Fence(set(&[4, 5])));
        change.gathered(Block(99));
        fence(&mut change, &[4], 70);
        assert_eq!(change.step(), Step::Fence(set(&[5])), "all that are left");
        fence(&mut change, &[5], 60);
        assert_eq!(change.step(), Step::Gather, "what was said before that counts for nothing");
        change.gathered(Block(80));
        change.gathered(Block(90));
        assert_eq!(change.step(), Step::Seed(set(&[4, 5, 6]), Block(80)), "one value for all");
        // Whoever leads next begins another epoch, and gathers too.
        epochs.begin(set(&[4, 5, 6])).expect("members");
        let mut next = Change::to_newest(&epochs, Block(0)).expect("begun");
        fence(&mut next, &[4, 5], 100);
        assert_eq!(next.step(), Step::Gather);
        next.gathered(Block(80));
        assert_eq!(next.step(), Step::Seed(set(&[4, 5, 6]), Block(100)));
    }

    #[test]
    fn who_is_lost_of_a_set_that_has_a_majority_is_not_waited_for() {
        let mut epochs = active(&[1, 2, 3]);
        epochs.recover(set(&[2, 3, 4]), set(&[1])).expect("members");
        let mut change = Change::to_newest(&epochs, Block(0)).expect("begun");
        assert_eq!(change.step(), Step::Fence(set(&[2, 3])));
        fence(&mut change, &[2, 3], 5);
        assert_eq!(change.step(), Step::Seed(set(&[2, 3, 4]), Block(5)));
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
