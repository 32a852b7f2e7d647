//! The engine on RocksDB. Nothing else in the repository uses the `rocksdb` crate.
//!
//! # With a write-ahead log
//!
//! `write` appends to RocksDB's buffer, `sync` makes one `write` and one `fdatasync` of all that was
//! buffered. Two things are added to what RocksDB does:
//!
//! * *Log files are closed by this module*, not by a memtable that happens to be full: the old file
//!   is synced whole before the first byte goes into the next. Otherwise a power failure could take
//!   the end of the old file and leave the beginning of the next one, a hole that replay would
//!   not see. (Batches of more than an eighth of the write buffer may get past this.)
//! * *The files are looked at before they are replayed* (`wal.rs`): RocksDB mistakes some damage for
//!   a torn tail.
//!
//! # Without
//!
//! Writes go to the memtables alone; `sync` flushes all families atomically, and so does RocksDB by
//! itself when one of them is full. A crash leaves the last complete flush.
//!
//! # Errors
//!
//! Room on the disk is asked for before a write (`space.rs`). Any error of RocksDB in a write or a
//! sync fails the engine for good, with one exception: a write refused because a flush found the
//! disk full, which RocksDB repeats by itself.

mod options;
mod space;
mod wal;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures::future::{BoxFuture, FutureExt};
use parking_lot::{Mutex, RwLock};
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRawIteratorWithThreadMode,
    ErrorKind, FlushOptions, LogLevel, ReadOptions, ReadTier, SnapshotWithThreadMode, WriteBatch,
    WriteOptions, properties,
};

pub use self::options::RocksOptions;
use self::space::Space;
use super::engine::{
    Batch, Change, Direction, Durability, Engine, Error, Family, FreeSpace, Reader, Visit,
};

/// RocksDB in one directory. See [`Engine`] for what it promises.
pub struct RocksEngine {
    /// What is known to be durable; only where there is a write-ahead log, without one RocksDB can
    /// say it.
    durable: Mutex<Option<OwnedSnapshot>>,
    db: Arc<DB>,
    dir: PathBuf,
    durability: Durability,
    families: Vec<Family>,
    cache: Cache,
    space: Space,
    write_options: WriteOptions,
    persisted: ReadOptions,
    /// Why nothing is accepted any more.
    failed: OnceLock<String>,
    /// Held by writers, shared, and alone while the log goes on to its next file.
    log_file: RwLock<()>,
    /// Bytes written since the memtables' size was looked at.
    unweighed_bytes: AtomicU64,
    write_buffer_bytes: u64,
}

