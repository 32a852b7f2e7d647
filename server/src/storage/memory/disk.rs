//! What survives a crash of a simulated node, and what the crash does to it.
//!
//! The durable state of an engine is its tables and the synced batches behind them; what was written and not synced is
//! kept apart, for a crash to lose all of it, or a tail of it, torn or not, as the kind of the engine permits. Faults
//! (a full, slow, hanging or damaged disk) are set here by the simulation and met by the engine in its next operation.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{
    super::engine::{Durability, Error, Family},
    record::{self, Written},
    tables::{Damage, Tables},
};

/// Synced batches that are kept apart from the durable tables. More than a few are moved into them at
/// once: the memory stays bounded.
const SYNCED_BATCHES_MAX: usize = 256;

/// The disk of one simulated node: its engines by name. Outlives the node's process; a clone is the
/// same disk. The simulation cuts the power ([`MemoryDisk::crash`]) and breaks things here. Where it
/// only kills the process and does not cut the power, the next opening finds all that was written to
/// a log, synced or not, and of an engine without a log the last complete sync.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    /// Something on it is damaged: a look without the lock.
    is_damaged: Arc<AtomicBool>,
}

#[derive(Default)]
pub(super) struct State {
    engines: BTreeMap<String, Image>,
    pub(super) room: Room,
    /// How many times as long syncs take; 0 is as 1.
    pub(super) slowness: u32,
    /// Syncs do not end.
    pub(super) hangs: bool,
}

/// How much room a disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    #[default]
    Plenty,
    /// So little that nothing new should be taken on: `check_space` refuses. What is written is still
    /// taken.
    Little,
    /// None: what adds anything is refused.
    None,
}

/// What the disk holds of one engine.
#[derive(Default)]
pub(super) struct Image {
    /// Counts openings and crashes. A process that opened under an earlier number is dead and can
    /// change nothing.
    pub(super) generation: u64,
    durability: Option<Durability>,
    /// What no crash takes away, `synced` with it.
    durable: Tables,
    /// Behind `durable`, and durable as well. Empty without a log.
    synced: Vec<Written>,
    /// How many of the batches since the opening are in `durable` and `synced`.
    durable_batches: u64,
    /// Behind those: written, not synced. Empty without a log.
    unsynced: VecDeque<Written>,
    /// What a crash left of the batch behind them: the beginning of its record.
    torn: Bytes,
    /// Without a log: the newest flush that was begun, with the number of its last batch.
    flushing: Option<(u64, Tables)>,
    fail_next_sync: bool,
    /// A sync failed: neither what it covered nor what came behind it gets durable any more.
    sync_failed: bool,
    /// Records that were damaged since the disk was new, as they were then.
    damage: Vec<Damage>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails: of every engine all is lost that was not synced, except, as on a real disk,
    /// a random beginning of it. With `tear` the batch behind that beginning is left in part, which
    /// the next opening has to notice. Without a log a flush in flight is there or not. Whoever has
    /// an engine open can change nothing from now on.
    pub fn crash(&self, rng: &mut dyn FnMut() -> u64, tear: bool) {
        for image in self.state.lock().engines.values_mut() {
            image.crash(rng, tear);
        }
    }

    /// Everything on it is lost, as when it is replaced by a new one. Whoever has an engine open can change
    /// nothing from now on.
    pub fn wipe(&self) {
        for image in self.state.lock().engines.values_mut() {
            *image = Image { generation: image.generation + 1, ..Image::default() };
        }
        self.is_damaged.store(false, Ordering::Release);
    }

