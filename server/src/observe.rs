//! What replicas and the timestamp oracle do, told to the simulation's judges as it happens.
//!
//! The simulation sets an observer, once a process. In production there is none, and nothing of this is
//! compiled: an observation is made only where somebody looks.

#[cfg(madsim)]
use std::sync::OnceLock;

use crate::{
    ids::RangeId,
    storage::format::raft::Position,
    time::oracle::{Block, Config, ServerId},
};

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

/// What the timestamp oracle did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeSeen {
    /// Somebody on this node asks for a round, under a number of the node's.
    Asked {
        /// The number.
        ticket: u64,
    },
    /// Who asked under this number has got a block.
    Answered {
        /// The number.
        ticket: u64,
        /// The block.
        block: Block,
    },
    /// A proposer has issued a block.
    Issued {
        /// By which servers.
        config: Config,
        /// The block.
        block: Block,
    },
    /// A time server has told what its clock is from now on at least.
    Clock {
        /// Which one.
        server: ServerId,
        /// Its clock.
        clock: Block,
    },
    /// A write got a block that is not above what its leader knew to be published when it asked.
    NotFresh {
        /// The block.
        block: Block,
    },
}

/// Takes what the replica of a range did, on the node that runs.
pub type Observer = fn(range: RangeId, seen: Seen);
/// Takes what the oracle did on the node that runs.
pub type TimeObserver = fn(seen: TimeSeen);

#[cfg(madsim)]
static OBSERVER: OnceLock<(Observer, TimeObserver)> = OnceLock::new();

/// Sets the observers. Later calls change nothing.
#[cfg(madsim)]
pub fn set_observers(observer: Observer, of_time: TimeObserver) {
    OBSERVER.get_or_init(|| (observer, of_time));
}

/// Tells what a replica did, if anyone looks.
#[cfg(madsim)]
pub fn tell(range: RangeId, seen: impl FnOnce() -> Seen) {
    if let Some((observer, _)) = OBSERVER.get() {
        observer(range, seen());
    }
}

/// Tells what the oracle did, if anyone looks.
#[cfg(madsim)]
pub fn tell_time(seen: impl FnOnce() -> TimeSeen) {
    if let Some((_, observer)) = OBSERVER.get() {
        observer(seen());
    }
}

/// Nobody looks.
#[cfg(not(madsim))]
#[inline(always)]
pub fn tell(_range: RangeId, _seen: impl FnOnce() -> Seen) {}

/// Nobody looks.
#[cfg(not(madsim))]
#[inline(always)]
pub fn tell_time(_seen: impl FnOnce() -> TimeSeen) {}
