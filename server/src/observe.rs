//! What replicas do, told to the simulation's judge of Raft as it happens.
//!
//! The simulation sets an observer, once a process. In production there is none, and nothing of this is
//! compiled: an observation is made only where somebody looks.

#[cfg(madsim)]
use std::sync::OnceLock;

use crate::{ids::RangeId, storage::format::raft::Position};

/// What a replica did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its state was opened, with this applied.
    Opened {
        /// The last applied entry.
        applied: Option<Position>,
    },
    /// It installed a raft snapshot.
    Installed {
        /// What is applied now.
        applied: Position,
    },
    /// It applied an entry; what that did is visible.
    Applied {
        /// Which.
        at: Position,
        /// Hash of what the entry says.
        hash: u64,
    },
    /// The first entry of a term came to its log. The term's leader is the first to do so.
    Began {
        /// That entry.
        at: Position,
        /// Where its log had ended.
        after: Option<Position>,
    },
    /// It has told Raft that its log is truncated, and holds nothing from an index on.
    Truncated {
        /// That index.
        first_removed: u64,
    },
    /// It knows that an entry, and with it all before, is committed.
    Committed {
        /// Which.
        at: Position,
    },
}

/// Takes what the replica of a range did, on the node that runs.
pub type Observer = fn(range: RangeId, seen: Seen);

#[cfg(madsim)]
static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Sets the observer. Later calls change nothing.
#[cfg(madsim)]
pub fn set_observer(observer: Observer) {
    OBSERVER.get_or_init(|| observer);
}

/// Tells what a replica did, if anyone looks.
#[cfg(madsim)]
pub fn tell(range: RangeId, seen: impl FnOnce() -> Seen) {
    if let Some(observer) = OBSERVER.get() {
        observer(range, seen());
    }
}

/// Nobody looks.
#[cfg(not(madsim))]
#[inline(always)]
pub fn tell(_range: RangeId, _seen: impl FnOnce() -> Seen) {}