    /// Damages a random record of what a random engine has made durable: whoever reads it finds its
    /// checksum wrong, until it is written anew. Says what it was; none where nothing is stored.
    pub fn damage(&self, rng: &mut dyn FnMut() -> u64) -> Option<String> {
        let mut state = self.state.lock();
        let mut filled: Vec<_> = state
            .engines
            .iter_mut()
            .map(|(name, image)| (name, image.families(), image))
            .filter(|(_, families, _)| !families.is_empty())
            .collect();
        let engines = u64::try_from(filled.len()).ok().filter(|engines| *engines > 0)?;
        let (name, families, image) = filled.swap_remove(below(rng, engines) as usize);
        let family = *families.get(below(rng, families.len() as u64) as usize)?;
        let place = below(rng, image.durable.records(family) as u64) as usize;
        let damage = image.durable.record(family, place)?;
        image.durable.damage(&damage);
        let what = format!("record {:x?} of family {} of {name}", &damage.key[..], family.name());
        image.damage.push(damage);
        self.is_damaged.store(true, Ordering::Release);
        Some(what)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// What no crash takes away of a record of an engine.
    pub fn durable(&self, name: &str, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.state.lock().engines.get_mut(name)?.durable().get(family, key).ok()?
    }

    /// The next sync of this engine fails, and with it the engine.
    pub fn fail_next_sync(&self, name: &str) {
        self.state.lock().image(name).fail_next_sync = true;
    }

    /// Takes back what no sync has met yet; whether there was something.
    pub fn let_syncs_work(&self) -> bool {
        let mut state = self.state.lock();
        let mut any = false;
        for image in state.engines.values_mut() {
            any |= std::mem::take(&mut image.fail_next_sync);
        }
        any
    }

    /// How much room there is from now on.
    pub fn set_room(&self, room: Room) {
        self.state.lock().room = room;
    }

    /// Syncs that begin from now on take `times` times as long.
    pub fn set_slowness(&self, times: u32) {
        self.state.lock().slowness = times;
    }

    /// Whether the disk answers no sync from now on, also those that are under way; what is written stays
    /// unsynced until it does.
    pub fn set_hanging(&self, hangs: bool) {
        self.state.lock().hangs = hangs;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    pub(super) fn image(&mut self, name: &str) -> &mut Image {
        self.engines.entry(name.to_owned()).or_default()
    }
}

impl Image {
    /// Replays the log and hands over what there is, with the generation of this opening.
    pub(super) fn open(
        &mut self,
        name: &str,
        durability: Durability,
    ) -> Result<(u64, Tables), Error> {
        if self.durability.is_some_and(|earlier| earlier != durability) {
            return Err(Error::Open(format!("{name} was written with another durability")));
        }
        let mut tables = self.durable().clone();
        let records = self.unsynced.iter().map(|batch| record::encode(batch));
        let log: Vec<Bytes> = records.chain([self.torn.clone()]).collect();
        for batch in record::replay(name, &log.concat())? {
            tables.apply(&batch);
        }
        self.generation += 1;
        self.durability = Some(durability);
        self.durable = tables.clone();
        self.durable_batches = 0;
        self.unsynced.clear();
        self.torn = Bytes::new();
        self.flushing = None;
        self.sync_failed = false;
        Ok((self.generation, tables))
    }

    /// What no crash takes away.
    pub(super) fn durable(&mut self) -> &Tables {
        for batch in self.synced.drain(..) {
            self.durable.apply(&batch);
        }
        &self.durable
    }

    /// Takes a batch into the log, where there is one.
    pub(super) fn write(&mut self, batch: &Written) {
        if self.durability == Some(Durability::WriteAheadLog) {
            self.unsynced.push_back(batch.clone());
        }
    }

    /// A sync of the first `batches` batches since the opening begins. Without a log it is a flush of what
    /// they produced.
    pub(super) fn begin_sync(&mut self, batches: u64, flushed: Option<&Tables>) {
        if let Some(tables) = flushed {
            self.flushing = Some((batches, tables.clone()));
        }
    }

    /// Without a log: a flush of the first `batches` batches begins that nobody asked for. The one before
    /// has ended by now.
    pub(super) fn flush(&mut self, batches: u64, tables: &Tables) {
        if self.sync_failed {
            return;
        }
        let before = self.flushing.replace((batches, tables.clone()));
        if let Some((batches, flushed)) = before
            && batches > self.durable_batches
        {
            self.durable_batches = batches;
            self.durable = self.damaged(flushed);
        }
    }

    /// It ends: what it covers is durable. False if it failed.
    pub(super) fn end_sync(&mut self, batches: u64, flushed: Option<Tables>) -> bool {
        self.sync_failed |= std::mem::take(&mut self.fail_next_sync);
        if self.sync_failed {
            return false;
        }
        // A later sync may have ended before.
        if let Some(newly) = batches.checked_sub(self.durable_batches) {
            self.durable_batches = batches;
            match flushed {
                Some(tables) => self.durable = self.damaged(tables),
                None => {
                    let synced = self.unsynced.len().min(newly as usize);
                    self.synced.extend(self.unsynced.drain(..synced));
                    if self.synced.len() > SYNCED_BATCHES_MAX {
                        self.durable();
                    }
                }
            }
        }
        self.flushing = self.flushing.take().filter(|(last, _)| *last > batches);
        true
    }

    /// Tables with what is damaged since they were read: no sync writes anew what did not change.
    fn damaged(&self, mut tables: Tables) -> Tables {
        self.damage.iter().for_each(|damage| tables.damage(damage));
        tables
    }

    /// What is damaged now is damaged in these tables, too, from the given number on; the next number.
    pub(super) fn spread_damage(&self, tables: &mut Tables, from: usize) -> usize {
        self.damage.iter().skip(from).for_each(|damage| tables.damage(damage));
        self.damage.len()
    }

    /// The families of which something is durable.
    fn families(&mut self) -> Vec<Family> {
        self.durable();
        Family::ALL.into_iter().filter(|family| self.durable.records(*family) > 0).collect()
    }

    fn crash(&mut self, rng: &mut dyn FnMut() -> u64, tear: bool) {
        self.generation += 1;
        self.fail_next_sync = false;
        self.sync_failed = false;
        if let Some((_, flushed)) = self.flushing.take()
            && below(rng, 2) == 1
        {
            self.durable = self.damaged(flushed);
        }
        let survivors = below(rng, self.unsynced.len() as u64 + 1) as usize;
        let torn = self.unsynced.get(survivors).map(|batch| {
            let record = record::encode(batch);
            // Never all of it: that would be another survivor.
            record.slice(..below(rng, record.len() as u64) as usize)
        });
        self.unsynced.truncate(survivors);
        self.torn = torn.filter(|_| tear).unwrap_or_default();
    }
}

/// A random number below `end`, which must not be 0.
pub(super) fn below(rng: &mut dyn FnMut() -> u64, end: u64) -> u64 {
    rng() % end
}
