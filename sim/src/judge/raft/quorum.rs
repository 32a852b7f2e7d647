//! Majorities of the voters of a membership: in every configuration of it, two while it is joint.

/// A configuration that has no majority among some nodes.
pub(super) fn lacking(membership: &[Vec<u64>], nodes: &[u64]) -> Option<Vec<u64>> {
    let is_majority = |config: &&Vec<u64>| {
        config.iter().filter(|node| nodes.contains(node)).count() * 2 > config.len()
    };
    membership.iter().find(|config| !is_majority(config)).cloned()
}
