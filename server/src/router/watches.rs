//! The feeds that clients have open at this node: which keys each follows, and how far it has come.
//!
//! This is the one place that knows all of them: their number is bounded here, a node that stops tells them here, and
//! whoever has to know how far back feeds still look asks here. It is in memory only: a client whose node has gone
//! comes to another one, with its position.
//!
//! # Invariants
//!
//! * A feed is never said to be further than its client may have to go on from: holds go by it (`cluster/holds.rs`). It
//!   is registered with the floor of its position, and comes further once what was made for it is with the transport.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{error::OpError, ops::metrics::Metrics, time::Timestamp};

/// The feeds of a node.
pub struct Watches {
    most: usize,
    metrics: Arc<Metrics>,
    is_stopping: AtomicBool,
    /// Wakes those that wait for that.
    stops: Notify,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    feeds: BTreeMap<u64, Feed>,
}

/// What a feed follows, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The first stored key, inclusive.
    pub start: Vec<u8>,
    /// The end, exclusive; empty is no end.
    pub end: Vec<u8>,
    /// Everything at or below it was handed to the transport.
    pub resolved: Timestamp,
}

impl Watches {
    /// None yet, and `most` at most.
    pub fn new(most: u32, metrics: Arc<Metrics>) -> Arc<Watches> {
        let (most, is_stopping) = (most as usize, AtomicBool::new(false));
        let (stops, open) = (Notify::new(), Mutex::default());
        Arc::new(Watches { most, metrics, is_stopping, stops, open })
    }

    /// Opens a feed; it is open until what is returned is dropped.
    pub fn open(self: &Arc<Self>, feed: Feed) -> Result<OpenWatch, OpError> {
        if self.is_stopping() {
            return Err(stopping());
        }
        let mut open = self.open.lock();
        if open.feeds.len() >= self.most {
            let message = format!(
                "{} watches are open at this node; close some, or go to another node",
                self.most
            );
            return Err(OpError::overloaded(message));
        }
        let id = open.next;
        open.next += 1;
        open.feeds.insert(id, feed);
        self.metrics.watch.open.set(open.feeds.len() as u64);
        Ok(OpenWatch { id, watches: self.clone() })
    }

    /// All that are open; each has a number of its own.
    pub fn feeds(&self) -> Vec<(u64, Feed)> {
        self.open.lock().feeds.iter().map(|(id, feed)| (*id, feed.clone())).collect()
    }

    /// How far the one has come that is furthest behind.
    pub fn furthest_behind(&self) -> Option<Timestamp> {
        self.open.lock().feeds.values().map(|feed| feed.resolved).min()
    }

    /// The node stops: those that are open end soon, and no further one is opened.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stops.notify_waiters();
    }

    /// Returns once they are to end.
    pub(crate) async fn stopped(&self) {
        // It hears from here on, so that no stop falls between the look and the wait.
        let stops = self.stops.notified();
        if !self.is_stopping() {
            stops.await;
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

/// What a feed is told whose node stops.
pub(crate) fn stopping() -> OpError {
    OpError::unavailable("the node is stopping; watch again at another one, from where this ended")
}

/// A feed that is open, until it is dropped.
pub struct OpenWatch {
    id: u64,
    watches: Arc<Watches>,
}

impl OpenWatch {
    /// Everything at or below a timestamp was handed to the transport.
    pub fn has_come(&self, resolved: Timestamp) {
        if let Some(feed) = self.watches.open.lock().feeds.get_mut(&self.id) {
            feed.resolved = feed.resolved.max(resolved);
        }
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        let mut open = self.watches.open.lock();
        open.feeds.remove(&self.id);
        self.watches.metrics.watch.open.set(open.feeds.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(resolved: u64) -> Feed {
        Feed { start: b"a".to_vec(), end: b"b".to_vec(), resolved: Timestamp(resolved) }
    }

    #[test]
    fn feeds_are_bounded_and_known_while_they_are_open() {
        let watches = Watches::new(2, Arc::new(Metrics::new()));
        let first = watches.open(feed(5)).unwrap_or_else(|error| panic!("{error:?}"));
        let second = watches.open(feed(9)).unwrap_or_else(|error| panic!("{error:?}"));
        let refused = watches.open(feed(1)).err().expect("one too many");
        assert_eq!(refused.code, quintet_proto::v1::Code::Overloaded);
        assert_eq!(watches.furthest_behind(), Some(Timestamp(5)));
        first.has_come(Timestamp(7));
        first.has_come(Timestamp(6));
        assert_eq!(watches.feeds(), [(0, feed(7)), (1, feed(9))]);
        drop(second);
        assert_eq!(watches.metrics.watch.open.get(), 1);
        watches.stop();
        assert!(watches.open(feed(1)).is_err());
        drop(first);
        assert_eq!(watches.furthest_behind(), None);
    }
}
