//! Named points of the write path at which the simulation may kill a node.
//!
//! A kill at a random moment falls between two polls of a task, so mostly where nothing is half done.
//! Here the moment is chosen: between a write and its sync, between a note on disk and what it allows.
//! The simulation sets a hook, once a process; it is called by the task that passes a point, on the
//! node's own machine. In a production build [`hit`] is empty and nothing of it is left.
//!
//! A point is passed in the middle of a poll, and the poll goes on to its end: a task can't be stopped
//! from within. So the hook takes the disk away first (`MemoryDisk::crash`: what had the disk open
//! changes nothing on it any more), then the node: no task of it is polled again, and its sockets are
//! closed. What the poll still does reaches neither a disk nor another node.

mod points;

#[cfg(madsim)]
use std::sync::OnceLock;

pub use self::points::ALL;

/// Called with the name of each point that is passed.
#[cfg(madsim)]
pub type Hook = fn(&'static str);

#[cfg(madsim)]
static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets the hook. Later calls change nothing.
#[cfg(madsim)]
pub fn set_hook(hook: Hook) {
    HOOK.get_or_init(|| hook);
}

/// Passes a point.
#[cfg(madsim)]
pub fn hit(name: &'static str) {
    assert!(ALL.iter().any(|(known, _)| *known == name), "{name} is not in failpoint::ALL");
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Passes a point: nothing at all.
#[cfg(not(madsim))]
#[inline(always)]
pub fn hit(_name: &'static str) {}
