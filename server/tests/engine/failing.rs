//! Disks that fail or are full, directories in use, and openers that are dead.
//!
//! A failed sync is the end of an engine: a system may have dropped what it could not write and report success the next
//! time, so nothing is accepted any more, while reads go on. A full disk is not the end: puts are refused and deletes
//! are taken, or the space would never come back. That is asked of both engines.

use std::{ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use quintet_server::storage::{
    Batch, Direction, Durability, Engine, Error, Family, Reader,
    memory::{MemoryDisk, MemoryEngine, MemorySettings, Room},
    rocks::{RocksEngine, RocksOptions},
};

use crate::{power, subject::small_options};

const BOTH: [Durability; 2] = [Durability::WriteAheadLog, Durability::Flush];

fn put(key: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::Log, key.to_vec(), b"value".to_vec());
    batch
}

fn delete(key: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.delete(Family::Log, key.to_vec());
    batch
}

fn has(reader: &dyn Reader, key: &[u8]) -> bool {
    reader.get(Family::Log, key).unwrap().is_some()
}

/// Everything fails, for good, and reads go on.
async fn assert_failed(engine: &dyn Engine) {
    for _ in 0..3 {
        assert!(matches!(engine.write(put(b"more")), Err(Error::Failed(_))));
        assert!(matches!(engine.write(delete(b"a")), Err(Error::Failed(_))));
        assert!(matches!(engine.sync().await, Err(Error::Failed(_))));
    }
    assert!(has(engine, b"a") && has(engine, b"b") && !has(engine, b"more"));
    assert!(engine.metrics().contains(&("failed", 1)));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_accepted() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(dir.path(), durability, small_options()).unwrap();
        engine.write(put(b"a")).unwrap();
        engine.sync().await.unwrap();
        engine.write(put(b"b")).unwrap();
        power::fail_syncs(dir.path(), 0);
        let Err(Error::Failed(cause)) = engine.sync().await else { panic!("synced") };
        assert!(cause.contains("Input/output error"), "{cause}");
        assert_failed(&*engine).await;
        assert!(engine.get_durable(Family::Log, b"a").unwrap().is_some());
        assert!(engine.get_durable(Family::Log, b"b").unwrap().is_none());

        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "log", durability, MemorySettings::instant()).unwrap();
        engine.write(put(b"a")).unwrap();
        engine.sync().await.unwrap();
        engine.write(put(b"b")).unwrap();
        disk.fail_next_sync("log");
        assert!(matches!(engine.sync().await, Err(Error::Failed(_))));
        assert_failed(&*engine).await;
    }
}

/// A power failure may take the end of one log file and leave the beginning of the next one, unless
/// the first was safe before anything went into the second.
#[tokio::test]
async fn batches_survive_in_order_across_log_files() {
    for seed in 0..20 {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("before");
        let open = |dir: &Path| {
            RocksEngine::open(dir, Durability::WriteAheadLog, small_options()).unwrap()
        };
        let engine = open(&dir);
        power::fail_syncs(&dir, seed % 3);
        for n in 0..400_u32 {
            let mut batch = Batch::new();
            batch.put(Family::Log, n.to_be_bytes().to_vec(), vec![0; 1000]);
            if engine.write(batch).is_err() {
                break;
            }
        }
        assert!(matches!(engine.sync().await, Err(Error::Failed(_))));
        let found = parent.path().join("after");
        // Little is left of the first file, all of the last.
        let mut draws = 0;
        power::cut(&dir, &found, &mut || {
            draws += 1;
            if draws == 1 { u64::from(seed) * 100 } else { u64::MAX }
        });
        let engine = open(&found);
        let mut expected = 0_u32;
        let mut visit = |key: &[u8], _: &[u8]| {
            assert_eq!(key, expected.to_be_bytes());
            expected += 1;
            ControlFlow::Continue(())
        };
        engine.scan(Family::Log, b"", b"", Direction::Forward, &mut visit).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_puts_and_takes_deletes() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let open = |free_bytes_min| {
            let options = RocksOptions { free_bytes_min, ..small_options() };
            RocksEngine::open(dir.path(), durability, options).unwrap()
        };
        let engine = open(0);
        engine.write(put(b"a")).unwrap();
        engine.write(put(b"b")).unwrap();
        engine.check_space().unwrap();
        engine.sync().await.unwrap();
        drop(engine);
        // No disk has as much room as this asks for.
        let engine = open(u64::MAX);
        assert!(matches!(engine.check_space(), Err(Error::Full(_))));
        assert!(matches!(engine.write(put(b"c")), Err(Error::Full(_))));
        engine.write(delete(b"a")).unwrap();
        engine.sync().await.unwrap();
        assert!(!has(&*engine, b"a") && has(&*engine, b"b") && !has(&*engine, b"c"));

        let disk = MemoryDisk::new();
        let engine =
            MemoryEngine::open(&disk, "log", durability, MemorySettings::instant()).unwrap();
        engine.write(put(b"a")).unwrap();
        disk.set_room(Room::None);
        assert!(matches!(engine.check_space(), Err(Error::Full(_))));
        assert!(matches!(engine.write(put(b"c")), Err(Error::Full(_))));
        engine.write(delete(b"a")).unwrap();
        disk.set_room(Room::Plenty);
        engine.write(put(b"c")).unwrap();
        engine.sync().await.unwrap();
        assert!(!has(&*engine, b"a") && has(&*engine, b"c"));
    }
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RocksEngine::open(dir.path(), Durability::WriteAheadLog, small_options());
    let first = open().unwrap();
    let Err(Error::Open(message)) = open() else { panic!("opened twice") };
    assert!(message.contains("in use by another process"), "{message}");
    assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
    // A read snapshot keeps it open.
    let snapshot = first.snapshot();
    assert!(open().is_err());
    drop(snapshot);
    open().unwrap();
}