impl RocksEngine {
    /// Opens the engine in `dir`, which is created if it is missing. [`Error::Corrupt`] names the
    /// damaged file; [`Error::Open`] says why else it can't be opened.
    pub fn open(
        dir: &Path,
        durability: Durability,
        options: RocksOptions,
    ) -> Result<Arc<RocksEngine>, Error> {
        let unusable = |error| Error::Open(format!("can't use {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(unusable)?;
        if durability == Durability::WriteAheadLog {
            for entry in fs::read_dir(dir).map_err(unusable)? {
                let path = entry.map_err(unusable)?.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    wal::check(&path)?;
                }
            }
        }

        // RocksDB's error does not name a damaged log file, but its log message does.
        let complaint: Arc<OnceLock<String>> = Arc::default();
        let heard = complaint.clone();
        let shown = dir.display().to_string();
        let db_options = options::database(&options, durability, move |level, message| {
            let message = message.trim_end();
            match level {
                LogLevel::Error | LogLevel::Fatal => {
                    tracing::error!(dir = shown, "rocksdb: {message}");
                }
                LogLevel::Warn => tracing::warn!(dir = shown, "rocksdb: {message}"),
                // Its settings, hundreds of lines at every start.
                _ => tracing::debug!(dir = shown, "rocksdb: {message}"),
            }
            if message.contains("dropping") {
                heard.get_or_init(|| message.to_owned());
            }
        });
        let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
        let descriptors = options.families.iter().map(|&family| {
            ColumnFamilyDescriptor::new(family.name(), options::family(&options, family, &cache))
        });
        let db = DB::open_cf_descriptors(&db_options, dir, descriptors)
            .map_err(|error| open_error(dir, error, complaint.get()))?;
        let db = Arc::new(db);

        let mut write_options = WriteOptions::default();
        write_options.disable_wal(durability == Durability::Flush);
        let mut persisted = ReadOptions::default();
        persisted.set_read_tier(ReadTier::Persisted);
        // What was replayed from the log has been flushed to table files by now.
        let durable = (durability == Durability::WriteAheadLog).then(|| OwnedSnapshot::new(&db));
        Ok(Arc::new(RocksEngine {
            durable: Mutex::new(durable),
            db,
            dir: dir.to_owned(),
            durability,
            families: options.families,
            cache,
            space: Space::new(dir.to_owned(), options.free_bytes_min),
            write_options,
            persisted,
            failed: OnceLock::new(),
            log_file: RwLock::new(()),
            unweighed_bytes: AtomicU64::new(0),
            write_buffer_bytes: options.write_buffer_bytes as u64,
        }))
    }

    fn check_failed(&self) -> Result<(), Error> {
        self.failed.get().map_or(Ok(()), |cause| Err(Error::Failed(cause.clone())))
    }

    /// Fails the engine for good.
    fn fail(&self, cause: String) -> Error {
        Error::Failed(self.failed.get_or_init(|| cause).clone())
    }

    fn write_error(&self, error: rocksdb::Error) -> Error {
        let message = error.into_string();
        // Full, but not in the log: a flush, which RocksDB repeats once there is room. Nothing of
        // this batch was written.
        if message.contains("No space left") && !message.contains(".log") {
            return Error::Full(message);
        }
        self.fail(message)
    }

    /// Writes the log's buffer and syncs its file.
    fn sync_log(&self) -> Result<(), Error> {
        self.check_failed()?;
        let written = OwnedSnapshot::new(&self.db);
        self.db.flush_wal(true).map_err(|error| self.fail(error.into_string()))?;
        // Another sync may have failed meanwhile, and then this one proves nothing.
        self.check_failed()?;
        let mut durable = self.durable.lock();
        if durable.as_ref().is_none_or(|known| known.sequence() < written.sequence()) {
            *durable = Some(written);
        }
        Ok(())
    }

    /// Whether the memtables are so large that they should be written to table files. Looks only
    /// once in a while.
    fn is_log_file_due(&self) -> bool {
        if self.unweighed_bytes.load(Relaxed) < self.write_buffer_bytes / 16 {
            return false;
        }
        self.unweighed_bytes.store(0, Relaxed);
        self.sum(properties::CUR_SIZE_ACTIVE_MEM_TABLE) >= self.write_buffer_bytes / 4 * 3
    }

    /// Starts a flush and with it the log's next file, the old one being durable whole.
    fn next_log_file(&self) -> Result<(), Error> {
        let _alone = self.log_file.write();
        self.sync_log()?;
        let mut flush = FlushOptions::default();
        flush.set_wait(false);
        let families = self.opened_families();
        self.db.flush_cfs_opt(&families, &flush).map_err(|error| self.fail(error.into_string()))
    }

    fn opened_families(&self) -> Vec<&ColumnFamily> {
        self.families.iter().filter_map(|family| self.db.cf_handle(family.name())).collect()
    }

    /// A figure summed over the families.
    fn sum(&self, property: &rocksdb::properties::PropName) -> u64 {
        self.opened_families()
            .into_iter()
            .filter_map(|cf| self.db.property_int_value_cf(cf, property).ok().flatten())
            .fold(0, u64::saturating_add)
    }

    /// A figure of the whole database; 0 where RocksDB doesn't know it.
    fn figure(&self, property: &rocksdb::properties::PropName) -> u64 {
        self.db.property_int_value(property).ok().flatten().unwrap_or(0)
    }
}

impl Reader for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(handle(&self.db, family)?, key).map_err(read_error)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let iterator = |cf: &_, options| self.db.raw_iterator_cf_opt(cf, options);
        scan_with(&self.db, family, (start, end), direction, true, iterator, visit)
    }

    fn scan_once(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let iterator = |cf: &_, options| self.db.raw_iterator_cf_opt(cf, options);
        scan_with(&self.db, family, (start, end), Direction::Forward, false, iterator, visit)
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.check_failed()?;
        let bytes = batch.changes.iter().map(change_bytes).sum::<usize>();
        if batch.has_puts() {
            self.space.take(bytes as u64)?;
        }
        let mut writes = WriteBatch::with_capacity_bytes(bytes);
        for change in &batch.changes {
            match change {
                Change::Put { family, key, value } => {
                    writes.put_cf(handle(&self.db, *family)?, key, value);
                }
                Change::Delete { family, key } => {
                    writes.delete_cf(handle(&self.db, *family)?, key);
                }
                Change::DeleteRange { family, start, end } if start < end => {
                    writes.delete_range_cf(handle(&self.db, *family)?, start, end);
                }
                Change::DeleteRange { .. } => {}
            }
        }
        {
            let _file = self.log_file.read();
            self.db
                .write_opt(writes, &self.write_options)
                .map_err(|error| self.write_error(error))?;
        }
        if self.durability == Durability::WriteAheadLog {
            self.unweighed_bytes.fetch_add(bytes as u64, Relaxed);
            if self.is_log_file_due() {
                self.next_log_file()?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        match self.durability {
            Durability::WriteAheadLog => async { self.sync_log() }.boxed(),
            Durability::Flush => async {
                self.check_failed()?;
                let db = self.db.clone();
                let families = self.families.clone();
                let flushed = tokio::task::spawn_blocking(move || flush(&db, &families)).await;
                match flushed {
                    Ok(Ok(())) => self.check_failed(),
                    Ok(Err(error)) => Err(self.fail(error.into_string())),
                    Err(stopped) => Err(self.fail(format!("the flush did not finish: {stopped}"))),
                }
            }
            .boxed(),
        }
    }

    fn check_space(&self) -> Result<(), Error> {
        self.space.check()
    }

    fn free_space(&self) -> FreeSpace {
        self.space.free()
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match &*self.durable.lock() {
            Some(snapshot) => snapshot.get(family, key),
            None => self
                .db
                .get_cf_opt(handle(&self.db, family)?, key, &self.persisted)
                .map_err(read_error),
        }
    }

    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader> {
        Arc::new(OwnedSnapshot::new(&self.db))
    }

    fn reclaim(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> BoxFuture<'_, Result<(), Error>> {
        let (db, families) = (self.db.clone(), self.families.clone());
        let (start, end) = (start.to_vec(), end.to_vec());
        async move {
            self.check_failed()?;
            let reclaimed = tokio::task::spawn_blocking(move || {
                // Removals that are not in table files are not compacted.
                flush(&db, &families)?;
                let mut options = CompactOptions::default();
                options.set_exclusive_manual_compaction(false);
                if let Some(cf) = db.cf_handle(family.name()) {
                    db.compact_range_cf_opt(cf, Some(&start), Some(&end), &options);
                }
                Ok::<_, rocksdb::Error>(())
            });
            match reclaimed.await {
                Ok(Ok(())) => self.check_failed(),
                Ok(Err(error)) => Err(self.write_error(error)),
                // The node is stopping.
                Err(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.dir) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
    }

    fn metrics(&self) -> Vec<(&'static str, u64)> {
        let mut figures = vec![
            ("memtable_bytes", self.sum(properties::CUR_SIZE_ALL_MEM_TABLES)),
            ("memtables_waiting", self.sum(properties::NUM_IMMUTABLE_MEM_TABLE)),
            ("table_bytes", self.sum(properties::TOTAL_SST_FILES_SIZE)),
            ("table_reader_bytes", self.sum(properties::ESTIMATE_TABLE_READERS_MEM)),
            ("pending_compaction_bytes", self.sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES)),
            ("block_cache_bytes", self.cache.get_usage() as u64),
            ("flushes_running", self.figure(properties::NUM_RUNNING_FLUSHES)),
            ("compactions_running", self.figure(properties::NUM_RUNNING_COMPACTIONS)),
            ("write_stalled", self.figure(properties::IS_WRITE_STOPPED)),
            ("write_limit_bytes_per_second", self.figure(properties::ACTUAL_DELAYED_WRITE_RATE)),
            ("background_errors", self.sum(properties::BACKGROUND_ERRORS)),
            ("snapshots", self.figure(properties::NUM_SNAPSHOTS)),
            ("disk_free_bytes", self.space.ask()),
            ("disk_used_bytes", self.disk_bytes()),
            ("failed", u64::from(self.failed.get().is_some())),
        ];
        // RocksDB's estimates: what was removed and not compacted yet counts with them.
        for (family, name) in [(Family::Data, "data_records"), (Family::Dedup, "dedup_records")] {
            let Some(cf) = self.db.cf_handle(family.name()) else { continue };
            let records = self.db.property_int_value_cf(cf, properties::ESTIMATE_NUM_KEYS);
            figures.extend(records.ok().flatten().map(|records| (name, records)));
        }
        figures
    }
}

/// A read snapshot that keeps its database open.
struct OwnedSnapshot {
    /// Borrows from `db`. Declared, and so dropped, before it.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    db: Arc<DB>,
}

impl OwnedSnapshot {
    fn new(db: &Arc<DB>) -> Self {
        // SAFETY: the reference points into the allocation of `db`, which does not move and lives
        // at least as long as the clone that is stored beside the snapshot. The snapshot is private,
        // never handed out with its pretended lifetime, and dropped first (field order).
        let pretended: &'static DB = unsafe { &*Arc::as_ptr(db) };
        OwnedSnapshot { snapshot: pretended.snapshot(), db: db.clone() }
    }

    /// How many changes it has seen.
    fn sequence(&self) -> u64 {
        self.snapshot.sequence_number()
    }
}

impl Reader for OwnedSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.snapshot.get_cf(handle(&self.db, family)?, key).map_err(read_error)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let iterator = |cf: &_, options| self.snapshot.raw_iterator_cf_opt(cf, options);
        scan_with(&self.db, family, (start, end), direction, true, iterator, visit)
    }

    fn scan_once(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let iterator = |cf: &_, options| self.snapshot.raw_iterator_cf_opt(cf, options);
        scan_with(&self.db, family, (start, end), Direction::Forward, false, iterator, visit)
    }
}

