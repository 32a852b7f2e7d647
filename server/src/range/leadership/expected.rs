//! How long nodes take to answer: who is asked first in a round, and how long that is waited for.

use std::{collections::BTreeMap, time::Duration};

use crate::{ids::NodeId, time::Usual};

/// How long a claim waits for the voters that were asked first, at least, before all are asked.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
/// How long a claim waits for its majority at most.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nodes take to answer.
#[derive(Default)]
pub(super) struct Expected(BTreeMap<NodeId, Usual>);

impl Expected {
    /// How long a node takes; one that was never asked, no time at all.
    pub(super) fn of(&self, node: NodeId) -> Duration {
        self.0.get(&node).map(|usual| usual.get()).unwrap_or_default()
    }

    /// Learns how long a node takes; one that does not answer is asked last.
    pub(super) fn took(&mut self, node: NodeId, took: Duration, failed: bool) {
        let usual = self.0.entry(node).or_insert(Usual::new(took));
        match failed {
            true => usual.fails(took.max(CONFIRM_TIMEOUT)),
            false => usual.took(took),
        }
    }

    /// How long to wait for those of these nodes that are asked first.
    pub(super) fn patience(&self, others: impl Iterator<Item = NodeId>) -> Duration {
        let new = Usual::new(Duration::ZERO);
        let expected = others.map(|node| self.0.get(&node).copied().unwrap_or(new));
        let mut expected: Vec<_> = expected.collect();
        expected.sort_unstable();
        let slowest = expected.get((expected.len() / 2).saturating_sub(1)).copied();
        slowest.unwrap_or(new).late_after(&(PATIENCE..=CONFIRM_TIMEOUT))
    }
}
