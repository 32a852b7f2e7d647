//! The task of a writer: takes items, sends them, takes in their outcomes.
//!
//! One task per writer, however many requests are under way: they are futures in two sets, polled here. A
//! batch has its own set because its outcome frees a lane (`lanes.rs`), and lanes are what bounds throughput.
//!
//! Invariant: of a key that has an entry in `waiting` exactly one item is under way or gathers in a lane; the
//! others stand in that entry, in order ([`Task::queue`], [`Task::next_of`]).
//!
//! When the writer is dropped the channel closes and the task returns, with whatever it was sending. When the
//! runtime drops the task first, [`Task`]'s destructor closes the ledger, so that no caller waits for ever.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use quintet_proto::v1;
use tokio::sync::mpsc;

use super::{
    item::Item,
    lanes::{Batch, LaneId, Lanes, Size},
    ledger::Ledger,
};
use crate::{
    call::BatchError,
    caller::Caller,
    deadline::Deadline,
    error::Error,
    types::{Limits, PutOptions, Version},
};

/// Items that the task takes over at a time.
const TAKEN_AT_ONCE: usize = 256;
/// Items of one request, where the cluster takes as many.
const BATCH_ITEMS_MAX: usize = 1_000;
/// Bytes of their keys and values.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Items under way at a time to learn their ranges.
const PROBES_MAX: usize = 64;

pub(super) struct Task {
    caller: Caller,
    options: PutOptions,
    ledger: Arc<Ledger>,
    /// Keys of which an item is accepted and has no outcome, with the later items that wait for it.
    waiting: HashMap<Bytes, VecDeque<Item>>,
    lanes: Lanes,
    /// Items that go alone, now.
    alone: Vec<Alone>,
    /// Items under way that ask for their range, and those that wait for what they learn.
    probes: usize,
    unrouted: VecDeque<Item>,
    limits: Limits,
}

/// An item that goes by itself.
struct Alone {
    item: Item,
    /// As a batch of one, so that the answer tells its range.
    asks_for_range: bool,
}

/// Items with their outcome.
struct Done {
    items: Vec<Item>,
    lane: Option<LaneId>,
    asked_for_range: bool,
    outcome: Result<Version, BatchError>,
    deadline: Deadline,
}

impl Task {
    pub(super) fn new(caller: Caller, options: PutOptions, ledger: Arc<Ledger>) -> Task {
        Task {
            limits: caller.limits(),
            caller,
            options,
            ledger,
            waiting: HashMap::new(),
            lanes: Lanes::default(),
            alone: Vec::new(),
            probes: 0,
            unrouted: VecDeque::new(),
        }
    }

