//! What is known of one range's group: who led which term, what was committed and applied, and by whom.
//!
//! Invariants look at it; only [`super::Raft::see`] changes it, after they have looked. What contradicts it is
//! not learnt: the first one to say something is believed.
//!
//! Memory is bounded: entries that all replicas have applied are forgotten, but for the newest
//! [`KEPT_BELOW`] (a restart applies some again), and never more than [`ENTRIES_MAX`] are kept a group.

use std::collections::BTreeMap;

use super::observation::{Observation, Position};

/// Entries that are kept although all replicas have applied them.
pub const KEPT_BELOW: u64 = 4_096;
/// Entries that are kept of a group at most.
pub const ENTRIES_MAX: usize = 65_536;
/// Terms that are kept of a group at most.
const TERMS_MAX: usize = 4_096;

/// What is known of an entry that somebody applied or committed.
pub(super) struct Known {
    pub(super) term: u64,
    pub(super) hash: Option<u64>,
    pub(super) node: u64,
    pub(super) at_ns: u64,
}

/// One range's group.
#[derive(Default)]
pub(super) struct Group {
    /// Who led a term, and since when.
    pub(super) leaders: BTreeMap<u64, (u64, u64)>,
    /// The last entry that the leader of a term committed.
    pub(super) commits: BTreeMap<u64, Position>,
    pub(super) entries: BTreeMap<u64, Known>,
    /// How far each node's replica has applied in its present life.
    pub(super) applied: BTreeMap<u64, Option<u64>>,
}

impl Group {
    /// Keeps an entry that somebody applied or committed. Its content is known once somebody applied it.
    pub(super) fn learn(&mut self, seen: &Observation, at: Position, hash: Option<u64>) {
        let known = self.entries.entry(at.index).or_insert(Known {
            term: at.term,
            hash,
            node: seen.node,
            at_ns: seen.at_ns,
        });
        if known.hash.is_none() && hash.is_some() {
            *known = Known { term: at.term, hash, node: seen.node, at_ns: seen.at_ns };
        }
    }

    /// Forgets what nobody will ask for again.
    pub(super) fn prune(&mut self) {
        let everywhere = self.applied.values().map(|at| at.unwrap_or(0)).min().unwrap_or(0);
        let below = everywhere.saturating_sub(KEPT_BELOW);
        while self
            .entries
            .first_key_value()
            .is_some_and(|(index, _)| *index < below || self.entries.len() > ENTRIES_MAX)
        {
            self.entries.pop_first();
        }
        while self.leaders.len() > TERMS_MAX {
            self.leaders.pop_first();
        }
        // The newest ones say all: along commits in the order of terms, entries only rise.
        while self.commits.len() > TERMS_MAX {
            self.commits.pop_first();
        }
    }
}
