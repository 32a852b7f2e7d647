//! Bytes that go bad on a disk: never a panic, never silently another content.
//!
//! The difference that matters is between a log that lost its end, which a power failure does, and one that is damaged
//! before its end, which no crash does: the first opens with what was synced before, the second is an error that names
//! the file. In a table damage is an error of the reads that meet it. The log is damaged at every kind of place, one
//! copy of the directory per case.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use quintet_server::storage::{
    Batch, Direction, Durability, Engine, Error, Family, Reader,
    memory::{MemoryDisk, MemoryEngine, MemorySettings},
    rocks::{RocksEngine, RocksOptions},
};

use crate::subject::small_options;

const BATCHES: u32 = 300;

/// Options under which nothing leaves the log.
fn log_options() -> RocksOptions {
    RocksOptions { free_bytes_min: 0, ..RocksOptions::log() }
}

fn batch(n: u32) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::Log, n.to_be_bytes().to_vec(), vec![n as u8; 100 + n as usize % 200]);
    batch
}

/// A log engine with [`BATCHES`] synced batches, closed; and the file they are in.
fn written_log(dir: &Path) -> PathBuf {
    let engine = RocksEngine::open(dir, Durability::WriteAheadLog, log_options()).unwrap();
    for n in 0..BATCHES {
        engine.write(batch(n)).unwrap();
        futures::executor::block_on(engine.sync()).unwrap();
    }
    drop(engine);
    only_file(dir, "log")
}

/// The largest file with an extension.
fn only_file(dir: &Path, extension: &str) -> PathBuf {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

/// A copy of `dir` in which one file has other bytes.
fn copy_with(dir: &Path, file: &Path, bytes: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    fs::write(copy.path().join(file.file_name().unwrap()), bytes).unwrap();
    copy
}

/// How many batches are there; they must be the first ones.
fn batches_in(engine: &dyn Reader) -> u32 {
    let mut n = 0_u32;
    engine
        .scan(Family::Log, b"", b"", Direction::Forward, &mut |key, value| {
            assert_eq!(key, n.to_be_bytes());
            assert_eq!(value, vec![n as u8; 100 + n as usize % 200]);
            n += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    n
}

fn open_log(dir: &Path) -> Result<Arc<RocksEngine>, Error> {
    RocksEngine::open(dir, Durability::WriteAheadLog, log_options())
}

#[test]
fn a_flipped_bit_in_the_log_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = written_log(dir.path());
    let bytes = fs::read(&log).unwrap();
    let name = log.file_name().unwrap().to_str().unwrap();
    // In the middle, and around the last record's header: it was acknowledged too.
    let last = bytes.len() - 100 - (BATCHES as usize - 1) % 200;
    let middle = (0..bytes.len()).step_by(2503).map(|at| at * 8 + at % 8);
    let tail = (last - 40) * 8..last * 8;
    for bit in middle.chain(tail) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let copy = copy_with(dir.path(), &log, &flipped);
        match open_log(copy.path()) {
            Err(Error::Corrupt(message)) => assert!(message.contains(name), "{message}"),
            Err(error) => panic!("bit {bit}: {error:?}"),
            Ok(engine) => panic!("bit {bit}: opened with {} batches", batches_in(&*engine)),
        }
    }
}

#[test]
fn a_hole_in_the_log_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = written_log(dir.path());
    let mut bytes = fs::read(&log).unwrap();
    // Whole records turn to zeros, up to the end of their block: RocksDB alone would skip that.
    let mut at = 0;
    while at < 20_000 {
        at += 7 + usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
    }
    bytes[at..32 << 10].fill(0);
    let copy = copy_with(dir.path(), &log, &bytes);
    let Err(Error::Corrupt(message)) = open_log(copy.path()) else { panic!("opened") };
    assert!(message.contains(log.file_name().unwrap().to_str().unwrap()), "{message}");
}

#[test]
fn a_log_that_lost_its_end_opens_with_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let log = written_log(dir.path());
    let bytes = fs::read(&log).unwrap();
    let near_the_end = bytes.len() - 700..bytes.len();
    let mut seen = 0;
    for cut in (0..bytes.len()).step_by(1999).chain(near_the_end.step_by(23)) {
        let copy = copy_with(dir.path(), &log, &bytes[..cut]);
        let engine = open_log(copy.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let batches = batches_in(&*engine);
        assert!(batches >= seen && batches < BATCHES, "cut at {cut}: {batches} after {seen}");
        seen = batches;
        // It works, and goes on behind the cut.
        engine.write(batch(batches)).unwrap();
        futures::executor::block_on(engine.sync()).unwrap();
        drop(engine);
        assert_eq!(batches_in(&*open_log(copy.path()).unwrap()), batches + 1);
    }
    assert_eq!(seen, BATCHES - 1);
}

