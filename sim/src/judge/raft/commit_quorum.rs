//! **Commit quorum**, also of joint memberships: when a leader commits an entry, the entry is durable on a majority
//! of the voters of *every* configuration of its membership.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), sections 5.3 and 5.4.2, and section 6 for joint
//! memberships; *durable*, as figure 2 wants what is answered to be on stable storage before.
//! Observed: where a leader finds an entry committed ([`What::Committed`](super::What::Committed)), by looking at the
//! disks of all nodes at that moment.
//! Planted bug: `fsync-error-swallowed` (`failed-sync`), `ack-before-fsync` (`power-loss`).

use super::{observation::Position, quorum};

/// A committed entry that a majority lacks. Any of `memberships` will do: see
/// [`What::Committed`](super::What::Committed).
pub(super) fn committed(
    at: Position,
    durable_on: &[u64],
    memberships: &[Vec<Vec<u64>>],
) -> Option<String> {
    let short = |configs: &Vec<Vec<u64>>| quorum::lacking(configs, durable_on);
    let lacking: Vec<Vec<u64>> = memberships.iter().map_while(short).collect();
    (lacking.len() == memberships.len()).then(|| {
        format!(
            "it committed entry {} of term {}, which is durable on nodes {durable_on:?} alone: no \
             majority of {:?}",
            at.index,
            at.term,
            lacking.first().cloned().unwrap_or_default()
        )
    })
}
