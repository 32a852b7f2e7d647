//! **Votes outlive crashes**: when a leader begins, the vote for it is on the disks of a majority of the voters of
//! *every* configuration of its membership.
//!
//! A voter answers once its vote is synced. A vote that was told and then forgotten can be given once more
//! in the same term, to somebody else, and then two lead. That takes a crash at the right moment; that the
//! vote was not on disk can be seen at every election.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 2 (`votedFor` is "updated on stable storage before
//! responding") and section 5.2; section 6 for joint memberships.
//! Observed: where a replica becomes leader ([`What::Led`](super::What::Led)), by looking at the disks of all nodes
//! at that moment.
//! Planted bug: `vote-before-sync` (`quick-elections`), `vote-not-persisted` and `ack-before-fsync` (`power-loss`).

use super::{observation::Votes, quorum};

/// What is wrong with the votes of a leader that begins.
pub(super) fn led(term: u64, votes: &Votes) -> Option<String> {
    let Votes { durable_on, membership } = votes;
    let lacking = quorum::lacking(membership, durable_on)?;
    Some(format!(
        "it begins to lead term {term}, and the vote for it is on the disks of nodes {durable_on:?} alone: no \
         majority of {lacking:?}"
    ))
}
