//! The disks of nodes.

use std::{sync::Arc, time::Duration};

use quintet_server::{
    ids::NodeId,
    seams::Engines,
    storage::{
        Durability, Engine, Error,
        memory::{MemoryDisk, MemoryEngine, MemorySettings},
    },
};

use crate::{random::random, trace};

/// Bytes of applied state after which a data engine flushes by itself at the latest.
const FLUSH_BYTES_MAX: u64 = 256 << 10;

pub(super) struct MemoryEngines {
    pub(super) node: NodeId,
    pub(super) disk: MemoryDisk,
    pub(super) sync_min: Duration,
    pub(super) sync_max: Duration,
}

impl MemoryEngines {
    fn open(&self, name: &'static str, durability: Durability) -> Result<Arc<dyn Engine>, Error> {
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
    fn open_log(&self) -> Result<Arc<dyn Engine>, Error> {
        self.open("log", Durability::WriteAheadLog)
    }

    fn open_data(&self) -> Result<Arc<dyn Engine>, Error> {
        self.open("data", Durability::Flush)
    }
}
