//! The one writer of a node's log engine: group commit for all groups.
//!
//! Every group's appends, votes and truncations go through one queue. Whatever is queued while a
//! sync runs becomes one batch with one sync. A job is acknowledged only after
//! the sync that covers it; jobs take effect in the order of the queue, so a crash leaves a prefix.
//!
//! Where appends of several groups have queued up behind a sync, the writer gathers for about as long as
//! that took before it begins the next one: the groups fall into step, and what they have for a peer
//! goes there in one frame. A sync that nobody waited behind is followed by the next at once.
//!
//! When a write or a sync fails nothing is ever acknowledged again: every later job fails too, and
//! the node stops.
//!
//! Why there is one log for all groups of a node: `docs/decisions/2026-11-29-one-log-per-node.md`.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::{log_cache::Budget, types::TypeConfig};
use crate::{
    failpoint,
    ids::RangeId,
    ops::metrics::Metrics,
    planted::{self, Bug},
    seams::Seams,
    size::Size,
    storage::{
        Batch, Engine,
        disk::Disk,
        engine::{Change, Error},
        watched::Failed,
    },
};

/// Jobs that may wait for the disk.
const QUEUE_JOBS_MAX: usize = 16_384;
/// Jobs that one sync covers.
const BATCH_JOBS_MAX: Size = Size::new("log-batch-jobs", 4_096, 1);
/// Bytes after which a batch takes no more jobs.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The longest gathering between two syncs.
const GATHER_MAX: Duration = Duration::from_millis(2);

type Pause = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// A log that is appended to.
pub(super) trait Appends: Send + Sync {
    /// Whose log it is.
    fn range(&self) -> RangeId;

    /// An append is durable.
    fn written(&self, sequence: u64);
}

/// Whom to tell when a job is durable.
pub(super) enum Done {
    /// openraft's callback for appended entries; `sequence` of the group's log is written then.
    Append { flushed: IOFlushed<TypeConfig>, log: Arc<dyn Appends>, sequence: u64 },
    /// A waiting task.
    Wait(oneshot::Sender<io::Result<()>>),
}

pub(super) struct Job {
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    pub(super) entries: u64,
    pub(super) done: Done,
}

/// A handle to the writer; cheap to clone.
#[derive(Clone)]
pub struct LogWriter {
    jobs: mpsc::Sender<Job>,
    disk: Arc<Disk>,
    /// Memory for entries, shared by all groups whose logs it writes.
    pub(super) budget: Arc<Budget>,
    /// Stops the node: what is stored can't be trusted any more.
    pub(super) failed: Failed,
}

impl LogWriter {
    /// Starts the writer, which tells `disk` when it waits for it. `failed` is told if the disk fails, or a log
    /// on it can't be read.
    pub fn start(
        engine: Arc<dyn Engine>,
        disk: Arc<Disk>,
        seams: &Seams,
        metrics: Arc<Metrics>,
        failed: Failed,
    ) -> LogWriter {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        (seams.spawn_disk_writer)(Box::pin(run(
            engine,
            disk.clone(),
            queue,
            seams.disk_pause.clone(),
            metrics,
            failed.clone(),
        )));
        LogWriter { jobs, disk, budget: Arc::default(), failed }
    }

    pub(super) async fn submit(&self, job: Job) -> io::Result<()> {
        let room = self.jobs.reserve().await;
        let room = room.map_err(|_| io::Error::other("the log writer has stopped"))?;
        self.disk.asks();
        room.send(job);
        Ok(())
    }

    /// Jobs that wait for the next sync.
    pub fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Writes records and waits until they are durable.
    pub async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        self.submit(Job { changes, bytes: 0, entries: 0, done: Done::Wait(tx) }).await?;
        rx.await.map_err(|_| io::Error::other("the log writer has stopped"))?
    }
}

/// Jobs that go into the next batch.
#[derive(Default)]
struct Taken {
    jobs: Vec<Job>,
    bytes: usize,
    /// Whose appends are among them.
    ranges: BTreeSet<RangeId>,
}

impl Taken {
    fn take(&mut self, job: Job) {
        self.bytes += job.bytes;
        if let Done::Append { log, .. } = &job.done {
            self.ranges.insert(log.range());
        }
        self.jobs.push(job);
    }

    /// Takes what waits, up to what a batch holds.
    fn fill(&mut self, queue: &mut mpsc::Receiver<Job>) {
        while self.jobs.len() < BATCH_JOBS_MAX.get() && self.bytes < BATCH_BYTES_MAX {
            let Ok(job) = queue.try_recv() else { return };
            self.take(job);
        }
    }
}

async fn run(
    engine: Arc<dyn Engine>,
    disk: Arc<Disk>,
    mut queue: mpsc::Receiver<Job>,
    pause: Pause,
    metrics: Arc<Metrics>,
    failed: Failed,
) {
    let mut broken: Option<Error> = None;
    let mut gathering = None;
    while let Some(first) = queue.recv().await {
        let mut taken = Taken::default();
        taken.take(first);
        taken.fill(&mut queue);
        if let Some(gathering) = gathering.take()
            && taken.ranges.len() > 1
        {
            pause(gathering).await;
            taken.fill(&mut queue);
        }
        let Taken { jobs, ranges, .. } = taken;
        let jobs_taken = jobs.len() as u64;
        let mut batch = Batch::new();
        let mut waiting = Vec::with_capacity(jobs.len());
        let mut entries = 0;
        for job in jobs {
            batch.changes.extend(job.changes);
            entries += job.entries;
            waiting.push(job.done);
        }
        if planted::active(Bug::AckBeforeFsync) && broken.is_none() {
            let written = engine.write(std::mem::take(&mut batch));
            for done in waiting.drain(..) {
                finish(done, written.clone());
            }
        }
        let result = match &broken {
            Some(error) => Err(error.clone()),
            None => write_and_sync(&*engine, batch, &metrics, entries).await,
        };
        if let Ok(took) = &result
            && !queue.is_empty()
        {
            gathering = Some((*took).min(GATHER_MAX));
        }
        let result = result.map(|_| ());
        if !ranges.is_empty() {
            metrics.log_sync_ranges.observe(ranges.len() as u64);
        }
        if let Err(error) = &result
            && broken.is_none()
        {
            tracing::error!(%error, "the log can't be written: the node stops");
            broken = Some(error.clone());
            failed(error.clone());
        }
        disk.answers(jobs_taken);
        for done in waiting {
            finish(done, result.clone());
        }
    }
}

async fn write_and_sync(
    engine: &dyn Engine,
    batch: Batch,
    metrics: &Metrics,
    entries: u64,
) -> Result<Duration, Error> {
    failpoint::hit("log.before-write");
    engine.write(batch)?;
    failpoint::hit("log.after-write");
    let started = crate::time::local::Instant::now();
    engine.sync().await?;
    failpoint::hit("log.after-sync");
    metrics.log_syncs.inc();
    metrics.log_sync_entries.observe(entries);
    let took = started.elapsed();
    metrics.log_sync_latency.observe_duration(took);
    Ok(took)
}

fn finish(done: Done, result: Result<(), Error>) {
    let result = result.map_err(io::Error::other);
    match done {
        Done::Append { flushed, log, sequence } => {
            if result.is_ok() {
                log.written(sequence);
            }
            flushed.io_completed(result);
        }
        Done::Wait(tx) => {
            // Whoever waited may have given up; the write stands all the same.
            tx.send(result).ok();
        }
    }
}
