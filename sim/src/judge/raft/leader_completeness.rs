//! **Leader completeness**: what was committed in a term is in the log of every leader of a later one, so it is
//! never lost.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 3 and section 5.4.
//! Observed: where a replica becomes leader ([`What::Led`](super::What::Led)): its log ends at or behind all that
//! leaders of earlier terms had committed. By *earlier* terms only: a leader that was elected long ago and is seen
//! late may rightly lack what a later one has committed. That what was committed is applied, too, is
//! [`super::state_machine_safety`].
//! Planted bug: none breaks it first: what would, breaks [`super::commit_quorum`] before (`ack-before-fsync`). The
//! corpus has it (`elected-*.jsonl`, `lost-two-terms-later.jsonl`).

use super::{group::Group, observation::Position};
use crate::history::millis;

/// A leader that begins without an entry that had been committed before.
pub(super) fn led(group: &Group, term: u64, last: Option<Position>) -> Option<String> {
    let earlier = group.commits.range(..term);
    let lost = earlier.map(|(_, at)| *at).find(|at| {
        // A log that ends in a later term may end anywhere behind the entry.
        last.is_none_or(|last| last.index < at.index || last.term < at.term)
    })?;
    let end = last.map_or("is empty".to_owned(), |last| {
        format!("ends with entry {} of term {}", last.index, last.term)
    });
    Some(format!(
        "it was elected in term {term} and its log {end}, but entry {} of term {} had been \
         committed before{}: it is lost",
        lost.index,
        lost.term,
        group.entries.get(&lost.index).map_or(String::new(), |known| {
            format!(" (at {} ms, by node {})", millis(known.at_ns), known.node)
        })
    ))
}
