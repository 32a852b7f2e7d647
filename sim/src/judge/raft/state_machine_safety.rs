//! **State machine safety**: whoever applies an index applies the same entry there, by term and by content.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 3 and section 5.4.3.
//! Observed: wherever an entry is told of: applied, found applied on disk when a replica is opened, the last one
//! of a raft snapshot, committed (all but [`What::Led`](super::What::Led) and
//! [`What::Truncated`](super::What::Truncated)). The content is known where an entry is applied.
//! Planted bug: `wiped-node-under-old-replica-id` (`wiped-node`).

use super::{group::Group, observation::Position};
use crate::history::millis;

/// How an entry differs from what is known of it, in words that go on behind its index.
pub(super) fn differs(group: &Group, at: Position, hash: Option<u64>) -> Option<String> {
    let known = group.entries.get(&at.index)?;
    let by = || format!("node {} did at {} ms", known.node, millis(known.at_ns));
    if known.term != at.term {
        return Some(format!(" of term {}; of term {} {}", at.term, known.term, by()));
    }
    let (hash, other) = (hash?, known.hash?);
    (hash != other).then(|| format!(" with content {hash:x}; with content {other:x} {}", by()))
}
