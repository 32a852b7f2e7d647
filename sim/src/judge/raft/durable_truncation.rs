//! **A truncation outlives crashes**: when a replica has told Raft that its log is truncated, nothing of what was cut
//! off is left on its disk.
//!
//! Entries that come back after a crash, behind new ones of a later term, are a log that no leader ever had.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 2: the log is "updated on stable storage before
//! responding", and AppendEntries deletes what conflicts (section 5.3).
//! Observed: where the replica tells Raft ([`What::Truncated`](super::What::Truncated)), by looking at its disk at
//! that moment.
//! Planted bug: `truncation-before-sync` (`quick-elections`).

/// A truncation that was told before it was on disk.
pub(super) fn truncated(first_removed: u64, is_left: bool) -> Option<String> {
    is_left.then(|| {
        format!(
            "it has told Raft that its log is truncated from entry {first_removed} on, which is \
             on its disk still: a crash would bring it back"
        )
    })
}
