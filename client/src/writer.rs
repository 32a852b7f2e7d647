//! Many puts with bounded memory: the batch writer.
//!
//! [`BatchWriter::write`] takes room, hands the item to the one task of the writer, and returns; the
//! task groups what it has by range and keeps all requests under way in one set. (A task a put was rejected
//! for its cost; requests driven by `write` itself, because then nothing would be retried while the caller
//! is busy elsewhere.)
//!
//! ```text
//!   write -> channel -> by key: one at a time (task.rs)
//!                         -> by range: what has gathered goes as one request, two under way a range
//!                            (lanes.rs), tried again until its deadline (call.rs)
//!                         -> alone: what no batch takes, and the first of a range that is not known yet;
//!                            the others wait for what those learn
//! ```
//!
//! Nothing waits for a batch to fill: while the requests of a range are under way, the next one fills.
//! Which keys can go together, the cluster tells with its answers ([`crate::routes`]); where that is wrong, or
//! an item is, the batch is refused whole, surely and for good, and its items go alone. A node that does not
//! know batches is sent puts.
//!
//! Invariants:
//! - *Bounds.* What was accepted and has no outcome holds one permit of `room` and one of `memory` for
//!   each byte of its key and value (at most all of them, so that an item above the bound travels
//!   alone). The channel to the task, the requests and the items that wait for their key or their range are
//!   all within these permits. They come back with the outcome.
//! - *Order.* Of one key one item is under way at a time; later ones wait for its outcome, in the
//!   order in which `write` accepted them. Where that outcome is unknown the later item is sent all
//!   the same, and the earlier one may take effect after it.
//! - *Nothing is lost silently.* Each accepted item ends as exactly one of written, failed, unknown.
//!   Items whose task ended without an outcome (the runtime shut down) count as unknown.
//! - *Exactly once.* An item goes from a batch into another request only after the batch was refused with
//!   [`BatchError::Apart`](crate::call::BatchError::Apart): no copy of it did anything or will.
//!
//! Dropping the writer ends its task: what has no outcome by then may happen or not, as with any write
//! that is dropped.

mod lanes;
mod task;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

use self::task::Task;
use crate::{
    client::Client,
    error::Error,
    types::{IntoBytes, PutOptions, Version},
};

const IN_FLIGHT_DEFAULT: usize = 16_384;
const IN_FLIGHT_MAX: usize = 1 << 20;
const BYTES_DEFAULT: usize = 32 << 20;
/// As many as a semaphore can give to one caller.
const BYTES_MAX: usize = 1 << 30;
/// Errors that are kept with their keys, of failures and of unknown outcomes each.
const ERRORS_KEPT: usize = 32;

/// Settings of a [`BatchWriter`], from [`Client::batch_writer`].
#[derive(Clone, Debug)]
#[must_use = "nothing is written before `start`"]
pub struct BatchWriterBuilder {
    client: Client,
    in_flight_max: usize,
    bytes_max: usize,
    ttl: Option<Duration>,
}

impl BatchWriterBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, in_flight_max: IN_FLIGHT_DEFAULT, bytes_max: BYTES_DEFAULT, ttl: None }
    }

    /// Most items that are accepted and have no outcome yet: 16,384 unless set; from 1 to 1,048,576.
    pub fn in_flight_max(mut self, items: usize) -> Self {
        self.in_flight_max = items.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// Most bytes of keys and values of these items: 32 MiB unless set, 1 GiB at most. An item that
    /// is larger waits until it is the only one.
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes.clamp(1, BYTES_MAX);
        self
    }

    /// Every key expires so long after its write; for ever unless set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Starts the writer's task. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time to live of zero or of more than the cluster allows.
    pub fn start(self) -> Result<BatchWriter, Error> {
        let ttl_max = self.client.cluster().limits.ttl_max;
        if let Some(ttl) = self.ttl.filter(|ttl| ttl.is_zero() || *ttl > ttl_max) {
            let text = format!("a ttl of {ttl:?}; it must be above zero and at most {ttl_max:?}");
            return Err(Error::InvalidArgument(text));
        }
        let shared = Arc::new(Shared {
            room: Semaphore::new(self.in_flight_max),
            memory: Semaphore::new(self.bytes_max),
            tally: Mutex::default(),
        });
        // as long as there are permits, so that it is never full
        let (items, receiver) = mpsc::channel(self.in_flight_max);
        let options = PutOptions { ttl: self.ttl, ..PutOptions::new() };
        let task = Task::new(self.client, options, Arc::clone(&shared));
        drop(tokio::spawn(task.run(receiver)));
        Ok(BatchWriter {
            shared,
            items,
            in_flight_max: self.in_flight_max as u32,
            bytes_max: self.bytes_max,
        })
    }
}