#[tokio::test]
async fn a_flipped_bit_in_a_table_is_an_error_of_the_reads_that_meet_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = |dir: &Path| RocksEngine::open(dir, Durability::Flush, small_options());
    let engine = open(dir.path()).unwrap();
    for n in 0..100_u32 {
        let mut batch = Batch::new();
        batch.put(Family::Meta, n.to_be_bytes().to_vec(), n.to_le_bytes().repeat(30));
        engine.write(batch).unwrap();
    }
    engine.sync().await.unwrap();
    drop(engine);
    let table = only_file(dir.path(), "sst");
    let name = table.file_name().unwrap().to_str().unwrap();
    let bytes = fs::read(&table).unwrap();
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let copy = copy_with(dir.path(), &table, &flipped);
        // The table's index is needed to open it at all.
        let engine = match open(copy.path()) {
            Ok(engine) => engine,
            Err(Error::Corrupt(message)) => {
                assert!(message.contains(name), "{message}");
                refused += 1;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        let mut found = 0_u32;
        let scanned = engine.scan(Family::Meta, b"", b"", Direction::Forward, &mut |key, value| {
            assert_eq!(key, found.to_be_bytes());
            assert_eq!(value, found.to_le_bytes().repeat(30));
            found += 1;
            ControlFlow::Continue(())
        });
        match scanned {
            Ok(()) => assert_eq!(found, 100, "byte {at}"),
            Err(Error::Corrupt(message)) => {
                assert!(message.contains(name), "{message}");
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        for n in 0..100_u32 {
            match engine.get(Family::Meta, &n.to_be_bytes()) {
                Ok(value) => assert_eq!(value, Some(n.to_le_bytes().repeat(30)), "byte {at}"),
                Err(Error::Corrupt(message)) => assert!(message.contains(name), "{message}"),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert!(refused > 10, "only {refused} flips were noticed");
}

/// The memory engine's damage is one record, which every reader finds until it is written anew.
#[tokio::test]
async fn a_damaged_record_in_memory_is_found_by_every_reader() {
    for durability in [Durability::WriteAheadLog, Durability::Flush] {
        let disk = MemoryDisk::new();
        let open = || MemoryEngine::open(&disk, "data", durability, MemorySettings::instant());
        let engine = open().unwrap();
        assert!(disk.damage(&mut || 0).is_none(), "nothing is stored");
        engine.write(batch(0)).unwrap();
        engine.write(batch(1)).unwrap();
        // In the middle of a flush: what it covers is the same record.
        engine.sync().await.unwrap();
        engine.write(batch(2)).unwrap();
        let syncing = engine.sync();
        let what = disk.damage(&mut || 1).unwrap();
        assert!(what.contains("family log of data"), "{what}");
        syncing.await.unwrap();
        let (damaged, whole) = (1_u32.to_be_bytes(), 0_u32.to_be_bytes());
        let find = |engine: &MemoryEngine| {
            let read = engine.get(Family::Log, &damaged);
            assert!(matches!(read, Err(Error::Corrupt(_))), "{durability:?} {read:?}");
            assert!(engine.get(Family::Log, &whole).unwrap().is_some());
            let mut seen = 0;
            let scanned = engine.scan(Family::Log, b"", b"", Direction::Forward, &mut |_, _| {
                seen += 1;
                ControlFlow::Continue(())
            });
            assert!(matches!(scanned, Err(Error::Corrupt(_))) && seen == 1, "{scanned:?}");
        };
        find(&engine);
        disk.crash(&mut || 0, true);
        let engine = open().unwrap();
        find(&engine);
        engine.write(batch(1)).unwrap();
        assert!(engine.get(Family::Log, &damaged).unwrap().is_some(), "written anew");
        assert!(engine.get_durable(Family::Log, &damaged).is_err(), "not yet durable");
        engine.sync().await.unwrap();
        assert!(engine.get_durable(Family::Log, &damaged).unwrap().is_some());
    }
}
