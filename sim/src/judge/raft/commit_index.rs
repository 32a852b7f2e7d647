//! **The commit index only rises**: what the leader of a term takes for the last committed entry never moves back.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 2 (`commitIndex` "increases monotonically").
//! Observed: where a leader finds an entry committed ([`What::Committed`](super::What::Committed)).
//! Planted bug: `term-resumed-after-restart` (`power-loss`).

use super::{group::Group, observation::Position};

/// A leader that takes an earlier entry for the last committed one than before.
pub(super) fn committed(group: &Group, at: Position) -> Option<String> {
    let before = group.commits.get(&at.term)?;
    (before.index > at.index).then(|| {
        format!(
            "it takes entry {} for the last committed one, after entry {}",
            at.index, before.index
        )
    })
}