/// Writes many keys, with a bounded number of them under way: from [`Client::batch_writer`].
///
/// Each item is a put of its own for whoever looks: others may be written without it, and nothing is
/// promised about the moment. Those of one range travel together, with a deadline and retries, so that a
/// record costs a fraction of a put. Items of one key take
/// effect in the order in which they were written: a later one waits for the outcome of the earlier.
/// The one exception is an earlier item whose outcome is unknown, which may take effect late; it is
/// reported. After a failed item the writer goes on; [`finish`](Self::finish) tells of all.
///
/// Every method but `finish` takes `&self`: several tasks may share a writer. Dropping it stops it:
/// what had no outcome may have happened or not.
#[derive(Debug)]
pub struct BatchWriter {
    shared: Arc<Shared>,
    items: mpsc::Sender<Item>,
    in_flight_max: u32,
    bytes_max: usize,
}

/// How far a [`BatchWriter`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Items that the writer took.
    pub accepted: u64,
    /// Items that are written.
    pub acknowledged: u64,
    /// Items that were not written and will not be.
    pub failed: u64,
    /// Items that may be written, or may be still.
    pub unknown: u64,
    /// Bytes of keys and values that are written.
    pub bytes: u64,
}

/// What came of everything that a [`BatchWriter`] accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "some items may have failed"]
pub struct Summary {
    /// Items that are written.
    pub written: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Items that were not written and will not be.
    pub failed: u64,
    /// The first of them, 32 at most.
    pub failures: Vec<ItemError>,
    /// Items that may be written, or may be still: read these keys before you write them again.
    pub unknown: u64,
    /// The first of them, 32 at most.
    pub unknown_outcomes: Vec<ItemError>,
}

impl Summary {
    /// Whether every item is written.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unknown == 0
    }
}

/// An item that was not written, or whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemError {
    /// The key.
    pub key: Bytes,
    /// Why.
    pub error: Error,
}

impl BatchWriter {
    /// Accepts an item. Waits only while the bounds are reached; dropped while it waits, it has
    /// accepted nothing. What comes of the item, [`finish`](Self::finish) tells.
    pub async fn write(&self, key: impl IntoBytes, value: impl IntoBytes) {
        self.accept(key.into_bytes(), value.into_bytes(), None).await;
    }

