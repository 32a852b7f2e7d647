//! Every step of an installation, and what a kill leaves of it.
//!
//! The memory engine loses at each step what was not synced; the next start has to finish or to undo the installation.

use super::*;

/// An engine that fails from its `n`-th write or sync on, as far as those above can tell; with
/// `flushes` every batch is durable at once, as when memtables are full.
struct Failing {
    engine: Arc<dyn Engine>,
    left: AtomicUsize,
    flushes: bool,
}

impl Failing {
    fn step(&self) -> Result<(), Error> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| Error::Failed("killed here".to_owned()))
    }
}

impl Reader for Failing {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        self.engine.scan(family, start, end, direction, visit)
    }
}

impl Engine for Failing {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.step()?;
        self.engine.write(batch)?;
        if self.flushes { self.engine.sync().now_or_never().expect("instant") } else { Ok(()) }
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        match self.step() {
            Ok(()) => self.engine.sync(),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn check_space(&self) -> Result<(), Error> {
        Ok(())
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get_durable(family, key)
    }

    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader> {
        self.engine.clone().snapshot()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn failing(engine: Arc<dyn Engine>, after: usize, flushes: bool) -> Arc<dyn Engine> {
    Arc::new(Failing { engine, left: AtomicUsize::new(after), flushes })
}

#[tokio::test]
async fn a_kill_at_every_step_leaves_the_old_or_the_new_state() {
    let (_, leader) = filled(90, 40, b"new");
    let source = source(&leader, 512);
    let new = settled(&*leader);
    let mut endings = BTreeMap::<&str, usize>::new();
    for flushes in [false, true] {
        let mut ended = false;
        for kill in 0.. {
            let (disk, engine) = filled(50, 25, b"old");
            let old = settled(&*engine);
            assert_ne!(old, new);
            let state = state_of(&failing(engine, kill, flushes));
            let installed = match staged(&source, state.engine()).await {
                Ok(ticket) => state.install(&ticket).await,
                Err(error) => Err(error),
            };
            ended = installed.is_ok();
            drop(state);
            disk.crash(&mut || 0, false);
            // The next life may be killed as well, at each of its steps.
            for next_kill in 0.. {
                let engine = open(&disk);
                let recovering = failing(engine.clone(), next_kill, flushes);
                if install::recover(&*recovering, RANGE).await.is_ok() {
                    break;
                }
                disk.crash(&mut || 1, false);
            }
            let engine = open(&disk);
            let found = settled(&*engine);
            let state = state_of(&engine);
            if found == new {
                *endings.entry("new").or_default() += 1;
                assert_eq!(state.applied_index(), Some(90));
                assert!(stage::find(&*engine, RANGE).expect("read").is_none());
            } else {
                assert!(!ended, "what was reported as installed is lost");
                assert!(found == old, "neither the old nor the new state after step {kill}");
                assert_eq!(state.applied_index(), Some(50));
                *endings.entry("old").or_default() += 1;
            }
            if ended {
                assert!(kill > 15, "{kill} steps are too few to be all of them");
                break;
            }
        }
        assert!(ended);
    }
    assert!(endings["old"] > 10 && endings["new"] > 10, "{endings:?}");
}

#[tokio::test]
async fn a_state_is_not_opened_in_the_middle_of_an_installation() {
    let (_, leader) = filled(90, 4, b"new");
    let source = source(&leader, 512);
    let (_, engine) = filled(50, 4, b"old");
    let ticket = staged(&source, &engine).await.expect("staged");
    install::commit(&*engine, &ticket, &descriptor(b"a", b"m")).await.expect("committed");
    let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
    let opened = RangeState::open(&descriptor(b"a", b"m"), engine.clone(), oracle, Arc::default());
    assert!(matches!(opened, Err(Error::Open(_))));
    assert!(Source::read(&engine, RANGE, 1, 512).expect("read").is_none(), "nor sent");
}

#[tokio::test]
async fn two_in_a_row() {
    let (_, engine) = filled(50, 25, b"old");
    let state = state_of(&engine);
    let mut before = state.newest();
    for (index, count) in [(90, 40), (120, 7)] {
        let (_, leader) = filled(index, count, b"new");
        let ticket = staged(&source(&leader, 300), &engine).await.expect("staged");
        state.install(&ticket).await.expect("installed");
        assert_eq!(settled(&*engine), settled(&*leader));
        assert_eq!(all(&*engine), settled(&*engine), "nothing is left staged");
        assert_eq!(state.applied_index(), Some(index));
        assert!(state.newest() > before && !state.is_installing());
        assert_eq!(state.installed().map(|installs| installs > 0), Some(true));
        assert_eq!(state.durable().expect("read").applied.map(|at| at.index), Some(index));
        before = state.newest();
    }
}

#[tokio::test]
async fn a_shrunk_span_is_cleared_where_the_range_was() {
    let (_, engine) = filled(50, 25, b"old");
    let state = state_of(&engine);
    let (_, leader) = filled(90, 0, b"new");
    let mut batch = Batch::new();
    let key = keys::range_meta(RANGE, MetaKind::Descriptor);
    batch.put(Family::Meta, key, codec::encode(&descriptor(b"e", b"m")));
    leader.write(batch).expect("written");
    let ticket = staged(&source(&leader, 300), &engine).await.expect("staged");
    state.install(&ticket).await.expect("installed");
    let left = all(&*engine);
    let of_the_range = left.keys().filter(|(family, key)| match family {
        Family::Dedup => keys::dedup_anchor(key).is_some_and(|anchor| anchor < &b"m"[..]),
        Family::Meta => false,
        _ => key < &b"m".to_vec(),
    });
    assert_eq!(of_the_range.collect::<Vec<_>>(), [&(Family::Mark, b"e90".to_vec())]);
    assert_eq!(state.descriptor().start, b"e");
}