    /// Until the writer is dropped; its `finish` waits for every outcome before.
    pub(super) async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut batches = FuturesUnordered::new();
        let mut puts = FuturesUnordered::new();
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                Some(done) = batches.next(), if !batches.is_empty() => self.done(done),
                Some(done) = puts.next(), if !puts.is_empty() => self.done(done),
                count = items.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.limits = self.caller.limits();
                    taken.drain(..).for_each(|item| self.queue(item));
                }
            }
            let size = self.size();
            while let Some(batch) = self.lanes.next(size) {
                batches.push(put_batch(self.caller.clone(), self.options, batch));
            }
            for alone in self.alone.drain(..) {
                puts.push(put_alone(self.caller.clone(), self.options, alone));
            }
        }
    }

    fn size(&self) -> Size {
        Size {
            items: BATCH_ITEMS_MAX.min(self.limits.put_many_items_max),
            bytes: BATCH_BYTES_MAX.min(self.limits.put_many_bytes_max),
        }
    }

    /// An item was accepted: it is sent, or waits for the one of its key that is under way.
    fn queue(&mut self, item: Item) {
        if let Some(waiting) = self.waiting.get_mut(&item.key) {
            waiting.push_back(item);
            return;
        }
        self.waiting.insert(item.key.clone(), VecDeque::new());
        self.start(item);
    }

    /// Sends an item: with others of its range, or alone.
    fn start(&mut self, item: Item) {
        if !self.fits(&item) {
            self.alone.push(Alone { item, asks_for_range: false });
            return;
        }
        let Some(item) = self.lanes.push(item) else { return };
        let Some(span) = self.caller.span(&item.key) else { return self.probe(item) };
        let mut again = self.lanes.open(span);
        again.push(item);
        for item in again {
            if let Some(item) = self.lanes.push(item) {
                self.probe(item);
            }
        }
    }

    /// An item whose range is not known: it asks for it, or waits for one that does.
    fn probe(&mut self, item: Item) {
        if self.probes < PROBES_MAX {
            self.probes += 1;
            self.alone.push(Alone { item, asks_for_range: true });
        } else {
            self.unrouted.push_back(item);
        }
    }

    /// Whether a batch may hold it. What is wrong with it is said of it alone.
    fn fits(&self, item: &Item) -> bool {
        let limits = &self.limits;
        (1..=limits.key_bytes_max).contains(&item.key.len())
            && item.value.len() <= limits.value_bytes_max
            && limits.put_many_items_max > 0
            && item.bytes() <= self.size().bytes
    }

    /// Takes in an outcome, and sends what waited for it.
    fn done(&mut self, done: Done) {
        let Done { items, lane, asked_for_range, outcome, deadline } = done;
        if let Some(lane) = &lane {
            self.lanes.done(lane);
        }
        if asked_for_range {
            self.probes -= 1;
            std::mem::take(&mut self.unrouted).into_iter().for_each(|item| self.start(item));
        }
        let error = match outcome {
            Ok(version) => return self.written(items, version),
            Err(BatchError::Failed(error)) => error,
            Err(BatchError::Apart) => return self.take_apart(items, lane, deadline),
        };
        for item in items {
            let memory = item.memory as usize;
            self.next_of(&item.key);
            self.ledger.failed(item, error.clone());
            self.ledger.give_back(1, memory);
        }
    }

    fn written(&mut self, items: Vec<Item>, version: Version) {
        let (mut bytes, mut memory) = (0, 0);
        let count = items.len();
        for mut item in items {
            bytes += item.bytes();
            memory += item.memory as usize;
            item.tell(|| Ok(version));
            self.next_of(&item.key);
        }
        self.ledger.written(count, bytes);
        self.ledger.give_back(count, memory);
    }

    /// The items of a batch that can't be done as one go alone. Where it was not grouped right, its lane
    /// ends, and what gathered there is grouped by what is known now.
    fn take_apart(&mut self, items: Vec<Item>, lane: Option<LaneId>, deadline: Deadline) {
        for mut item in items {
            item.deadline = Some(deadline);
            self.alone.push(Alone { item, asks_for_range: false });
        }
        let gathered = lane.map(|lane| self.lanes.close(&lane)).unwrap_or_default();
        gathered.into_iter().for_each(|item| self.start(item));
    }

    /// The item of a key has its outcome: the next one is sent.
    fn next_of(&mut self, key: &Bytes) {
        match self.waiting.get_mut(key).and_then(VecDeque::pop_front) {
            Some(next) => self.start(next),
            None => drop(self.waiting.remove(key)),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Callers that still wait learn that nothing more will come.
        self.ledger.close();
    }
}

async fn put_batch(caller: Caller, options: PutOptions, batch: Batch) -> Done {
    let Batch { lane, span, items } = batch;
    let deadline = Deadline::after(caller.timeout);
    let outcome = caller.put_many(on_the_wire(&items), options.ttl, Some(&span)).await;
    Done { items, lane: Some(lane), asked_for_range: false, outcome, deadline }
}

async fn put_alone(caller: Caller, options: PutOptions, alone: Alone) -> Done {
    let Alone { item, asks_for_range } = alone;
    let deadline = item.deadline.unwrap_or_else(|| Deadline::after(caller.timeout));
    let left = deadline.left();
    let outcome = if left.is_zero() {
        let text = "no time was left after its batch was refused".to_owned();
        Err(BatchError::Failed(Error::DeadlineExceeded(text)))
    } else if asks_for_range {
        caller.put_many(on_the_wire(std::slice::from_ref(&item)), options.ttl, None).await
    } else {
        let caller = caller.with_timeout(left);
        let put = caller.put(item.key.clone(), item.value.clone(), options).await;
        put.map_err(BatchError::Failed)
    };
    Done { items: vec![item], lane: None, asked_for_range: asks_for_range, outcome, deadline }
}

fn on_the_wire(items: &[Item]) -> Vec<v1::PutManyItem> {
    let item = |item: &Item| v1::PutManyItem { key: item.key.clone(), value: item.value.clone() };
    items.iter().map(item).collect()
}
