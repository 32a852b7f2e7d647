//! Reads that wait for their turn, stamped with the round of confirmations in which they arrived.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::range::{
    leadership::Leaderships,
    request::{Read, Reply},
};

/// Reads that may wait for their turn.
const QUEUE_MAX: usize = 16_384;

/// A read and when it arrived, in rounds of confirmations.
pub(super) struct Queued {
    pub(super) read: Read,
    pub(super) arrived: u64,
}

/// The way to a range's reads; cheap to clone.
#[derive(Clone)]
pub(in crate::range) struct ReadQueue {
    queue: mpsc::Sender<Queued>,
    leaderships: Arc<Leaderships>,
}

impl ReadQueue {
    /// Both ends.
    pub(super) fn new(leaderships: Arc<Leaderships>) -> (ReadQueue, mpsc::Receiver<Queued>) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (ReadQueue { queue: sender, leaderships }, queue)
    }

    /// Queues a read. It is answered at once where the queue is full.
    pub(in crate::range) fn send(&self, read: Read) {
        let arrived = self.leaderships.arrived();
        let sent = self.queue.try_send(Queued { read, arrived });
        Reply::unless_sent(
            sent,
            |queued| queued.read.reply,
            "too many reads are waiting; slow down",
        );
    }

    /// How many wait.
    pub(in crate::range) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
