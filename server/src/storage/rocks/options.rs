//! How RocksDB is set up for this load: small records, a log that is appended at its end and
//! deleted at its head, reads that are seeks to the newest version of a key, and several processes
//! on few cores.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, InfoLogger, LogLevel, Options,
    SliceTransform,
};

use super::super::engine::{Durability, Family};

/// Filter bits a key; ten give about one false positive in a hundred.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Share of a memtable that its bloom filter takes.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// Blocks of the families that are read by seeks: small, a read wants one record of it.
const BLOCK_BYTES: usize = 8 << 10;
/// Blocks of the log, which is read in long runs.
const LOG_BLOCK_BYTES: usize = 32 << 10;
/// Table files are written back to disk in pieces of this size, so that the end of a flush does not
/// delay the log's fsync.
const WRITE_BACK_BYTES: u64 = 1 << 20;

/// Flushed files of `Data` that begin a compaction.
const LEVEL_0_FILES: i32 = 8;
/// Memtables grow by pieces of this size: small enough to come from memory that was freed before
/// (`ops/allocator.rs`), not from the kernel.
const ARENA_BLOCK_BYTES: usize = 1 << 20;
/// Sizes of memtables, in percent of the largest, by node: no two of them are soon in step again.
const STAGGERED_PERCENT: [usize; 5] = [100, 88, 77, 68, 60];

/// What a caller chooses about an engine; the rest is fixed in this module.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// The families that this engine holds. Others are refused.
    pub families: Vec<Family>,
    /// Size of the cache of uncompressed blocks, shared by the families.
    pub block_cache_bytes: usize,
    /// Size at which memtables are written to table files; also about the size of a log file.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions together.
    pub background_jobs_max: u16,
    /// [`Engine::check_space`](crate::storage::Engine::check_space) refuses below this much free
    /// space on the disk, writes below a quarter of it: the rest is for deleting and compacting.
    /// 0 switches both off.
    pub free_bytes_min: u64,
}

impl RocksOptions {
    /// For the engine of the Raft logs.
    pub fn log() -> Self {
        RocksOptions {
            families: vec![Family::Log],
            block_cache_bytes: 8 << 20,
            write_buffer_bytes: 96 << 20,
            background_jobs_max: 2,
            free_bytes_min: 128 << 20,
        }
    }

    /// For the engine of what the logs produced.
    pub fn data() -> Self {
        RocksOptions {
            families: Family::ALL.to_vec(),
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            background_jobs_max: 2,
            free_bytes_min: 128 << 20,
        }
    }

    /// With memtables that are full at other times than those of other nodes. Replicas write the
    /// same at the same pace: with equal sizes all of them would flush at the same moment, and no
    /// majority would be left that does not.
    pub fn staggered(self, turn: u64) -> Self {
        let turns = STAGGERED_PERCENT.len() as u64;
        let percent = usize::try_from(turn % turns).map_or(100, |turn| STAGGERED_PERCENT[turn]);
        RocksOptions { write_buffer_bytes: self.write_buffer_bytes / 100 * percent, ..self }
    }
}

/// Options of the whole database. `log` gets RocksDB's own warnings and errors.
pub(super) fn database(
    options: &RocksOptions,
    durability: Durability,
    log: impl Fn(LogLevel, &str) + Send + Sync + 'static,
) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_paranoid_checks(true);
    // No LOG file: warnings go where the node's go.
    db.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
    // One task applies, one thread writes the log: nobody writes to a memtable at the same time, and
    // an insert without atomics is cheaper.
    db.set_allow_concurrent_memtable_write(false);
    db.set_max_background_jobs(i32::from(options.background_jobs_max.max(2)));
    db.set_bytes_per_sync(WRITE_BACK_BYTES);
    // One thread writes at a time: nobody to spin for.
    db.set_enable_write_thread_adaptive_yield(false);
    // Only for the periodic dump into the log file that does not exist.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    match durability {
        Durability::WriteAheadLog => {
            db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
            // The manifest knows how long a finished log file has to be: one that was cut is seen.
            db.set_track_and_verify_wals_in_manifest(true);
            // A write goes to a buffer; the sync makes one write and one fdatasync of all of them.
            db.set_manual_wal_flush(true);
        }
        Durability::Flush => {
            db.set_atomic_flush(true);
            // Any full family flushes all; this bounds their sum.
            db.set_db_write_buffer_size(options.write_buffer_bytes.saturating_mul(2));
        }
    }
    db
}

