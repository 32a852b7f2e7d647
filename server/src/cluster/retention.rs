//! Retention: for how long versions that were overwritten, removed or have expired can still be read.
//!
//! For all keys it is what nodes are configured with (`limits.version_retention_s`); for keys with a prefix it is set
//! in the cluster, as a record of the system range (`registry.rs`). The longest prefix counts. Leaders move the gc
//! thresholds of their ranges by it (`upkeep/gc_thresholds.rs`).
//!
//! # Invariants
//!
//! * A leader goes only by settings that it knows to be of the last [`KNOWN_WITHIN`]: one that does not know them
//!   leaves thresholds where they are. So a retention that was made longer is not undone by a node that was away.
//! * No retention is shorter than requests are remembered: a remembered refusal is answered with what stood then.

use std::{collections::BTreeMap, time::Duration};

use crate::{ids::KeyspaceId, storage::keys, time::local::Instant};

/// How old settings may be by which a leader goes.
pub(crate) const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// What is set, by stored prefix.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    by_prefix: BTreeMap<Vec<u8>, Duration>,
    /// They are all that had been set by then; none where nobody can tell.
    as_of: Option<Instant>,
}

impl Settings {
    /// All that had been set by then: keyspace, prefix and seconds.
    pub(crate) fn new<'a>(
        set: impl Iterator<Item = (u32, &'a [u8], u32)>,
        as_of: Option<Instant>,
    ) -> Settings {
        let set = set.map(|(keyspace, prefix, seconds)| {
            let stored = keys::encode_open(KeyspaceId(keyspace), prefix);
            (stored, Duration::from_secs(seconds.into()))
        });
        Settings { by_prefix: set.collect(), as_of }
    }

    /// Whether a leader may go by them.
    pub(crate) fn is_known(&self) -> bool {
        self.as_of.is_some_and(|as_of| as_of.elapsed() <= KNOWN_WITHIN)
    }

    /// Those that have a part in `[start, end)`, where an empty end is none: a prefix has where a key in there may
    /// begin with it.
    pub(crate) fn within<'a>(
        &'a self,
        start: &'a [u8],
        end: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], Duration)> {
        self.by_prefix.iter().filter_map(move |(prefix, retention)| {
            let behind = keys::prefix_end(prefix);
            let begins_before = end.is_empty() || prefix.as_slice() < end;
            let ends_after = behind.is_empty() || start < behind.as_slice();
            (begins_before && ends_after).then_some((prefix.as_slice(), *retention))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_goes_by_the_prefixes_that_its_keys_may_have() {
        let set = || ["", "s/", "s/long/", "t"].iter();
        let set = || set().map(|prefix| (KeyspaceId::DEFAULT.0, prefix.as_bytes(), 60));
        let settings = Settings::new(set(), Some(Instant::now()));
        let stored = |key: &str| keys::encode_open(KeyspaceId::DEFAULT, key.as_bytes());
        let within = |start: &[u8], end: &[u8]| settings.within(start, end).count();
        assert_eq!(within(b"", b""), 4);
        assert_eq!(within(&stored("a"), &stored("b")), 1);
        assert_eq!(within(&stored("s/a"), &stored("s/b")), 2);
        assert_eq!(within(&stored("s/long/x"), &stored("s/m")), 3);
        assert_eq!(within(&stored("s"), &stored("t")), 3);
        assert_eq!(within(&stored("s"), b""), 4);
        let system = keys::keyspace_start(KeyspaceId::SYSTEM);
        assert_eq!(within(&system, &keys::keyspace_start(KeyspaceId::DEFAULT)), 0);
        assert!(settings.is_known());
        assert!(!Settings::new(set(), None).is_known());
    }
}
