//! How far back reads of a range reach, by key, and who holds that: part of what a replica has applied.
//!
//! What follows from it, and how it moves: [`crate::storage::gc_thresholds`].

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How far back reads of a range reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcThresholds {
    /// Reads of earlier moments are refused, of keys that are in none of the spans.
    pub threshold: Timestamp,
    /// Where it is another one; disjoint, rising.
    pub spans: Vec<GcSpan>,
    /// Until when no threshold rises above which moment; by holder.
    pub holds: Vec<GcHold>,
}

/// Keys with a gc threshold of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcSpan {
    /// As stored, inclusive.
    #[serde(with = "serde_bytes")]
    pub start: Vec<u8>,
    /// As stored, exclusive; empty is no end.
    #[serde(with = "serde_bytes")]
    pub end: Vec<u8>,
    /// Reads of earlier moments are refused.
    pub threshold: Timestamp,
}

/// A node needs a moment of the range, for somebody who reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcHold {
    /// Which process; drawn at its start.
    pub holder: u64,
    /// Its requests rise: what comes later counts, whatever arrives first.
    pub sequence: u64,
    /// No threshold rises above it.
    pub at: Timestamp,
    /// From then on it counts for nothing.
    pub until: Timestamp,
}

/// A retention's threshold, for the keys of a prefix that have no longer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcPrefix {
    /// As stored, open at its end.
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// Where its threshold goes.
    pub threshold: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::holds;

    /// Came with `quintet 8` directories.
    #[test]
    fn format_1() {
        let span = GcSpan { start: b"a".to_vec(), end: b"b".to_vec(), threshold: Timestamp(300) };
        let hold = GcHold { holder: 7, sequence: 2, at: Timestamp(4), until: Timestamp(5) };
        let thresholds =
            GcThresholds { threshold: Timestamp(3), spans: vec![span], holds: vec![hold] };
        holds(&thresholds, "01030101610162fb2c010107020405");
        holds(&GcPrefix { prefix: b"a".to_vec(), threshold: Timestamp(300) }, "010161fb2c01");
    }
}