/// Visits what is in a span, by an iterator of the newest state or of a read snapshot. What is read
/// once does not fill the cache.
fn scan_with<'a>(
    db: &'a DB,
    family: Family,
    (start, end): (&[u8], &[u8]),
    direction: Direction,
    fill_cache: bool,
    iterator: impl FnOnce(&ColumnFamily, ReadOptions) -> DBRawIteratorWithThreadMode<'a, DB>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let Some(mut options) = scan_options(family, start, end, direction) else { return Ok(()) };
    options.fill_cache(fill_cache);
    run_scan(iterator(handle(db, family)?, options), start, direction, visit)
}

fn handle(db: &DB, family: Family) -> Result<&ColumnFamily, Error> {
    db.cf_handle(family.name())
        .ok_or_else(|| Error::Open(format!("this engine has no family {}", family.name())))
}

/// How to read `[start, end)`; `None` if there is nothing in it.
fn scan_options(
    family: Family,
    start: &[u8],
    end: &[u8],
    direction: Direction,
) -> Option<ReadOptions> {
    if !end.is_empty() && start >= end {
        return None;
    }
    let mut options = ReadOptions::default();
    // Bounds keep a scan from walking over removed records, and from reading blocks, beyond them.
    if !end.is_empty() {
        options.set_iterate_upper_bound(end);
    }
    if direction == Direction::Reverse && !start.is_empty() {
        options.set_iterate_lower_bound(start);
    }
    // The versions of one key: the filters tell most table files apart without a look at them.
    let is_filtered = family == Family::Data
        && direction == Direction::Forward
        && options::is_within_encoded_key(start, end);
    options.set_total_order_seek(!is_filtered);
    Some(options)
}