    /// As [`write`](Self::write), and what comes of this item can be awaited by itself.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let writer = client.batch_writer().start()?;
    /// let (first, second) = (writer.write_tracked("a", "1").await, writer.write_tracked("b", "2").await);
    /// println!("{} {}", first.await?, second.await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_tracked(&self, key: impl IntoBytes, value: impl IntoBytes) -> ItemOutcome {
        let (tell, outcome) = oneshot::channel();
        self.accept(key.into_bytes(), value.into_bytes(), Some(tell)).await;
        ItemOutcome(outcome)
    }

    async fn accept(
        &self,
        key: Bytes,
        value: Bytes,
        tell: Option<oneshot::Sender<Result<Version, Error>>>,
    ) {
        let bytes = key.len().saturating_add(value.len());
        let memory = bytes.min(self.bytes_max) as u32;
        let item = Item { key, value, memory, deadline: None, tell };
        let room = self.shared.room.acquire().await;
        let held = self.shared.memory.acquire_many(memory).await;
        self.shared.tally.lock().progress.accepted += 1;
        let (Ok(room), Ok(held)) = (room, held) else {
            self.shared.failed(item, ended());
            return;
        };
        match self.items.try_send(item) {
            // the task gives them back
            Ok(()) => {
                room.forget();
                held.forget();
            }
            Err(refused) => self.shared.failed(refused.into_inner(), ended()),
        }
    }

    /// Waits until everything that was accepted before has its outcome; what other tasks write
    /// meanwhile waits behind it.
    pub async fn flush(&self) -> Progress {
        // All the room there is: in the order of asking, so that later items cannot starve this. It
        // fails where the task has ended: then there is nothing to wait for.
        drop(self.shared.room.acquire_many(self.in_flight_max).await);
        self.progress()
    }

    /// How far it is, at this moment. Cheap.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.tally.lock().progress
    }

    /// Waits for every outcome and ends the writer.
    pub async fn finish(self) -> Summary {
        self.flush().await;
        let mut tally = self.shared.tally.lock();
        let Progress { accepted, acknowledged, failed, unknown, bytes } = tally.progress;
        // above 0 only where the task ended early: nobody knows what became of these
        let lost = accepted.saturating_sub(acknowledged + failed + unknown);
        Summary {
            written: acknowledged,
            bytes,
            failed,
            failures: std::mem::take(&mut tally.failures),
            unknown: unknown + lost,
            unknown_outcomes: std::mem::take(&mut tally.unknown_outcomes),
        }
    }
}

/// For items that come after the end of the writer's task.
fn ended() -> Error {
    Error::Unavailable("the runtime of the batch writer has shut down".to_owned())
}

/// What comes of an item of [`BatchWriter::write_tracked`]: its version, or why there is none. It may be
/// dropped; the item is written all the same.
#[derive(Debug)]
#[must_use = "the item may fail"]
pub struct ItemOutcome(oneshot::Receiver<Result<Version, Error>>);

impl Future for ItemOutcome {
    type Output = Result<Version, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|told| {
            let lost = "the batch writer ended before the outcome was known".to_owned();
            told.unwrap_or(Err(Error::UnknownOutcome(lost)))
        })
    }
}

#[derive(Debug)]
struct Item {
    key: Bytes,
    value: Bytes,
    /// Permits of `memory` that it holds.
    memory: u32,
    /// From its first try on.
    deadline: Option<Instant>,
    /// Who wants to know.
    tell: Option<oneshot::Sender<Result<Version, Error>>>,
}

impl Item {
    /// Of key and value.
    fn bytes(&self) -> usize {
        self.key.len().saturating_add(self.value.len())
    }

    /// Tells who wants to know; who has gone, does not.
    fn tell(&mut self, outcome: impl FnOnce() -> Result<Version, Error>) {
        if let Some(tell) = self.tell.take() {
            drop(tell.send(outcome()));
        }
    }
}

/// What the writer and its task share.
#[derive(Debug)]
struct Shared {
    room: Semaphore,
    memory: Semaphore,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    progress: Progress,
    failures: Vec<ItemError>,
    unknown_outcomes: Vec<ItemError>,
}

impl Shared {
    /// So many items, of so many bytes, are written.
    fn written(&self, items: usize, bytes: usize) {
        let mut tally = self.tally.lock();
        tally.progress.acknowledged += items as u64;
        tally.progress.bytes += bytes as u64;
    }

    fn failed(&self, mut item: Item, error: Error) {
        let mut tally = self.tally.lock();
        let errors = if error.maybe_committed() {
            tally.progress.unknown += 1;
            &mut tally.unknown_outcomes
        } else {
            tally.progress.failed += 1;
            &mut tally.failures
        };
        if errors.len() < ERRORS_KEPT {
            errors.push(ItemError { key: item.key.clone(), error: error.clone() });
        }
        drop(tally);
        item.tell(|| Err(error));
    }

    /// Items that held so many permits of `memory` have their outcome.
    fn give_back(&self, items: usize, memory: usize) {
        self.memory.add_permits(memory);
        self.room.add_permits(items);
    }

    /// Nobody gives anything back any more.
    fn close(&self) {
        self.room.close();
        self.memory.close();
    }
}
