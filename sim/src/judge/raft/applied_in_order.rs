//! **Applied once, in order**: in one life a replica applies index after index, none twice and none left out, and a
//! raft snapshot only brings it forward.
//!
//! A *life* of a replica begins where its state is opened, at the applied position that its disk kept. What it
//! applies again after a restart is left to [`super::state_machine_safety`]: that it is what it was.
//!
//! Source: Raft (Ongaro and Ousterhout, extended version), figure 2 (`lastApplied` "increases monotonically", and
//! the rules for all servers); for raft snapshots section 7.
//! Observed: [`What::Opened`](super::What::Opened), [`What::Applied`](super::What::Applied) and
//! [`What::Installed`](super::What::Installed).
//! Planted bug: none breaks it: a wrong applied position (`applied-not-atomic`) shows in the state, which is for
//! [`crate::judge::replicas`]. The corpus has it (`applied-twice.jsonl`, `goes-back.jsonl`, `hole*.jsonl`,
//! `raft-snapshot-back-in-time.jsonl`).

use super::group::Group;

/// Somebody who applies another entry than the next one.
pub(super) fn applied(group: &Group, node: u64, index: u64) -> Option<String> {
    // The first thing that is seen of a replica may be anything.
    let before = group.applied.get(&node)?;
    let next = before.map_or(0, |before| before + 1);
    if index < next {
        return Some(format!(
            "it applied entry {index} again, in the life in which it had applied up to {}",
            next - 1
        ));
    }
    (index > next).then(|| format!("it applied entry {index} where {next} was next"))
}

/// A raft snapshot that takes a replica back.
pub(super) fn installed(group: &Group, node: u64, index: u64) -> Option<String> {
    let before = group.applied.get(&node).copied().flatten()?;
    (before > index)
        .then(|| format!("a raft snapshot up to entry {index} took it back from entry {before}"))
}
