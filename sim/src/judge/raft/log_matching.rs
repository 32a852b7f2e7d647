//! **Log matching**, as far as one sees it of applied and committed entries: along the log terms never fall.
//!
//! A leader only appends, in its own term, behind what it has; so a log with an entry of a lower term behind one of
//! a higher term was put together of two.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 3 and section 5.3.
//! Observed: wherever an entry is told of, as [`super::state_machine_safety`], by its neighbours.
//! Planted bug: none breaks it first: two entries at one index come before, for
//! [`super::state_machine_safety`]. The corpus has it (`term-falls.jsonl`).

use super::{group::Group, observation::Position};

/// How an entry contradicts its neighbours, in words that go on behind its index.
pub(super) fn differs(group: &Group, at: Position) -> Option<String> {
    let before = group.entries.range(..at.index).next_back().filter(|(_, k)| k.term > at.term);
    let after = group.entries.range(at.index + 1..).next().filter(|(_, k)| k.term < at.term);
    let (index, known) = before.or(after)?;
    Some(format!(" of term {}, and entry {index} is of term {}", at.term, known.term))
}
