//! Many puts with bounded memory: the batch writer.
//!
//! [`BatchWriter::write`] takes room, hands the item to the one task of the writer, and returns; the
//! task keeps all calls under way in one set. Each item is a call like any other (`call.rs`): a
//! request id of its own, sent to the leader of its range, retried until its deadline. (A task a put
//! was rejected for its cost; calls driven by `write` itself, because then nothing would be retried
//! while the caller is busy elsewhere.)
//!
//! Invariants:
//! - *Bounds.* What was accepted and has no outcome holds one permit of `room` and one of `memory` for
//!   each byte of its key and value (at most all of them, so that an item above the bound travels
//!   alone). The channel to the task, the calls and the items that wait for their key are all within
//!   these permits. They come back with the outcome.
//! - *Order.* Of one key one item is under way at a time; later ones wait for its outcome, in the
//!   order in which `write` accepted them. Where that outcome is unknown the later item is sent all
//!   the same, and the earlier one may take effect after it.
//! - *Nothing is lost silently.* Each accepted item ends as exactly one of written, failed, unknown.
//!   Items whose task ended without an outcome (the runtime shut down) count as unknown.
//!
//! Dropping the writer ends its task: what has no outcome by then may happen or not, as with any write
//! that is dropped.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    client::Client,
    error::Error,
    types::{IntoBytes, PutOptions},
};

const IN_FLIGHT_DEFAULT: usize = 2_048;
const IN_FLIGHT_MAX: usize = 1 << 20;
const BYTES_DEFAULT: usize = 32 << 20;
/// As many as a semaphore can give to one caller.
const BYTES_MAX: usize = 1 << 30;
/// Errors that are kept with their keys, of failures and of unknown outcomes each.
const ERRORS_KEPT: usize = 32;
/// Items that the task takes over at a time.
const TAKEN_AT_ONCE: usize = 256;

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

    /// Most items that are accepted and have no outcome yet: 2,048 unless set; from 1 to 1,048,576.
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
        let options = PutOptions { ttl: self.ttl, condition: None };
        let task = Task {
            client: self.client,
            options,
            shared: Arc::clone(&shared),
            waiting: HashMap::new(),
        };
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
/// Each item is a put of its own, with its own request id, deadline and retries. Items of one key take
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
        let (key, value) = (key.into_bytes(), value.into_bytes());
        let bytes = key.len().saturating_add(value.len());
        let memory = bytes.min(self.bytes_max) as u32;
        let item = Item { key, value, memory };
        let room = self.shared.room.acquire().await;
        let held = self.shared.memory.acquire_many(memory).await;
        self.shared.tally.lock().progress.accepted += 1;
        let (Ok(room), Ok(held)) = (room, held) else {
            self.shared.failed(item.key, ended());
            return;
        };
        match self.items.try_send(item) {
            // the task gives them back
            Ok(()) => {
                room.forget();
                held.forget();
            }
            Err(refused) => self.shared.failed(refused.into_inner().key, ended()),
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

#[derive(Debug)]
struct Item {
    key: Bytes,
    value: Bytes,
    /// Permits of `memory` that it holds.
    memory: u32,
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
    fn written(&self, bytes: usize) {
        let mut tally = self.tally.lock();
        tally.progress.acknowledged += 1;
        tally.progress.bytes += bytes as u64;
    }

    fn failed(&self, key: Bytes, error: Error) {
        let mut tally = self.tally.lock();
        let errors = if error.maybe_committed() {
            tally.progress.unknown += 1;
            &mut tally.unknown_outcomes
        } else {
            tally.progress.failed += 1;
            &mut tally.failures
        };
        if errors.len() < ERRORS_KEPT {
            errors.push(ItemError { key, error });
        }
    }
}

/// The task of a writer.
struct Task {
    client: Client,
    options: PutOptions,
    shared: Arc<Shared>,
    /// Keys of which an item is under way, with the items that wait for it.
    waiting: HashMap<Bytes, VecDeque<Item>>,
}

/// An item with its outcome.
struct Done {
    key: Bytes,
    bytes: usize,
    memory: u32,
    error: Option<Error>,
}

impl Task {
    /// Until the writer is dropped; its `finish` waits for every outcome before.
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut calls = FuturesUnordered::new();
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                Some(done) = calls.next(), if !calls.is_empty() => {
                    if let Some(next) = self.done(done) {
                        calls.push(put(self.client.clone(), self.options, next));
                    }
                }
                count = items.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    for item in taken.drain(..) {
                        if let Some(item) = self.queue(item) {
                            calls.push(put(self.client.clone(), self.options, item));
                        }
                    }
                }
            }
        }
    }

    /// The item, if it may be sent now; else it waits for the one of its key that is under way.
    fn queue(&mut self, item: Item) -> Option<Item> {
        if let Some(waiting) = self.waiting.get_mut(&item.key) {
            waiting.push_back(item);
            return None;
        }
        self.waiting.insert(item.key.clone(), VecDeque::new());
        Some(item)
    }

    /// Takes in an outcome; the next item of the key, if one waits.
    fn done(&mut self, done: Done) -> Option<Item> {
        let next = self.waiting.get_mut(&done.key).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.waiting.remove(&done.key);
        }
        match done.error {
            None => self.shared.written(done.bytes),
            Some(error) => self.shared.failed(done.key, error),
        }
        self.shared.memory.add_permits(done.memory as usize);
        self.shared.room.add_permits(1);
        next
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Whoever still waits learns that nothing more will come.
        self.shared.room.close();
        self.shared.memory.close();
    }
}

async fn put(client: Client, options: PutOptions, item: Item) -> Done {
    let Item { key, value, memory } = item;
    let bytes = key.len().saturating_add(value.len());
    let error = client.put_bytes(key.clone(), value, options).await.err();
    Done { key, bytes, memory, error }
}
