//! The disks of nodes.

use std::{sync::Arc, time::Duration};

use quintet_server::{
    ids::NodeId,
    seams::Engines,
    storage::{
        self, Durability, Error,
        memory::{MemoryDisk, MemoryEngine, MemorySettings, Room},
    },
};

use super::{Cluster, Excuse};
use crate::{dice::Dice, random::random, trace};

/// One of a node's two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// All Raft logs.
    Log,
    /// What they produced.
    Data,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Log => "log",
            Engine::Data => "data",
        }
    }
}

/// Bytes of applied state after which a data engine flushes by itself at the latest.
const FLUSH_BYTES_MAX: u64 = 256 << 10;

pub(super) struct MemoryEngines {
    pub(super) node: NodeId,
    pub(super) disk: MemoryDisk,
    pub(super) sync_min: Duration,
    pub(super) sync_max: Duration,
}

impl MemoryEngines {
    fn open(
        &self,
        name: &'static str,
        durability: Durability,
    ) -> Result<Arc<dyn storage::Engine>, Error> {
        let node = self.node;
        let settings = MemorySettings {
            sync_delay_min: self.sync_min,
            sync_delay_max: self.sync_max,
            rng: Arc::new(random),
            flush_bytes_max: FLUSH_BYTES_MAX,
            on_event: Some(Arc::new(move |what, amount| {
                trace::event("disk", format_args!("{node} {name} {what} {amount}"));
            })),
        };
        Ok(MemoryEngine::open(&self.disk, name, durability, settings)?)
    }
}

impl Engines for MemoryEngines {
    fn open_log(&self) -> Result<Arc<dyn storage::Engine>, Error> {
        self.open(Engine::Log.name(), Durability::WriteAheadLog)
    }

    fn open_data(&self) -> Result<Arc<dyn storage::Engine>, Error> {
        self.open(Engine::Data.name(), Durability::Flush)
    }
}

impl Cluster {
    fn at_disk<T>(
        &self,
        node: NodeId,
        what: &str,
        change: impl FnOnce(&MemoryDisk) -> T,
    ) -> Option<T> {
        let disk = self.machines.get(&node)?.lock().disk.clone();
        trace::event("fault", format_args!("disk of {node}: {what}"));
        Some(change(&disk))
    }

    /// The next sync of one of a node's engines fails, and with it the node.
    pub fn fail_next_sync(&self, node: NodeId, engine: Engine) {
        self.excuse(node, Some(Excuse::SyncFails));
        self.at_disk(node, "the next sync fails", |disk| disk.fail_next_sync(engine.name()));
    }

    /// Takes back a failure that no sync has met yet; whether there was one.
    pub fn let_syncs_work(&self, node: NodeId) -> bool {
        let done = self.at_disk(node, "syncs work", MemoryDisk::let_syncs_work);
        self.excuse(node, None);
        done.unwrap_or(false)
    }

    /// A node's syncs take `times` as long from now on.
    pub fn slow_disk(&self, node: NodeId, times: u32) {
        self.at_disk(node, &format!("{times} times as slow"), |disk| disk.set_slowness(times));
    }

    /// Whether a node's disk answers no sync from now on.
    pub fn hang_disk(&self, node: NodeId, hangs: bool) {
        self.at_disk(node, if hangs { "hangs" } else { "answers" }, |disk| disk.set_hanging(hangs));
    }

    /// How much room a node's disk has from now on. Without any a node may stop by itself.
    pub fn set_room(&self, node: NodeId, room: Room) {
        self.excuse(node, (room == Room::None).then_some(Excuse::DiskFull));
        self.at_disk(node, &format!("{room:?} room"), |disk| disk.set_room(room));
    }

    /// Damages a record at rest on a node's disk, which the node is to notice and stop; what it was.
    pub fn damage(&self, node: NodeId, dice: &mut Dice) -> Option<String> {
        let what = self.at_disk(node, "a bit flips", |disk| disk.damage(&mut || dice.roll()))??;
        trace::event("fault", format_args!("that was {what}"));
        self.excuse(node, Some(Excuse::DiskDamaged));
        self.damaged.lock().insert(node);
        Some(what)
    }

    /// Whether all disks hold what was ever acknowledged on them.
    pub fn disks_are_whole(&self) -> bool {
        self.wiped().is_empty() && self.damaged.lock().is_empty()
    }

    /// Ends whatever disks do wrong. What is damaged goes: an operator would have seen by now.
    pub(super) fn mend_disks(&self) {
        for node in self.nodes() {
            let Some(machine) = self.machines.get(&node) else { continue };
            let disk = machine.lock().disk.clone();
            disk.set_slowness(1);
            disk.set_hanging(false);
            disk.set_room(Room::Plenty);
            disk.let_syncs_work();
            if self.damaged.lock().contains(&node) {
                self.kill(node);
                self.wipe(node);
            }
            self.excuse(node, None);
        }
    }
}
