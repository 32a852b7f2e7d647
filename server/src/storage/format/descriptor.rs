//! A range as its replicas and all routers know it: span, generation, replicas.
//!
//! In [`Family::Meta`](crate::storage::Family::Meta) beside the applied record; in plans, registry and raft
//! snapshots; on the way to routers that asked the wrong node.

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, NodeId, RangeId, ReplicaId};

/// A range's descriptor: derived from the membership as it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Which range.
    pub range: RangeId,
    /// First stored key, inclusive.
    pub start: Vec<u8>,
    /// End of its stored keys, exclusive; empty is the end of the key space.
    pub end: Vec<u8>,
    /// Raised by split, merge and replica change.
    pub generation: Generation,
    /// Every replica and the node that holds it.
    pub replicas: Vec<(ReplicaId, NodeId)>,
    /// The next replica id; ids below it are never given again.
    pub next_replica: ReplicaId,
}

impl Descriptor {
    /// A range without replicas, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(range: u64, start: &[u8], end: &[u8]) -> Descriptor {
        Descriptor {
            range: RangeId(range),
            start: start.to_vec(),
            end: end.to_vec(),
            generation: Generation(1),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        }
    }

    /// Whether a stored key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && (self.end.is_empty() || key < &self.end[..])
    }

    /// Whether the range has a part of `[start, end)`; an empty `end` is the end of the key space.
    pub fn overlaps(&self, start: &[u8], end: &[u8]) -> bool {
        let begins_before = |start: &[u8], end: &[u8]| end.is_empty() || start < end;
        begins_before(&self.start, end) && begins_before(start, &self.end)
    }

    /// Whether the range has all of `[start, end)`; an empty `end` is the end of the key space.
    pub fn covers(&self, start: &[u8], end: &[u8]) -> bool {
        let ends = self.end.is_empty() || (!end.is_empty() && end <= &self.end[..]);
        &self.start[..] <= start && ends
    }

    /// Where the part of a span that ends at `end` ends in the range; an empty end is the end of the key space.
    pub fn clip_end<'a>(&'a self, end: &'a [u8]) -> &'a [u8] {
        match (&self.end[..], end) {
            ([], end) => end,
            (border, []) => border,
            (border, end) => border.min(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::holds;

    #[test]
    fn descriptors() {
        let descriptor = Descriptor {
            range: RangeId(2),
            start: b"a".to_vec(),
            end: b"mm".to_vec(),
            generation: Generation(300),
            replicas: vec![(ReplicaId(1), NodeId(11)), (ReplicaId(2), NodeId(12))],
            next_replica: ReplicaId(6),
        };
        assert_eq!(descriptor.clip_end(b"b"), b"b");
        assert_eq!(descriptor.clip_end(b"mm"), b"mm");
        assert_eq!(descriptor.clip_end(b"z"), b"mm");
        assert_eq!(descriptor.clip_end(b""), b"mm");
        let last = Descriptor { end: Vec::new(), ..descriptor.clone() };
        assert_eq!((last.clip_end(b"z"), last.clip_end(b"")), (&b"z"[..], &b""[..]));
        // Range; start, end; generation; two replicas, each with its node; the next one.
        holds(&descriptor, "01020161026d6dfb2c0102010b020c06");
    }
}
