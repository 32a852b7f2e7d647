//! The one writer of a node's log engine: group commit for all groups.
//!
//! Every group's appends, votes and truncations go through one queue. Whatever is queued while a
//! sync runs becomes one batch with one sync (design, section 4). A job is acknowledged only after
//! the sync that covers it; jobs take effect in the order of the queue, so a crash leaves a prefix.
//!
//! When a write or a sync fails nothing is ever acknowledged again: every later job fails too, and
//! the node stops.

use std::{collections::BTreeSet, io, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{log_cache::Budget, log_store::GroupLog, types::TypeConfig};
use crate::{
    ops::metrics::Metrics,
    planted::{self, Bug},
    seams::Seams,
    storage::{
        self, Batch, Engine,
        engine::{Change, Error},
    },
};

/// Jobs that may wait for the disk.
const QUEUE_JOBS_MAX: usize = 16_384;
/// Jobs that one sync covers.
const BATCH_JOBS_MAX: usize = 4_096;
/// Bytes after which a batch takes no more jobs.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Whom to tell when a job is durable.
pub(super) enum Done {
    /// openraft's callback for appended entries; `sequence` of the group's log is written then.
    Append { flushed: openraft::storage::IOFlushed<TypeConfig>, log: Arc<GroupLog>, sequence: u64 },
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
    /// Memory for entries, shared by all groups whose logs it writes.
    pub(super) budget: Arc<Budget>,
}

impl LogWriter {
    /// Starts the writer. `failed` is told once if the disk fails.
    pub fn start(
        engine: Arc<dyn Engine>,
        seams: &Seams,
        metrics: Arc<Metrics>,
        failed: Box<dyn FnOnce(storage::Error) + Send>,
    ) -> LogWriter {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        (seams.spawn_disk_writer)(Box::pin(run(engine, queue, metrics, failed)));
        LogWriter { jobs, budget: Arc::default() }
    }

    pub(super) async fn submit(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).await.map_err(|_| io::Error::other("the log writer has stopped"))
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

async fn run(
    engine: Arc<dyn Engine>,
    mut queue: mpsc::Receiver<Job>,
    metrics: Arc<Metrics>,
    failed: Box<dyn FnOnce(storage::Error) + Send>,
) {
    let mut tell_failure = Some(failed);
    let mut broken: Option<Error> = None;
    while let Some(first) = queue.recv().await {
        let mut jobs = vec![first];
        let mut bytes = jobs.iter().map(|job| job.bytes).sum::<usize>();
        while jobs.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.bytes;
            jobs.push(job);
        }
        let mut batch = Batch::new();
        let mut waiting = Vec::with_capacity(jobs.len());
        let mut entries = 0;
        let mut ranges = BTreeSet::new();
        for job in jobs {
            if let Done::Append { log, .. } = &job.done {
                ranges.insert(log.range());
            }
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
        if !ranges.is_empty() {
            metrics.log_sync_ranges.observe(ranges.len() as u64);
        }
        if let Err(error) = &result
            && let Some(tell) = tell_failure.take()
        {
            tracing::error!(%error, "the log can't be written: the node stops");
            broken = Some(error.clone());
            tell(error.clone());
        }
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
) -> Result<(), Error> {
    engine.write(batch)?;
    let started = tokio::time::Instant::now();
    engine.sync().await?;
    metrics.log_syncs.inc();
    metrics.log_sync_entries.observe(entries);
    metrics.log_sync_latency.observe_duration(started.elapsed());
    Ok(())
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
