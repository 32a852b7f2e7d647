//! How long nodes take to answer: who is asked first in a round, and how long that is waited for.

use std::{collections::BTreeMap, time::Duration};

use crate::ids::NodeId;

/// How long a claim waits for the voters that were asked first, at least, before all are asked; and
/// this many times as long as they used to take.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
const PATIENCE_FACTOR: u32 = 4;
/// How long a claim waits for its majority at most.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// An answer's time counts as one part in this many in what is expected of its node.
const EXPECTED_PARTS: u32 = 8;
/// What is expected of a node falls by one part in this many with each answer of another one, so that one that was slow
/// once is asked again some day.
const FORGET_PARTS: u32 = 1 << 16;

/// How long nodes take to answer.
#[derive(Default)]
pub(super) struct Expected(pub(super) BTreeMap<NodeId, Duration>);

impl Expected {
    /// How long a node takes; one that was never asked, no time at all.
    pub(super) fn of(&self, node: NodeId) -> Duration {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// Learns how long a node takes; one that does not answer is asked last.
    pub(super) fn took(&mut self, node: NodeId, took: Duration, failed: bool) {
        let took = if failed { took.max(CONFIRM_TIMEOUT) } else { took };
        self.0.entry(node).or_insert(took);
        for (other, expected) in &mut self.0 {
            *expected = match *other == node {
                true if failed || *expected >= CONFIRM_TIMEOUT => took,
                true => (*expected * (EXPECTED_PARTS - 1) + took) / EXPECTED_PARTS,
                false => *expected - *expected / FORGET_PARTS,
            };
        }
    }

    /// How long to wait for those of these nodes that are asked first.
    pub(super) fn patience(&self, others: impl Iterator<Item = NodeId>) -> Duration {
        let mut expected: Vec<_> = others.map(|node| self.of(node)).collect();
        expected.sort_unstable();
        let slowest = expected.get((expected.len() / 2).saturating_sub(1)).copied();
        (slowest.unwrap_or_default() * PATIENCE_FACTOR).clamp(PATIENCE, CONFIRM_TIMEOUT)
    }
}
