//! Random histories against the model: writes, syncs, reads, read snapshots, crashes and reopenings.
//!
//! Keys are few, so that steps meet, and have the shapes that the server stores. After each crash the engine must show
//! one of the states between the last synced one and the newest one (`model.rs`), which the history goes on from. A
//! failure is shrunk and printed; it is not kept in a file, because a fixed bug gets a test of its own.
//! `PROPTEST_CASES` makes a longer search.

use std::sync::Arc;

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use quintet_server::storage::{Batch, Direction, Durability, Error, Family, Reader};
use tokio::runtime::{Builder, Runtime};

use crate::{
    model::{Model, State, scan},
    subject::{MemorySubject, RocksSubject, Subject},
};

const SNAPSHOTS_MAX: usize = 4;

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Write(Batch),
    Sync,
    Get(Family, Vec<u8>),
    Scan {
        family: Family,
        start: Vec<u8>,
        end: Vec<u8>,
        direction: Direction,
        limit: usize,
    },
    /// Takes a read snapshot, instead of the oldest if there are enough.
    Snapshot,
    /// Power failure and opening, `working` durable steps into a sync if there is one.
    Crash {
        sync: Option<u32>,
        seed: u64,
    },
    Reopen,
}

fn family() -> impl Strategy<Value = Family> {
    // Mostly the family that is read with filters.
    prop_oneof![Just(Family::Data), select(&Family::ALL[..])]
}

/// Few different keys, so that steps meet; in the shapes that matter: short ones, versions of
/// encoded keys, and keys that only look like those.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let short = vec(select(&[0_u8, 1, 2, 0xff][..]), 0..4);
    let encoded = (encoded_key(), select(&[0_u8, 1, 0x7f, 0xff][..]), 0..12_usize)
        .prop_map(|(key, byte, len)| [key, vec![byte; len]].concat());
    let version = (encoded_key(), 0..5_u64)
        .prop_map(|(key, version)| [key, (!version).to_be_bytes().to_vec()].concat());
    prop_oneof![1 => short, 1 => encoded, 4 => version]
}

/// As `enc(key)` writes it: keyspace, user key, terminator.
fn encoded_key() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![&b"a"[..], b"\0\xff", b"b"]), 1..3)
        .prop_map(|parts| [&[0, 0, 0, 1], &parts.concat()[..], &[0, 1]].concat())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0..20_usize, 1 => 1000..6000_usize];
    (any::<u8>(), len).prop_map(|(byte, len)| vec![byte; len])
}

fn batch() -> impl Strategy<Value = Batch> {
    let change = prop_oneof![
        6 => (family(), key(), value()).prop_map(|(family, key, value)| {
            let mut batch = Batch::new();
            batch.put(family, key, value);
            batch
        }),
        2 => (family(), key()).prop_map(|(family, key)| {
            let mut batch = Batch::new();
            batch.delete(family, key);
            batch
        }),
        1 => (family(), key(), key()).prop_map(|(family, start, end)| {
            let mut batch = Batch::new();
            batch.delete_range(family, start, end);
            batch
        }),
    ];
    vec(change, 0..8).prop_map(|batches| Batch {
        changes: batches.into_iter().flat_map(|batch| batch.changes).collect(),
    })
}

fn scan_step() -> impl Strategy<Value = Step> {
    let any_range = (key(), key());
    // All versions of one key, by either of the two ends that say so.
    let versions = (encoded_key(), 0..6_u64, any::<bool>()).prop_map(|(key, newest, raised)| {
        let start = [&key[..], &(!newest).to_be_bytes()].concat();
        let end = if raised {
            [&key[..key.len() - 1], &[2]].concat()
        } else {
            [&key[..], &[0xff; 9]].concat()
        };
        (start, end)
    });
    let range = prop_oneof![any_range, versions];
    let direction = select(&[Direction::Forward, Direction::Reverse][..]);
    (family(), range, direction, select(&[1, 2, 1000][..])).prop_map(
        |(family, (start, end), direction, limit)| Step::Scan {
            family,
            start,
            end,
            direction,
            limit,
        },
    )
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let crash = (proptest::option::of(0..6_u32), any::<u64>())
        .prop_map(|(sync, seed)| Step::Crash { sync, seed });
    let step = prop_oneof![
        24 => batch().prop_map(Step::Write),
        6 => Just(Step::Sync),
        8 => (family(), key()).prop_map(|(family, key)| Step::Get(family, key)),
        12 => scan_step(),
        2 => Just(Step::Snapshot),
        2 => crash,
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..120)
}