/// Visits what an iterator with bounds yields.
fn run_scan(
    mut iterator: DBRawIteratorWithThreadMode<'_, DB>,
    start: &[u8],
    direction: Direction,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    match direction {
        Direction::Forward => iterator.seek(start),
        Direction::Reverse => iterator.seek_to_last(),
    }
    while let Some((key, value)) = iterator.item() {
        if let ControlFlow::Break(()) = visit(key, value) {
            return Ok(());
        }
        match direction {
            Direction::Forward => iterator.next(),
            Direction::Reverse => iterator.prev(),
        }
    }
    iterator.status().map_err(read_error)
}

/// Flushes all families to one moment and waits for it.
fn flush(db: &DB, families: &[Family]) -> Result<(), rocksdb::Error> {
    let families: Vec<_> =
        families.iter().filter_map(|family| db.cf_handle(family.name())).collect();
    let mut options = FlushOptions::default();
    options.set_wait(true);
    db.flush_cfs_opt(&families, &options)
}

/// About what a change takes in the log and in a memtable.
fn change_bytes(change: &Change) -> usize {
    const OVERHEAD_BYTES: usize = 24;
    OVERHEAD_BYTES
        + match change {
            Change::Put { key, value, .. } => key.len() + value.len(),
            Change::Delete { key, .. } => key.len(),
            Change::DeleteRange { start, end, .. } => start.len() + end.len(),
        }
}

/// An error of a read: damage, or a disk that doesn't answer. Neither gives a wrong result.
fn read_error(error: rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption => Error::Corrupt(error.into_string()),
        _ => Error::Failed(error.into_string()),
    }
}

/// An error of opening `dir`; `complaint` is what RocksDB logged about a file meanwhile.
fn open_error(dir: &Path, error: rocksdb::Error, complaint: Option<&String>) -> Error {
    let kind = error.kind();
    let message = error.into_string();
    let dir = dir.display();
    if message.contains("While lock file") || message.contains("lock hold by current process") {
        return Error::Open(format!("{dir} is in use by another process: {message}"));
    }
    if message.contains("No space left") {
        return Error::Full(message);
    }
    match (kind, complaint) {
        (ErrorKind::Corruption, Some(complaint)) => {
            Error::Corrupt(format!("{message}: {complaint}"))
        }
        (ErrorKind::Corruption, None) => Error::Corrupt(format!("{dir}: {message}")),
        _ => Error::Open(format!("can't open {dir}: {message}")),
    }
}
