//! Nodes that stop by themselves: right where a fault gave them reason to, else a bug.

use quintet_server::ids::NodeId;

use super::{Cluster, current};
use crate::{timeline::What, trace};

/// Why a node may stop by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// A sync fails.
    SyncFails,
    /// Its disk is full.
    DiskFull,
    /// Its disk is damaged.
    DiskDamaged,
}

impl Excuse {
    /// Whether that is what the node says.
    fn fits(self, why: &str) -> bool {
        why.contains(match self {
            Excuse::SyncFails => "the sync failed",
            Excuse::DiskFull => "disk is full",
            Excuse::DiskDamaged => "damaged data",
        })
    }
}

/// A node has stopped by itself, or does not start. Called on its own machine, which it ends.
pub(super) fn stopped(node: NodeId, why: &str) {
    let excused = current::cluster().is_some_and(|cluster| cluster.has_stopped(node, why));
    assert!(excused, "{node} stopped: {why}");
}

impl Cluster {
    /// A node may stop by itself for this reason from now on, or for none.
    pub fn excuse(&self, node: NodeId, excuse: Option<Excuse>) {
        if let Some(machine) = self.machines.get(&node) {
            machine.lock().excuse = excuse;
        }
    }

    /// Whether a node may stop by itself: another fault is at its disk.
    pub fn is_excused(&self, node: NodeId) -> bool {
        self.machines.get(&node).is_some_and(|machine| machine.lock().excuse.is_some())
    }

    /// Why a node stopped by itself; none if it did not, or was started again since.
    pub fn stop_reason(&self, node: NodeId) -> Option<String> {
        self.machines.get(&node).and_then(|machine| machine.lock().stopped.clone())
    }

    /// How often a node went down.
    pub fn downs(&self, node: NodeId) -> u64 {
        self.machines.get(&node).map_or(0, |machine| machine.lock().downs)
    }

    /// Notes a broken invariant.
    pub fn breaks(&self, what: String) {
        self.broken.lock().push(what);
    }

    /// Whether it may. As with a real process nothing of it goes on.
    fn has_stopped(&self, node: NodeId, why: &str) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let excused = machine.lock().excuse.is_some_and(|excuse| excuse.fits(why));
        if excused {
            trace::event("fault", format_args!("{node} stops by itself: {why}"));
            self.note(What::Note { words: format!("{node} stops by itself: {why}") });
            machine.lock().stopped = Some(why.to_owned());
            self.kill(node);
        }
        excused
    }
}