/// A subject with its model and the read snapshots that were taken.
struct History<'a> {
    subject: &'a mut dyn Subject,
    model: Model,
    snapshots: Vec<(Arc<dyn Reader>, State)>,
    runtime: &'a Runtime,
}

impl History<'_> {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(batch) => {
                self.subject.engine().write(batch.clone()).unwrap();
                self.model.write(batch);
            }
            Step::Sync => {
                self.runtime.block_on(self.subject.engine().sync()).unwrap();
                self.model.sync();
            }
            Step::Get(family, key) => self.get(*family, key),
            Step::Scan { family, start, end, direction, limit } => {
                let engine = self.subject.engine();
                let readers = [(&*engine as &dyn Reader, self.model.now())];
                let snapshots = self.snapshots.iter().map(|(reader, state)| (&**reader, state));
                for (reader, state) in readers.into_iter().chain(snapshots) {
                    assert_eq!(
                        scan(reader, *family, start, end, *direction, *limit),
                        state.scan(*family, start, end, *direction, *limit)
                    );
                }
            }
            Step::Snapshot => {
                if self.snapshots.len() == SNAPSHOTS_MAX {
                    self.snapshots.remove(0);
                }
                let snapshot = self.subject.engine().snapshot();
                self.snapshots.push((snapshot, self.model.now().clone()));
            }
            Step::Crash { sync, seed } => {
                if let Some(working) = sync {
                    self.failing_sync(*working);
                }
                self.check_snapshots();
                let mut seed = *seed;
                self.subject.crash(&mut || {
                    // splitmix64
                    seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    mixed ^ (mixed >> 29)
                });
                self.model.recover(&*self.subject.engine());
            }
            Step::Reopen => {
                self.check_snapshots();
                self.subject.reopen();
                self.model.recover(&*self.subject.engine());
            }
        }
    }

    fn get(&self, family: Family, key: &[u8]) {
        let engine = self.subject.engine();
        assert_eq!(engine.get(family, key).unwrap(), self.model.now().get(family, key));
        for (reader, state) in &self.snapshots {
            assert_eq!(reader.get(family, key).unwrap(), state.get(family, key));
        }
        let durable = engine.get_durable(family, key).unwrap();
        assert!(self.model.possible().iter().any(|state| state.get(family, key) == durable));
    }

    /// A sync that may fail; if it does nothing more is accepted, and reads go on.
    fn failing_sync(&mut self, working: u32) {
        self.subject.fail_sync(working);
        let engine = self.subject.engine();
        match self.runtime.block_on(engine.sync()) {
            Ok(()) => self.model.sync(),
            Err(Error::Failed(_)) => {
                let mut batch = Batch::new();
                batch.delete(Family::Log, vec![7]);
                assert!(matches!(engine.write(batch), Err(Error::Failed(_))));
                let again = self.runtime.block_on(engine.sync());
                assert!(matches!(again, Err(Error::Failed(_))));
                assert!(self.model.now().is_shown_by(&*engine));
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Read snapshots still show what they showed. They end here: they hold the engine.
    fn check_snapshots(&mut self) {
        for (reader, state) in self.snapshots.drain(..) {
            assert!(state.is_shown_by(&*reader));
        }
    }
}

fn run(cases: u32, subject: impl Fn() -> Box<dyn Subject>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // `PROPTEST_CASES` and its like go before, for a longer search.
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
        config.max_shrink_iters = 300;
    }
    let result = TestRunner::new(config).run(&history(), |steps| {
        let mut subject = subject();
        let mut history = History {
            subject: &mut *subject,
            model: Model::new(),
            snapshots: Vec::new(),
            runtime: &runtime,
        };
        for step in &steps {
            history.take(step);
        }
        assert!(history.model.now().is_shown_by(&*history.subject.engine()));
        history.check_snapshots();
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn rocks_with_a_log() {
    run(64, || Box::new(RocksSubject::new(Durability::WriteAheadLog)));
}

#[test]
fn rocks_with_flushes() {
    run(64, || Box::new(RocksSubject::new(Durability::Flush)));
}

#[test]
fn memory_with_a_log() {
    run(300, || Box::new(MemorySubject::new(Durability::WriteAheadLog)));
}

#[test]
fn memory_with_flushes() {
    run(300, || Box::new(MemorySubject::new(Durability::Flush)));
}
