//! The engines under test, and what a crash is for each of them.

use std::{path::PathBuf, sync::Arc};

use quintet_server::storage::{
    Durability, Engine, Family,
    memory::{MemoryDisk, MemoryEngine, MemorySettings},
    rocks::{RocksEngine, RocksOptions},
};

use crate::power;

/// An engine on a disk that the test can cut from its power.
pub(crate) trait Subject {
    /// The engine of the current opening.
    fn engine(&self) -> Arc<dyn Engine>;

    /// A sync fails soon: the disk does `working` more steps. Cleared by a crash.
    fn fail_sync(&mut self, working: u32);

    /// Power failure, and opening again. Nobody holds the engine.
    fn crash(&mut self, rng: &mut dyn FnMut() -> u64);

    /// Closing in peace, and opening again. Nobody holds the engine.
    fn reopen(&mut self);
}

/// RocksDB in a temporary directory; each crash goes on in a new one.
pub(crate) struct RocksSubject {
    durability: Durability,
    engine: Option<Arc<RocksEngine>>,
    dir: PathBuf,
    crashes: u32,
    parent: tempfile::TempDir,
}

impl RocksSubject {
    pub(crate) fn new(durability: Durability) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("0");
        let engine = Some(RocksEngine::open(&dir, durability, small_options()).unwrap());
        RocksSubject { durability, engine, dir, crashes: 0, parent }
    }
}

/// All families, and memtables so small that histories go through flushes, compactions and several
/// log files.
pub(crate) fn small_options() -> RocksOptions {
    RocksOptions {
        families: Family::ALL.to_vec(),
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 64 << 10,
        free_bytes_min: 0,
        ..RocksOptions::data()
    }
}

impl Subject for RocksSubject {
    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone().unwrap()
    }

    fn fail_sync(&mut self, working: u32) {
        power::fail_syncs(&self.dir, working);
    }

    fn crash(&mut self, rng: &mut dyn FnMut() -> u64) {
        self.crashes += 1;
        let next = self.parent.path().join(self.crashes.to_string());
        power::cut(&self.dir, &next, rng);
        self.dir = next;
        self.engine = None;
        self.reopen();
    }

    fn reopen(&mut self) {
        self.engine = None;
        self.engine = Some(RocksEngine::open(&self.dir, self.durability, small_options()).unwrap());
    }
}

/// The memory engine on its disk.
pub(crate) struct MemorySubject {
    durability: Durability,
    disk: MemoryDisk,
    engine: Arc<MemoryEngine>,
}

impl MemorySubject {
    pub(crate) fn new(durability: Durability) -> Self {
        let disk = MemoryDisk::new();
        let engine = Self::open(&disk, durability);
        MemorySubject { durability, disk, engine }
    }

    fn open(disk: &MemoryDisk, durability: Durability) -> Arc<MemoryEngine> {
        MemoryEngine::open(disk, "data", durability, MemorySettings::instant()).unwrap()
    }
}

impl Subject for MemorySubject {
    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    fn fail_sync(&mut self, working: u32) {
        if working == 0 {
            self.disk.fail_next_sync("data");
        }
    }

    fn crash(&mut self, rng: &mut dyn FnMut() -> u64) {
        if rng().is_multiple_of(2) {
            // In the middle of a sync.
            drop(self.engine.sync());
        }
        let tear = rng().is_multiple_of(2);
        self.disk.crash(rng, tear);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.engine = Self::open(&self.disk, self.durability);
    }
}
