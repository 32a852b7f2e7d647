//! An engine that tells when it can't be trusted any more.
//!
//! After a failed write or sync, and where stored bytes are damaged, the node must stop: nothing it
//! reads there is certain, and a replica that can't apply would only look as if it were one. Such an
//! error may come up anywhere, in a collection in the background as well as under a request, and whoever
//! meets it may only know how to give up on his own work. So the engine itself says it, the first time
//! and every time, to whom it was given. A full disk is not told: nothing was written, and who asked
//! knows what to do.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use super::engine::{Batch, Direction, Engine, Error, Family, FreeSpace, Reader, Visit};

/// Told of every error after which the node must stop.
pub type Failed = Arc<dyn Fn(Error) + Send + Sync>;

/// An engine, or a read snapshot of one, and whom it tells.
struct Watched<R: ?Sized> {
    failed: Failed,
    inner: Arc<R>,
}

/// The engine, which tells from now on.
pub fn watched(inner: Arc<dyn Engine>, failed: Failed) -> Arc<dyn Engine> {
    Arc::new(Watched { failed, inner })
}

fn tell<T>(failed: &Failed, result: Result<T, Error>) -> Result<T, Error> {
    match &result {
        Err(error @ (Error::Failed(_) | Error::Corrupt(_))) => failed(error.clone()),
        Ok(_) | Err(Error::Full(_) | Error::Open(_)) => {}
    }
    result
}

impl<R: Reader + ?Sized> Reader for Watched<R> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        tell(&self.failed, self.inner.get(family, key))
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        tell(&self.failed, self.inner.scan(family, start, end, direction, visit))
    }

    fn scan_once(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        tell(&self.failed, self.inner.scan_once(family, start, end, visit))
    }
}

impl Engine for Watched<dyn Engine> {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        tell(&self.failed, self.inner.write(batch))
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        // Called here: it covers what was written when it was called.
        let syncing = self.inner.sync();
        async move { tell(&self.failed, syncing.await) }.boxed()
    }

    fn check_space(&self) -> Result<(), Error> {
        tell(&self.failed, self.inner.check_space())
    }

    fn free_space(&self) -> FreeSpace {
        self.inner.free_space()
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        tell(&self.failed, self.inner.get_durable(family, key))
    }

    fn snapshot(self: Arc<Self>) -> Arc<dyn Reader> {
        let inner = self.inner.clone().snapshot();
        Arc::new(Watched { failed: self.failed.clone(), inner })
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }

    fn reclaim(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> BoxFuture<'_, Result<(), Error>> {
        let reclaiming = self.inner.reclaim(family, start, end);
        async move { tell(&self.failed, reclaiming.await) }.boxed()
    }

    fn metrics(&self) -> Vec<(&'static str, u64)> {
        self.inner.metrics()
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::ops::ControlFlow;

    use parking_lot::Mutex;

    use super::*;
    use crate::storage::memory::{MemoryDisk, MemoryEngine, Room};

    fn open(disk: &MemoryDisk) -> (Arc<dyn Engine>, Arc<Mutex<Vec<Error>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = told.clone();
        let engine = MemoryEngine::of_test(disk);
        let failed = Arc::new(move |error| note.lock().push(error));
        (watched(engine, failed), told)
    }

    fn put(key: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.put(Family::Data, key.to_vec(), b"value".to_vec());
        batch
    }

    #[tokio::test]
    async fn a_failed_sync_is_told_and_a_full_disk_is_not() {
        let disk = MemoryDisk::new();
        let (engine, told) = open(&disk);
        disk.set_room(Room::None);
        assert!(matches!(engine.write(put(b"a")), Err(Error::Full(_))));
        disk.set_room(Room::Plenty);
        engine.write(put(b"a")).expect("room");
        assert!(told.lock().is_empty());
        disk.fail_next_sync("data");
        assert!(engine.sync().await.is_err());
        assert!(matches!(&told.lock()[..], [Error::Failed(_)]));
    }

    #[tokio::test]
    async fn damage_is_told_by_whoever_reads_it() {
        let disk = MemoryDisk::new();
        let (engine, told) = open(&disk);
        engine.write(put(b"a")).expect("written");
        engine.sync().await.expect("synced");
        let before = engine.clone().snapshot();
        disk.damage(&mut || 0).expect("something is there");
        // What was read before is in a cache.
        assert!(before.get(Family::Data, b"a").expect("whole").is_some());
        assert!(engine.get(Family::Data, b"b").expect("whole").is_none());
        assert!(told.lock().is_empty());
        let after = engine.clone().snapshot();
        let mut visit = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
        assert!(engine.get(Family::Data, b"a").is_err());
        assert!(engine.get_durable(Family::Data, b"a").is_err());
        assert!(engine.scan_once(Family::Data, b"", b"", &mut visit).is_err());
        assert!(after.scan(Family::Data, b"", b"", Direction::Reverse, &mut visit).is_err());
        let told = told.lock();
        assert!(told.len() == 4 && told.iter().all(|told| matches!(told, Error::Corrupt(_))));
    }
}
