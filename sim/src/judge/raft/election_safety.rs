//! **Election safety**: at most one node leads a term.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 3 and section 5.2.
//! Observed: where a replica becomes leader ([`What::Led`](super::What::Led)), and where one commits as the
//! leader of a term ([`What::Committed`](super::What::Committed)).
//! Planted bug: none breaks it first: `vote-not-persisted` and `vote-before-sync` make it possible, and
//! [`super::durable_votes`] finds them before. The corpus has it (`two-leaders.jsonl`, `vote-given-twice.jsonl`,
//! `commit-by-another.jsonl`).

use super::{
    group::Group,
    observation::{Observation, Position},
};
use crate::history::millis;

/// A leader that begins, although another node has led its term.
pub(super) fn led(group: &Group, seen: &Observation, term: u64) -> Option<String> {
    let (leader, since) = *group.leaders.get(&term)?;
    (leader != seen.node).then(|| {
        format!("it leads term {term}, which node {leader} has led since {} ms", millis(since))
    })
}

/// Somebody who commits as the leader of a term that another node leads.
pub(super) fn committed(group: &Group, seen: &Observation, at: Position) -> Option<String> {
    let Position { term, index } = at;
    let (leader, _) = *group.leaders.get(&term)?;
    (leader != seen.node).then(|| {
        format!("it committed entry {index} as leader of term {term}, which node {leader} leads")
    })
}
