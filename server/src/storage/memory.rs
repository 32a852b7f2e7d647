//! The simulation's engine. In a normal build it serves tests.
//!
//! It behaves as a disk does at its worst: what was not synced is lost at a crash, or a random
//! beginning of it survives, or the batch behind that is torn; a sync takes time, can fail, and
//! covers what was written when it was *called*; a disk can be full, or slow, or not answer at all; a
//! stored record can be damaged, and reading it is then an error, as with the checksums of RocksDB. (There
//! a whole block is lost with it, and a compaction may find it; here it is one record, and overwriting it
//! is enough.)
//! Everything is deterministic:
//! time is the runtime's, randomness the caller's, and nothing depends on an address or a hash.
//!
//! The state lives on a [`MemoryDisk`] that outlives the engine. Opening it again shuts out whoever
//! had it open before, so that the remains of a killed node can't write into its successor's data.

mod disk;
mod record;
mod tables;

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt};
use parking_lot::{Mutex, MutexGuard};

pub use self::disk::{MemoryDisk, Room};
use self::{
    disk::{Image, State},
    tables::Tables,
};
use super::engine::{
    Batch, Direction, Durability, Engine, Error, Family, FreeSpace, Reader, Visit,
};
use crate::planted::{self, Bug};

/// Between two looks at whether a disk that hung answers again.
const HANGING_LOOK: Duration = Duration::from_millis(10);

/// A source of random numbers; in the simulation it is seeded.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Told what an engine does, for traces: `write` with the bytes, `sync-start` and `sync-end` with
/// the number of batches since the opening that are covered, `sync-failed` likewise.
pub type OnEvent = Arc<dyn Fn(&str, u64) + Send + Sync>;

/// How a memory engine behaves.
#[derive(Clone)]
pub struct MemorySettings {
    /// The shortest time that a sync takes.
    pub sync_delay_min: Duration,
    /// The longest.
    pub sync_delay_max: Duration,
    /// Chooses between them.
    pub rng: Random,
    /// Without a log: the engine begins a flush by itself after this many bytes at most, now sooner, now
    /// later, as one does whose memtables are full; the one before has ended by then. 0: never.
    pub flush_bytes_max: u64,
    /// Told of everything that happens.
    pub on_event: Option<OnEvent>,
}

impl MemorySettings {
    /// Syncs take no time. For tests.
    pub fn instant() -> Self {
        MemorySettings {
            sync_delay_min: Duration::ZERO,
            sync_delay_max: Duration::ZERO,
            rng: Arc::new(|| 0),
            flush_bytes_max: 0,
            on_event: None,
        }
    }

    /// Bytes until the next flush that nobody asks for; 0: there is none.
    fn until_flush(&self) -> u64 {
        match self.flush_bytes_max {
            0 => 0,
            most => 1 + disk::below(&mut || (self.rng)(), most),
        }
    }
}

/// An engine in memory, on a [`MemoryDisk`]. See [`Engine`] for what it promises.
pub struct MemoryEngine {
    disk: MemoryDisk,
    name: String,
    generation: u64,
    durability: Durability,
    settings: MemorySettings,
    live: Mutex<Live>,
}

/// What readers see.
struct Live {
    tables: Tables,
    /// Batches written since the opening.
    batches: u64,
    /// Bytes until the engine flushes by itself.
    until_flush: u64,
    /// Why nothing is accepted any more.
    failed: Option<String>,
    /// How many of the disk's damages are in `tables`.
    damages: usize,
}

impl MemoryEngine {
    /// Opens the engine `name` on a disk, empty at first. Fails with [`Error::Corrupt`] where the
    /// log is damaged before its end.
    pub fn open(
        disk: &MemoryDisk,
        name: &str,
        durability: Durability,
        settings: MemorySettings,
    ) -> Result<Arc<MemoryEngine>, Error> {
        let (generation, tables) = disk.lock().image(name).open(name, durability)?;
        let until_flush = match durability {
            Durability::WriteAheadLog => 0,
            Durability::Flush => settings.until_flush(),
        };
        Ok(Arc::new(MemoryEngine {
            disk: disk.clone(),
            name: name.to_owned(),
            generation,
            durability,
            settings,
            live: Mutex::new(Live { tables, batches: 0, until_flush, failed: None, damages: 0 }),
        }))
    }

