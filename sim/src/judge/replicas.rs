//! Are replicas at one applied index in one state?
//!
//! Apply is deterministic, so replicas of a range that have applied the same entries hold the same. At
//! the end of a run all must come together: every range on every node, all at one index. Until then they
//! are [`Together::NotYet`], which is no violation, but must become one if it never ends; different
//! states at one index are a violation at any time, and nothing that comes later makes it good.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::verdict::Violation;

/// A replica at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The last index that it has applied; none: nothing.
    pub applied: Option<u64>,
    /// Hash of its state; none: it was not looked at.
    pub hash: Option<u64>,
}

/// All replicas at a moment: range, node, replica.
pub type Replicas = BTreeMap<u64, BTreeMap<u64, Replica>>;

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Together {
    /// Every range stands at one index on every node, and wherever states were looked at they are equal.
    Equal,
    /// They are not together, in words.
    NotYet(String),
    /// At one index there are two states.
    Differ(Violation),
}

/// Compares the replicas of a run with `ranges` ranges on these nodes.
pub fn compare(replicas: &Replicas, ranges: usize, nodes: &BTreeSet<u64>) -> Together {
    // First what nothing makes good.
    for (range, on) in replicas {
        if let Some(violation) = differ(*range, on) {
            return Together::Differ(violation);
        }
    }
    if replicas.len() < ranges {
        return Together::NotYet(format!("{} of {ranges} ranges are there", replicas.len()));
    }
    for (range, on) in replicas {
        if let Some(missing) = nodes.iter().find(|node| !on.contains_key(node)) {
            return Together::NotYet(format!("range {range} has no replica on node {missing}"));
        }
        let indexes: BTreeSet<Option<u64>> = on.values().map(|replica| replica.applied).collect();
        if indexes.len() > 1 {
            let at = on.iter().map(|(node, replica)| match replica.applied {
                Some(index) => format!("node {node} has applied up to {index}"),
                None => format!("node {node} has applied nothing"),
            });
            let at: Vec<String> = at.collect();
            return Together::NotYet(format!("range {range}: {}", at.join(", ")));
        }
    }
    Together::Equal
}

/// Two states at one index of a range.
fn differ(range: u64, on: &BTreeMap<u64, Replica>) -> Option<Violation> {
    let mut states: BTreeMap<Option<u64>, BTreeMap<u64, Vec<u64>>> = BTreeMap::new();
    for (node, Replica { applied, hash }) in on {
        let Some(hash) = hash else { continue };
        states.entry(*applied).or_default().entry(*hash).or_default().push(*node);
    }
    let (applied, hashes) = states.iter().find(|(_, hashes)| hashes.len() > 1)?;
    let sides: Vec<String> =
        hashes.iter().map(|(hash, nodes)| format!("{hash:x} on nodes {nodes:?}")).collect();
    let index = applied.map_or("nothing".to_owned(), |index| format!("up to entry {index}"));
    let words = format!(
        "replicas of range {range} that have applied {index} differ: state {}",
        sides.join(", ")
    );
    Some(Violation::new("replicas", words))
}

/// A record of a replica's state: under which key it is stored, and what.
pub type Stored = (Vec<u8>, Vec<u8>);

/// The first record by key that two states do not share: what each of them has there, if anything.
pub fn first_difference<'a>(
    one: &'a [Stored],
    other: &'a [Stored],
) -> Option<(Option<&'a Stored>, Option<&'a Stored>)> {
    let at = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    match (one.get(at), other.get(at)) {
        (None, None) => None,
        // What comes first is what the other one lacks.
        (Some(a), Some(b)) if a.0 < b.0 => Some((Some(a), None)),
        (Some(a), Some(b)) if a.0 > b.0 => Some((None, Some(b))),
        (a, b) => Some((a, b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(records: &[(&str, &str)]) -> Vec<Stored> {
        records
            .iter()
            .map(|(key, value)| (key.as_bytes().into(), value.as_bytes().into()))
            .collect()
    }

    #[test]
    fn the_first_difference_is_the_record_that_one_lacks_or_has_otherwise() {
        let whole = state(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let lacks_b = state(&[("a", "1"), ("c", "3")]);
        let other_c = state(&[("a", "1"), ("b", "2"), ("c", "4")]);
        assert_eq!(first_difference(&whole, &whole), None);
        assert_eq!(first_difference(&whole, &lacks_b), Some((Some(&whole[1]), None)));
        assert_eq!(first_difference(&lacks_b, &whole), Some((None, Some(&whole[1]))));
        assert_eq!(first_difference(&whole, &other_c), Some((Some(&whole[2]), Some(&other_c[2]))));
        assert_eq!(first_difference(&whole[..2], &whole), Some((None, Some(&whole[2]))));
    }
}
