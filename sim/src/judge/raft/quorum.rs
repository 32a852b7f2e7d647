//! Majorities on disk: of whoever has to remember something, in every configuration of a membership.
//!
//! A voter answers once its vote is synced. A vote that was told and then forgotten can be given once more
//! in the same term, to somebody else, and then two lead. That takes a crash at the right moment; that the
//! vote was not on disk can be seen at every election.

use super::Votes;

/// A configuration that has no majority among some nodes.
pub(super) fn lacking(membership: &[Vec<u64>], nodes: &[u64]) -> Option<Vec<u64>> {
    let is_majority = |config: &&Vec<u64>| {
        config.iter().filter(|node| nodes.contains(node)).count() * 2 > config.len()
    };
    membership.iter().find(|config| !is_majority(config)).cloned()
}

/// What is wrong with the votes of a leader that begins.
pub(super) fn elected(term: u64, votes: &Votes) -> Option<String> {
    let Votes { durable_on, membership } = votes;
    let lacking = lacking(membership, durable_on)?;
    Some(format!(
        "it begins to lead term {term}, and the vote for it is on the disks of nodes {durable_on:?} alone: no \
         majority of {lacking:?}"
    ))
}