    /// A data engine in which nothing takes time, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(disk: &MemoryDisk) -> Arc<dyn Engine> {
        let settings = MemorySettings::instant();
        MemoryEngine::open(disk, "data", Durability::Flush, settings).expect("opened")
    }

    fn event(&self, what: &str, number: u64) {
        if let Some(on_event) = &self.settings.on_event {
            on_event(what, number);
        }
    }

    /// How long the next sync takes.
    fn sync_delay(&self) -> Duration {
        let (min, max) = (self.settings.sync_delay_min, self.settings.sync_delay_max);
        let spread_nanos = max.saturating_sub(min).as_nanos() as u64;
        match spread_nanos.checked_add(1) {
            Some(end) if end > 1 => {
                min + Duration::from_nanos(disk::below(&mut || (self.settings.rng)(), end))
            }
            _ => min,
        }
    }

    /// What readers see, with whatever was damaged meanwhile.
    fn live(&self) -> MutexGuard<'_, Live> {
        let mut live = self.live.lock();
        if self.disk.is_damaged() {
            let Live { tables, damages, .. } = &mut *live;
            *damages = self.disk.lock().image(&self.name).spread_damage(tables, *damages);
        }
        live
    }

    fn tables(&self) -> Tables {
        self.live().tables.clone()
    }

    /// Refuses where there is less room than this.
    fn check_room(&self, least: Room) -> Result<(), Error> {
        if self.disk.lock().room > least {
            return Err(Error::Full(format!("{}: the simulated disk is full", self.name)));
        }
        Ok(())
    }

    /// The disk's lock, if this engine may still change what is there.
    fn disk(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.disk.lock();
        if state.image(&self.name).generation != self.generation {
            return Err(Error::Failed(format!("{} was opened anew or crashed", self.name)));
        }
        Ok(state)
    }

    /// Does something to what is on the disk, unless the engine has failed.
    fn change<T>(&self, live: &Live, change: impl FnOnce(&mut Image) -> T) -> Result<T, Error> {
        match &live.failed {
            Some(cause) => Err(Error::Failed(cause.clone())),
            None => Ok(change(self.disk()?.image(&self.name))),
        }
    }

    /// The first half of a sync: notes what it covers. A log has the batches; a flush is of what they
    /// produced.
    fn begin_sync(&self) -> Result<(u64, Option<Tables>), Error> {
        let live = self.live.lock();
        let flushed = (self.durability == Durability::Flush).then(|| live.tables.clone());
        self.change(&live, |image| image.begin_sync(live.batches, flushed.as_ref()))?;
        let batches = live.batches;
        drop(live);
        self.event("sync-start", batches);
        Ok((batches, flushed))
    }

    /// The second half: makes that durable, or fails the engine.
    fn end_sync(&self, batches: u64, flushed: Option<Tables>) -> Result<(), Error> {
        let mut live = self.live.lock();
        let is_done = self.change(&live, |image| image.end_sync(batches, flushed))?;
        let result = if is_done || planted::active(Bug::FsyncErrorSwallowed) {
            // The careless hand: "it will work the next time".
            Ok(())
        } else {
            let cause = format!("{}: the sync failed", self.name);
            live.failed = Some(cause.clone());
            Err(Error::Failed(cause))
        };
        drop(live);
        self.event(if is_done { "sync-end" } else { "sync-failed" }, batches);
        result
    }
}

impl Reader for MemoryEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.live().tables.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.tables().scan(family, start, end, direction, visit)
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        if batch.has_puts() {
            self.check_room(Room::Little)?;
        }
        let batch = record::written(batch);
        let bytes = record::length(&batch) as u64;
        let mut live = self.live();
        self.change(&live, |image| image.write(&batch))?;
        live.tables.apply(&batch);
        live.batches += 1;
        if live.until_flush > bytes {
            live.until_flush -= bytes;
        } else if live.until_flush > 0 {
            live.until_flush = self.settings.until_flush();
            self.change(&live, |image| image.flush(live.batches, &live.tables))?;
        }
        drop(live);
        self.event("write", bytes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        // Here and not in the future: it covers what was written when it was called.
        let begun = self.begin_sync();
        async move {
            let (batches, flushed) = begun?;
            let delay = self.sync_delay() * self.disk.lock().slowness.max(1);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            while self.disk.lock().hangs {
                tokio::time::sleep(HANGING_LOOK).await;
            }
            self.end_sync(batches, flushed)
        }
        .boxed()
    }

    fn check_space(&self) -> Result<(), Error> {
        self.check_room(Room::Plenty)
    }

    fn free_space(&self) -> FreeSpace {
        let bytes = match self.disk.lock().room {
            Room::Plenty => return FreeSpace::PLENTY,
            Room::Little => 1,
            Room::None => 0,
        };
        FreeSpace { bytes, kept_bytes: 2 }
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.disk()?.image(&self.name).durable().get(family, key)
    }

    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader> {
        Arc::new(MemorySnapshot { tables: self.tables() })
    }

    fn disk_bytes(&self) -> u64 {
        self.live.lock().tables.bytes
    }

    fn metrics(&self) -> Vec<(&'static str, u64)> {
        let live = self.live.lock();
        vec![
            ("table_bytes", live.tables.bytes),
            ("batches_written", live.batches),
            ("write_ahead_log", u64::from(self.durability == Durability::WriteAheadLog)),
            ("failed", u64::from(live.failed.is_some())),
        ]
    }
}

/// The engine's state of one moment.
struct MemorySnapshot {
    tables: Tables,
}

impl Reader for MemorySnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.tables.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.tables.scan(family, start, end, direction, visit)
    }
}