#[test]
fn a_family_that_was_not_opened_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = RocksOptions { families: vec![Family::Meta], ..small_options() };
    let engine = RocksEngine::open(dir.path(), Durability::WriteAheadLog, options).unwrap();
    assert!(matches!(engine.write(put(b"a")), Err(Error::Open(_))));
    assert!(matches!(engine.get(Family::Log, b"a"), Err(Error::Open(_))));
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"a".to_vec(), b"value".to_vec());
    engine.write(batch).unwrap();
}

#[tokio::test]
async fn a_dead_opener_changes_nothing() {
    for durability in BOTH {
        let disk = MemoryDisk::new();
        let open =
            || MemoryEngine::open(&disk, "log", durability, MemorySettings::instant()).unwrap();
        let dead = open();
        dead.write(put(b"a")).unwrap();
        dead.sync().await.unwrap();
        dead.write(put(b"b")).unwrap();
        let under_way = dead.sync();
        let engine = open();
        assert!(matches!(under_way.await, Err(Error::Failed(_))));
        assert!(matches!(dead.write(put(b"c")), Err(Error::Failed(_))));
        assert!(matches!(dead.sync().await, Err(Error::Failed(_))));
        assert!(has(&*engine, b"a") && !has(&*engine, b"c"));
        assert_eq!(has(&*engine, b"b"), durability == Durability::WriteAheadLog);

        disk.crash(&mut || 0, false);
        assert!(matches!(engine.write(put(b"c")), Err(Error::Failed(_))));
        assert!(has(&*open(), b"a"));
    }
}

#[tokio::test]
async fn a_memory_sync_takes_time_and_covers_what_was_written_when_it_was_called() {
    for durability in BOTH {
        let disk = MemoryDisk::new();
        let events = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = events.clone();
        let settings = MemorySettings {
            sync_delay_min: Duration::from_millis(2),
            sync_delay_max: Duration::from_millis(8),
            rng: Arc::new(|| 3_000_000),
            flush_bytes_max: 0,
            on_event: Some(Arc::new(move |what, number| {
                heard.lock().unwrap().push((what.to_owned(), number));
            })),
        };
        let engine = MemoryEngine::open(&disk, "log", durability, settings).unwrap();
        engine.write(put(b"a")).unwrap();
        let started = tokio::time::Instant::now();
        let sync = engine.sync();
        engine.write(put(b"b")).unwrap();
        assert!(engine.get_durable(Family::Log, b"a").unwrap().is_none());
        sync.await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(5));
        assert!(engine.get_durable(Family::Log, b"a").unwrap().is_some());
        assert!(engine.get_durable(Family::Log, b"b").unwrap().is_none());
        // Killed, but the power stays: the log has all that was written.
        let next = MemoryEngine::open(&disk, "log", durability, MemorySettings::instant()).unwrap();
        assert!(has(&*next, b"a"));
        assert_eq!(has(&*next, b"b"), durability == Durability::WriteAheadLog);
        let events: Vec<_> = events
            .lock()
            .unwrap()
            .iter()
            .map(|(what, number)| format!("{what} {number}"))
            .collect();
        assert_eq!(events, ["write 28", "sync-start 1", "write 28", "sync-end 1"]);
    }
}

#[test]
fn a_memory_engine_without_a_log_flushes_by_itself() {
    for (drawn, last_survives) in [(0, false), (1, true)] {
        let disk = MemoryDisk::new();
        // One byte is always reached.
        let settings = MemorySettings { flush_bytes_max: 1, ..MemorySettings::instant() };
        let open =
            || MemoryEngine::open(&disk, "data", Durability::Flush, settings.clone()).unwrap();
        let engine = open();
        engine.write(put(b"a")).unwrap();
        assert!(engine.get_durable(Family::Log, b"a").unwrap().is_none(), "it is under way");
        engine.write(put(b"b")).unwrap();
        assert!(engine.get_durable(Family::Log, b"a").unwrap().is_some());
        assert!(engine.get_durable(Family::Log, b"b").unwrap().is_none());
        disk.crash(&mut || drawn, false);
        let next = open();
        assert!(has(&*next, b"a"));
        assert_eq!(has(&*next, b"b"), last_survives);
    }
}
