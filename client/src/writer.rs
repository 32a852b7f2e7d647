//! Many puts with bounded memory: the batch writer.
//!
//! [`BatchWriter::write`] takes room, hands the item to the one task of the writer, and returns; the
//! task groups what it has by range and keeps all requests under way in one set. (Rejected: a task per
//! put, for its cost; requests driven by `write` itself, because then nothing would be retried while the caller
//! is busy elsewhere.)
//!
//! ```text
//!   write -> channel -> by key: one at a time (task.rs)
//!                         -> by range: what has gathered goes as one request, two under way per range
//!                            (lanes.rs), tried again until its deadline (call.rs)
//!                         -> alone: what no batch takes, and the first of a range that is not known yet;
//!                            the others wait for what those learn
//! ```
//!
//! Nothing waits for a batch to fill: while the requests of a range are under way, the next one fills.
//! Which keys can go together, the cluster tells with its answers ([`crate::routes`]). Where that is wrong, or one
//! item is, the batch is refused as a whole and for good: nothing of it was done or will be, and its items go
//! alone. A node that does not know batches is sent puts.
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

mod item;
mod lanes;
mod ledger;
mod task;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use self::ledger::{ItemError, Progress, Summary};
use self::{item::Item, ledger::Ledger, task::Task};
use crate::{
    caller::Caller,
    error::Error,
    types::{IntoBytes, PutOptions, Version},
};

const IN_FLIGHT_DEFAULT: usize = 16_384;
const IN_FLIGHT_MAX: usize = 1 << 20;
const BYTES_DEFAULT: usize = 32 << 20;
/// As many as a semaphore can give to one caller.
const BYTES_MAX: usize = 1 << 30;

/// Settings of a [`BatchWriter`], from [`Client::batch_writer`](crate::Client::batch_writer).
#[derive(Clone, Debug)]
#[must_use = "nothing is written before `start`"]
pub struct BatchWriterBuilder {
    caller: Caller,
    in_flight_max: usize,
    bytes_max: usize,
    ttl: Option<Duration>,
}

impl BatchWriterBuilder {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller, in_flight_max: IN_FLIGHT_DEFAULT, bytes_max: BYTES_DEFAULT, ttl: None }
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

    /// Time to live of every key, counted from its write. Unless set, keys do not expire.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Starts the writer's task. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time to live of zero or of more than the cluster allows.
    pub fn start(self) -> Result<BatchWriter, Error> {
        let ttl_max = self.caller.cluster().limits.ttl_max;
        if let Some(ttl) = self.ttl.filter(|ttl| ttl.is_zero() || *ttl > ttl_max) {
            let text = format!("a ttl of {ttl:?}; it must be above zero and at most {ttl_max:?}");
            return Err(Error::InvalidArgument(text));
        }
        let ledger = Arc::new(Ledger::new(self.in_flight_max, self.bytes_max));
        // as long as there are permits, so that it is never full
        let (items, receiver) = mpsc::channel(self.in_flight_max);
        let options = PutOptions { ttl: self.ttl, ..PutOptions::new() };
        let task = Task::new(self.caller, options, Arc::clone(&ledger));
        drop(tokio::spawn(task.run(receiver)));
        Ok(BatchWriter {
            ledger,
            items,
            in_flight_max: self.in_flight_max as u32,
            bytes_max: self.bytes_max,
        })
    }
}

/// Writes many keys, with a bounded number of them under way: from [`Client::batch_writer`].
///
/// [`Client::batch_writer`]: crate::Client::batch_writer
///
/// Each item is a put of its own, not part of a transaction: another client may see some items and not yet
/// others, in any order. The items of one range travel as one request, with a deadline and retries, so that
/// a record costs a fraction of a put. Items of one key take effect in the order in which they were
/// written: a later one waits for the outcome of the earlier. The one exception is an earlier item whose
/// outcome is unknown. It is reported, and may take effect after the later one. After a failed item the
/// writer goes on; [`finish`](Self::finish) reports all of them.
///
/// Every method but `finish` takes `&self`: several tasks may share a writer. Dropping it stops it:
/// what had no outcome may have happened or not.
#[derive(Debug)]
pub struct BatchWriter {
    ledger: Arc<Ledger>,
    items: mpsc::Sender<Item>,
    in_flight_max: u32,
    bytes_max: usize,
}

impl BatchWriter {
    /// Accepts an item. Waits only while the bounds are reached; dropped while it waits, it has
    /// accepted nothing. [`finish`](Self::finish) reports the outcome.
    pub async fn write(&self, key: impl IntoBytes, value: impl IntoBytes) {
        self.accept(key.into_bytes(), value.into_bytes(), None).await;
    }

    /// As [`write`](Self::write), and returns a future for the outcome of this item.
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
        let room = self.ledger.room.acquire().await;
        let held = self.ledger.memory.acquire_many(memory).await;
        self.ledger.accepted();
        let (Ok(room), Ok(held)) = (room, held) else {
            self.ledger.failed(item, ended());
            return;
        };
        match self.items.try_send(item) {
            // the task gives them back
            Ok(()) => {
                room.forget();
                held.forget();
            }
            Err(refused) => self.ledger.failed(refused.into_inner(), ended()),
        }
    }

    /// Waits until everything that was accepted before has its outcome; what other tasks write
    /// meanwhile waits behind it.
    pub async fn flush(&self) -> Progress {
        // All the room there is: in the order of asking, so that later items cannot starve this. It
        // fails where the task has ended: then there is nothing to wait for.
        drop(self.ledger.room.acquire_many(self.in_flight_max).await);
        self.progress()
    }

    /// The counters of this moment. Cheap.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.ledger.progress()
    }

    /// Waits for every outcome and ends the writer.
    pub async fn finish(self) -> Summary {
        self.flush().await;
        self.ledger.summary()
    }
}

/// For items that come after the end of the writer's task.
fn ended() -> Error {
    Error::Unavailable("the runtime of the batch writer has shut down".to_owned())
}

/// The outcome of an item of [`BatchWriter::write_tracked`]: its version, or the error. It may be dropped; the
/// item is written all the same.
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
