//! Do the groups keep what Raft promises? Judged as the run goes, by what replicas do.
//!
//! One file per invariant: what it says, its source, where it is observed, and which planted bug it finds, in which
//! scenario (the seeds are in `docs/bugs.md`).
//!
//! | invariant | says |
//! |---|---|
//! | [`election_safety`] | one leader a term |
//! | [`leader_completeness`] | what was committed is in the log of every later leader |
//! | [`state_machine_safety`] | whoever applies an index applies the same entry |
//! | [`log_matching`] | along the log terms never fall |
//! | [`applied_in_order`] | in one life a replica applies index after index; a raft snapshot only brings it forward |
//! | [`commit_index`] | what a leader takes for committed never moves back |
//! | [`commit_quorum`] | a committed entry is durable on a majority of *every* configuration of the membership |
//! | [`durable_votes`] | so is the vote for a leader when it begins |
//! | [`durable_truncation`] | what is told to be truncated is gone from the disk |
//!
//! ```text
//! observation.rs   what a replica did, as the judge is told        group.rs    what is known of a range's group
//! quorum.rs        majorities, of joint memberships as well
//! ```
//!
//! The judge is pure: it is fed with [`Observation`]s in the order in which things happened
//! (`sim/src/cluster/observe.rs` does that), and answers at once. What is not observed is not judged: a missing
//! `Committed` takes nothing away but the check of that one. Of several invariants that an observation breaks the
//! first is told. Its memory is bounded: [`group`].

mod applied_in_order;
mod commit_index;
mod commit_quorum;
mod durable_truncation;
mod durable_votes;
mod election_safety;
mod group;
mod leader_completeness;
mod log_matching;
mod observation;
mod quorum;
mod state_machine_safety;

use std::collections::BTreeMap;

use self::group::Group;
pub use self::{
    group::{ENTRIES_MAX, KEPT_BELOW},
    observation::{Observation, Position, Votes, What},
};
use super::verdict::Violation;

/// The judge, with what it has seen.
#[derive(Default)]
pub struct Raft {
    groups: BTreeMap<u64, Group>,
    observations: u64,
}

impl Raft {
    /// Nothing seen yet.
    pub fn new() -> Raft {
        Raft::default()
    }

    /// How many observations it was fed with.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// Entries that it keeps, of all groups.
    pub fn entries_kept(&self) -> usize {
        self.groups.values().map(|group| group.entries.len()).sum()
    }

    /// Looks at what happened next; a violation if that must not be.
    pub fn see(&mut self, seen: &Observation) -> Option<Violation> {
        self.observations += 1;
        let group = self.groups.entry(seen.range).or_default();
        let broken = see(group, seen);
        group.prune();
        let begin = format!("range {}, node {}: ", seen.range, seen.node);
        broken.map(|words| Violation::new("raft", begin + &words).at(seen.at_ns))
    }
}

/// Puts an observation before the invariants that it concerns, and then keeps what it says.
fn see(group: &mut Group, seen: &Observation) -> Option<String> {
    match &seen.what {
        What::Led { term, last, votes } => {
            let broken = election_safety::led(group, seen, *term)
                .or_else(|| leader_completeness::led(group, *term, *last))
                .or_else(|| durable_votes::led(*term, votes.as_ref()?));
            group.leaders.entry(*term).or_insert((seen.node, seen.at_ns));
            broken
        }
        What::Truncated { first_removed, is_left } => {
            durable_truncation::truncated(*first_removed, *is_left)
        }
        What::Opened { applied } => {
            group.applied.insert(seen.node, applied.map(|at| at.index));
            let at = (*applied)?;
            let why = differs(group, at, None)?;
            Some(format!("it came back with entry {} applied{why}", at.index))
        }
        What::Installed { applied: at } => {
            let broken = applied_in_order::installed(group, seen.node, at.index);
            group.applied.insert(seen.node, Some(at.index));
            broken.or_else(|| {
                let why = differs(group, *at, None)?;
                Some(format!("it installed a raft snapshot up to entry {}{why}", at.index))
            })
        }
        What::Applied { at, hash } => {
            let broken = applied_in_order::applied(group, seen.node, at.index);
            group.applied.insert(seen.node, Some(at.index));
            let broken = broken.or_else(|| {
                let why = differs(group, *at, Some(*hash))?;
                Some(format!("it applied entry {}{why}", at.index))
            });
            if broken.is_none() {
                group.learn(seen, *at, Some(*hash));
            }
            broken
        }
        What::Committed { at, durable_on, memberships } => {
            let broken = election_safety::committed(group, seen, *at).or_else(|| {
                let why = differs(group, *at, None)?;
                Some(format!("it committed entry {}{why}", at.index))
            });
            if broken.is_some() {
                return broken;
            }
            let back = commit_index::committed(group, *at);
            group.commits.insert(at.term, *at);
            if back.is_some() {
                return back;
            }
            group.learn(seen, *at, None);
            commit_quorum::committed(*at, durable_on, memberships)
        }
    }
}

/// How an entry differs from what is known of it and its neighbours, in words that go on behind its index.
fn differs(group: &Group, at: Position, hash: Option<u64>) -> Option<String> {
    state_machine_safety::differs(group, at, hash).or_else(|| log_matching::differs(group, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(node: u64, index: u64) -> Observation {
        let what = What::Applied { at: Position { term: 1, index }, hash: index * 7 };
        Observation { at_ns: index, range: 2, node, what }
    }

    #[test]
    fn memory_is_bounded() {
        let mut judge = Raft::new();
        for index in 0..3 * KEPT_BELOW {
            for node in 1..=3 {
                assert_eq!(judge.see(&applied(node, index)), None);
            }
        }
        assert!(judge.entries_kept() as u64 <= KEPT_BELOW + 2, "{}", judge.entries_kept());
        // A replica that is left behind holds no more than that.
        for index in 3 * KEPT_BELOW..3 * KEPT_BELOW + 2 * ENTRIES_MAX as u64 {
            assert_eq!(judge.see(&applied(1, index)), None);
        }
        assert_eq!(judge.entries_kept(), ENTRIES_MAX);
        assert_eq!(judge.observations(), 9 * KEPT_BELOW + 2 * ENTRIES_MAX as u64);
        // And what is kept is still judged.
        let mut other = applied(2, 3 * KEPT_BELOW);
        assert_eq!(judge.see(&other), None, "forgotten");
        let index = 3 * KEPT_BELOW + 2 * ENTRIES_MAX as u64 - 1;
        other = Observation { what: What::Opened { applied: None }, ..other };
        assert_eq!(judge.see(&other), None);
        let at = Position { term: 2, index };
        other = Observation { what: What::Installed { applied: at }, ..other };
        assert!(judge.see(&other).is_some());
    }
}