/// Options of one family.
pub(super) fn family(options: &RocksOptions, family: Family, cache: &Cache) -> Options {
    let mut cf = Options::default();
    cf.set_write_buffer_size(options.write_buffer_bytes);
    cf.set_arena_block_size(ARENA_BLOCK_BYTES.min(options.write_buffer_bytes / 8));
    // Of the log few and large ones: what is truncated before a flush is not written again.
    cf.set_max_write_buffer_number(if family == Family::Log { 2 } else { 3 });
    cf.set_level_compaction_dynamic_level_bytes(true);

    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_format_version(5);
    match family {
        // Lives short, is mostly read from memtables, and values come from clients as they are.
        Family::Log => {
            cf.set_compression_type(DBCompressionType::None);
            table.set_block_size(LOG_BLOCK_BYTES);
            // Tables that are mostly removed entries are compacted soon, or a seek walks over them.
            cf.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        }
        // Read by seeks to the newest version: filters on the key without its timestamp.
        Family::Data => {
            cf.set_compression_type(DBCompressionType::Lz4);
            // What is flushed is compacted soon; once compressed is enough.
            cf.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
            // Compaction writes everything again; filters keep reads from looking into most files.
            cf.set_level_zero_file_num_compaction_trigger(LEVEL_0_FILES);
            cf.set_prefix_extractor(SliceTransform::create(
                "quintet.encoded-key",
                encoded_key_or_all,
                Some(has_encoded_key),
            ));
            cf.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
            table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            table.set_whole_key_filtering(false);
            table.set_block_size(BLOCK_BYTES);
        }
        // Written, read once from end to end, removed.
        Family::Staged => {
            cf.set_compression_type(DBCompressionType::Lz4);
            table.set_block_size(LOG_BLOCK_BYTES);
        }
        // Read by whole keys; those of `Dedup` are mostly absent.
        Family::Lock | Family::Txn | Family::Mark | Family::Dedup | Family::Meta => {
            cf.set_compression_type(DBCompressionType::Lz4);
            cf.set_memtable_whole_key_filtering(true);
            cf.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
            table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            table.set_whole_key_filtering(true);
            table.set_block_size(BLOCK_BYTES);
        }
    }
    cf.set_block_based_table_factory(&table);
    cf
}

/// The leading part of a stored key that all versions of one user key share, and no other key:
/// four bytes of keyspace, then everything up to the first `0x00 0x01`. `None` for keys of other
/// shapes. Filters are built on it; whatever it says, reads stay right (see [`is_within_encoded_key`]).
pub(super) fn encoded_key(key: &[u8]) -> Option<&[u8]> {
    let mut at = 4;
    loop {
        at += key.get(at..)?.iter().position(|&byte| byte == 0)?;
        if *key.get(at + 1)? == 1 {
            return key.get(..at + 2);
        }
        at += 2;
    }
}

fn encoded_key_or_all(key: &[u8]) -> &[u8] {
    encoded_key(key).unwrap_or(key)
}

fn has_encoded_key(key: &[u8]) -> bool {
    encoded_key(key).is_some()
}

/// Whether every possible key in `[start, end)` has the same encoded key as `start`, so that the
/// filters may be asked.
pub(super) fn is_within_encoded_key(start: &[u8], end: &[u8]) -> bool {
    let Some(prefix) = encoded_key(start) else { return false };
    // The first key behind all of `prefix`'s: its last byte, 0x01, raised.
    let behind = prefix.split_last().is_some_and(|(last, head)| {
        end.split_last()
            .is_some_and(|(end_last, end_head)| end_head == head && *end_last == last + 1)
    });
    behind || end.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoded_key_ends_at_the_first_terminator() {
        assert_eq!(encoded_key(b"\0\0\0\x01ab\0\x01rest"), Some(&b"\0\0\0\x01ab\0\x01"[..]));
        assert_eq!(
            encoded_key(b"\0\x01\0\x01\0\xff\0\x01\0\x01"),
            Some(&b"\0\x01\0\x01\0\xff\0\x01"[..])
        );
        assert_eq!(encoded_key(b"\0\0\0\x01ab\0"), None);
        assert_eq!(encoded_key(b"\0\x01"), None);
        assert_eq!(encoded_key(b""), None);
    }

    #[test]
    fn only_scans_of_one_key_ask_the_filters() {
        let key = b"\0\0\0\x01ab\0\x01";
        let start = [&key[..], &[0; 8]].concat();
        assert!(is_within_encoded_key(&start, &[&key[..], &[0xff; 8]].concat()));
        assert!(is_within_encoded_key(&start, b"\0\0\0\x01ab\0\x02"));
        assert!(!is_within_encoded_key(&start, b"\0\0\0\x01ab\0\x03"));
        assert!(!is_within_encoded_key(&start, b"\0\0\0\x01ac"));
        assert!(!is_within_encoded_key(&start, b""));
        assert!(!is_within_encoded_key(b"ab", b"ac"));
    }
}
