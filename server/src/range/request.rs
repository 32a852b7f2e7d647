//! Requests on a range and the way their answers go back.
//!
//! These are what doors, router and the node's own work hand to a replica: decoded, checked, with stored keys. A
//! [`Reply`] that is dropped unanswered says that the outcome is unknown, so that no caller waits for ever whatever
//! happens to the task that held it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;

use crate::{
    error::OpError,
    ids::RequestId,
    ops::{metrics::Metrics, operation::OperationOutcome, requests::Named},
    storage::{
        Direction,
        changes::Position,
        format::request::Removed,
        mvcc::{KeyVersion, PageLimit, Version},
    },
    time::{Timestamp, local::Instant},
};

/// What a request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The newest version, or absent.
    Get {
        /// The version, if there is one.
        found: Option<Version>,
        /// Cluster time, to say what is left of its life.
        now: Timestamp,
        /// The moment that was asked for; none: the newest state.
        at: Option<Timestamp>,
        /// How old that is at most.
        stale: Duration,
    },
    /// Versions of a key.
    History {
        /// Newest first.
        versions: Vec<KeyVersion>,
        /// There may be older ones.
        more: bool,
        /// What is older is not kept for certain.
        kept_since: Timestamp,
    },
    /// Version of the write.
    Put(Timestamp),
    /// Version of the writes.
    PutMany(Timestamp),
    /// Version of the removal, or nothing was there.
    Delete(Option<Timestamp>),
    /// The sum, and its version.
    Increment(i64, Timestamp),
    /// Version of the write and when the key expires, or there was no key.
    Expire(Option<(Timestamp, Option<Timestamp>)>),
    /// A page of a scan.
    Scan(ScanPage),
    /// A page of a deletion.
    DeleteRange(Removed),
    /// A page of a feed.
    Changes(ChangesPage),
    /// A timestamp of the oracle; no range was asked.
    Timestamp(Timestamp),
    /// For another replica of the range: the index up to which it has to have applied the log.
    Index(u64),
}

/// A page of a scan, in user keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// User keys and versions, in the order of the scan.
    pub records: Vec<(Vec<u8>, Version)>,
    /// The version that all pages show.
    pub at: Timestamp,
    /// Where the next page starts (forward) or ends (reverse), as a user key.
    pub next: Option<Vec<u8>>,
    /// Cluster time, to say what is left of a record's life.
    pub now: Timestamp,
}

/// A page of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangesPage {
    /// User keys and versions, in the order of (timestamp, key).
    pub changes: Vec<(Vec<u8>, KeyVersion)>,
    /// Every version of the span at or below it, and above the position that was asked for, is in this page.
    pub resolved: Timestamp,
    /// It is of the keys below this user key; none: of all that was asked for.
    pub upto: Option<Vec<u8>>,
    /// Nothing is told yet: the range is being looked through for what comes.
    pub is_looked_for: bool,
}

/// The result of a request.
pub type OpResult = Result<Answer, OpError>;

/// Takes answers: a session, a forwarding peer, a waiting call.
pub trait ReplySink: Send + Sync {
    /// The answer to request `id`. Must not block.
    fn answer(&self, id: u64, result: OpResult);

    /// Whether there is room for a value. Where there is none, it had better not be read: it would be left out.
    fn has_room(&self) -> bool {
        true
    }
}

/// Where one answer goes. Dropped unanswered it says that the outcome is unknown, so that no caller
/// waits for ever.
pub struct Reply {
    sink: Option<Arc<dyn ReplySink>>,
    id: u64,
    counted: Option<(Arc<Metrics>, Named)>,
}

impl Reply {
    /// The answer to request `id` of `sink`; counted, timed and, where it fails or is slow, logged.
    pub fn new(sink: Arc<dyn ReplySink>, id: u64, metrics: Arc<Metrics>, named: Named) -> Reply {
        Reply { sink: Some(sink), id, counted: Some((metrics, named)) }
    }

    /// The answer to a request of the node's own, which counts as nobody's operation.
    pub fn uncounted(sink: Arc<dyn ReplySink>, id: u64) -> Reply {
        Reply { sink: Some(sink), id, counted: None }
    }

    /// Answers a request that a queue has not taken: there are `too_many`, or nobody takes them any more.
    pub fn unless_sent<T>(
        sent: Result<(), TrySendError<T>>,
        reply: impl FnOnce(T) -> Reply,
        too_many: &'static str,
    ) {
        let (request, error) = match sent {
            Ok(()) => return,
            Err(TrySendError::Full(request)) => (request, OpError::overloaded(too_many)),
            Err(TrySendError::Closed(request)) => {
                (request, OpError::unavailable("the node is stopping"))
            }
        };
        reply(request).send(Err(error));
    }

    /// Whether there is room for a value: see [`ReplySink::has_room`].
    pub fn has_room(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.has_room())
    }

    /// Gives the answer.
    pub fn send(mut self, result: OpResult) {
        self.give(result);
    }

    /// Gives the answer now, though whoever holds this goes on; what he answers then is answered to nobody.
    pub fn give_up(&mut self, error: OpError) {
        self.give(Err(error));
    }

    fn give(&mut self, result: OpResult) {
        let Some(sink) = self.sink.take() else { return };
        if let Some((metrics, named)) = &self.counted {
            let (outcome, why) = match &result {
                Ok(_) => (OperationOutcome::Ok, ""),
                Err(error) => {
                    (OperationOutcome::of_code(error.code, error.maybe_committed), &*error.message)
                }
            };
            let took = named.started.elapsed();
            metrics.operation(named.operation).done(outcome, took);
            metrics.request_log.ended(named, outcome, took, why);
        }
        sink.answer(self.id, result);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(Err(OpError::ambiguous("the node gave the request up")));
    }
}

/// A request to change a key.
pub struct Write {
    /// `enc(key)`, its anchor too; of several keys the first, of a span where it begins.
    pub key: Bytes,
    /// What it asks.
    pub kind: WriteKind,
    /// Its name.
    pub request: RequestId,
    /// Cluster time of its first attempt.
    pub first_attempt: Timestamp,
    /// Whether another copy of unknown fate was ever sent.
    pub later_attempt: bool,
    /// The caller takes no refusal of this copy for the request's once it has sent a later one.
    pub refusal_not_remembered: bool,
    /// Hash of what it asks.
    pub hash: u64,
    /// Not begun after this.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: Reply,
}

impl Write {
    /// Every key that it writes, its anchor first; of a span only where it begins.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let others = self.kind.many().and_then(|many| many.items.get(1..)).unwrap_or_default();
        std::iter::once(&self.key).chain(others.iter().map(|(key, _)| key))
    }
}

#[cfg(test)]
impl Write {
    /// The first attempt of a client's request, whose answer nobody takes; for tests.
    pub(crate) fn of_test(sequence: u64, key: Bytes, kind: WriteKind) -> Write {
        Write {
            key,
            kind,
            request: RequestId { origin_room: 1, client: 1, sequence },
            first_attempt: Timestamp(1),
            later_attempt: false,
            refusal_not_remembered: false,
            hash: 0,
            deadline: Instant::now() + Duration::from_secs(1),
            reply: Reply { sink: None, id: sequence, counted: None },
        }
    }
}

/// When a write may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this version.
    Version(Timestamp),
}

/// How long a key is there once it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It does not expire.
    Forever,
    /// For this long after the write.
    For(Duration),
    /// As long as before the write: for ever, where the key did not expire or was absent.
    AsBefore,
}

impl Lifetime {
    /// The time that it names by itself.
    pub fn ttl(self) -> Option<Duration> {
        match self {
            Lifetime::For(ttl) => Some(ttl),
            Lifetime::Forever | Lifetime::AsBefore => None,
        }
    }
}

/// What a request asks of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A new value.
    Put {
        /// The value.
        value: Bytes,
        /// When it may happen.
        condition: Condition,
        /// How long the key is there.
        life: Lifetime,
    },
    /// Absence.
    Delete {
        /// When it may happen.
        condition: Condition,
    },
    /// The sum of the decimal number in the key, absent being 0, and a number.
    Increment {
        /// The number.
        delta: i64,
        /// After which the key expires; none leaves that as it is.
        ttl: Option<Duration>,
    },
    /// The same value with another expiry, if the key exists.
    Expire {
        /// After which the key expires; none is never.
        ttl: Option<Duration>,
        /// When it may happen.
        condition: Condition,
    },
    /// New values of several keys.
    PutMany(PutMany),
    /// Absence of what a span holds, a page of it.
    DeleteRange(DeleteRange),
}

/// New values of several keys of one range, whatever they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutMany {
    /// `enc(key)`, rising, and values; one at least. The first key is the anchor.
    pub items: Vec<(Bytes, Bytes)>,
    /// After which they expire; none is never.
    pub ttl: Option<Duration>,
}

/// Absence of the keys of a span that were written at a moment or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// Where the span ends, as stored, exclusive. It begins at the request's key.
    pub end: Bytes,
    /// What is newer stays.
    pub moment: Timestamp,
    /// Keys at most; 0 is as many as a page has.
    pub limit: u64,
}

impl WriteKind {
    /// Whether it means the same on every state.
    pub fn is_unconditional(&self) -> bool {
        match self {
            WriteKind::Put { condition: Condition::Always, life, .. } => {
                *life != Lifetime::AsBefore
            }
            WriteKind::PutMany(_) => true,
            _ => false,
        }
    }

    /// Whether it makes the data grow.
    pub fn needs_space(&self) -> bool {
        !matches!(self, WriteKind::Delete { .. } | WriteKind::DeleteRange(_))
    }

    /// What it removes, where that is a span.
    pub fn range(&self) -> Option<&DeleteRange> {
        match self {
            WriteKind::DeleteRange(range) => Some(range),
            _ => None,
        }
    }

    /// What it writes, where that are several keys.
    pub fn many(&self) -> Option<&PutMany> {
        match self {
            WriteKind::PutMany(many) => Some(many),
            _ => None,
        }
    }
}

/// A request to read.
pub struct Read {
    /// What to read.
    pub kind: ReadKind,
    /// Not begun after this.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: Reply,
}

impl Read {
    /// The read, unless it would be served in vain, which it is told: its time is over, or there is no room for what it
    /// would find.
    pub fn unless_in_vain(self, now: Instant) -> Option<Read> {
        if self.deadline <= now {
            self.refuse(OpError::deadline());
            return None;
        }
        if !self.has_room() {
            self.refuse(OpError::no_room());
            return None;
        }
        Some(self)
    }

    fn has_room(&self) -> bool {
        match &self.kind {
            ReadKind::Get(_)
            | ReadKind::GetAt(..)
            | ReadKind::History(..)
            | ReadKind::Scan(_)
            | ReadKind::Changes(_) => self.reply.has_room(),
            ReadKind::Index(..) | ReadKind::Confirm { .. } => true,
        }
    }

    /// It is not read.
    pub fn refuse(self, error: OpError) {
        self.reply.send(Err(error));
    }
}

/// What a read asks.
pub enum ReadKind {
    /// The newest version of `enc(key)`.
    Get(Bytes),
    /// The version of `enc(key)` at a moment.
    GetAt(Bytes, Timestamp),
    /// Versions of `enc(key)` below one, as many, newest first.
    History(Bytes, Timestamp, usize),
    /// A page of stored keys.
    Scan(Scan),
    /// A page of what was written behind a position.
    Changes(Changes),
    /// How far another replica has to have applied the log to show the newest state of `enc(key)`, or a moment of the
    /// span that the key is in.
    Index(Bytes, Option<Timestamp>),
    /// Nothing is read; the answer, which rests on a read of a leader of `term`, is given once
    /// leadership in that term is confirmed
    /// (`docs/decisions/2026-11-29-reads-ask-a-majority.md`).
    Confirm {
        /// In which the answer was found.
        term: u64,
        /// The answer.
        result: Box<OpResult>,
    },
}

impl ReadKind {
    /// The moment that it names.
    pub fn moment(&self) -> Option<Timestamp> {
        match self {
            ReadKind::GetAt(_, at) => Some(*at),
            ReadKind::Scan(scan) => Some(scan.at).filter(|at| *at > Timestamp::ZERO),
            ReadKind::Index(_, at) => *at,
            ReadKind::Get(_)
            | ReadKind::History(..)
            | ReadKind::Changes(_)
            | ReadKind::Confirm { .. } => None,
        }
    }
}

/// A page of stored keys in `[start, end)`, at a moment.
#[derive(Clone)]
pub struct Scan {
    /// Inclusive.
    pub start: Vec<u8>,
    /// Exclusive; empty is no end.
    pub end: Vec<u8>,
    /// Which way.
    pub direction: Direction,
    /// The moment that its pages show.
    pub at: Timestamp,
    /// Bounds of the page.
    pub limit: PageLimit,
    /// Leave the values out.
    pub keys_only: bool,
}

/// What was written to stored keys in `[start, end)` behind a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Inclusive.
    pub start: Vec<u8>,
    /// Exclusive; empty is no end.
    pub end: Vec<u8>,
    /// What comes is behind it.
    pub after: Position,
    /// Versions at most.
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<OpResult>>);

    impl ReplySink for Told {
        fn answer(&self, _id: u64, result: OpResult) {
            self.0.lock().push(result);
        }
    }

    #[test]
    fn whoever_was_told_that_nobody_knows_is_told_nothing_more() {
        let told = Arc::new(Told::default());
        let mut reply = Reply::uncounted(told.clone(), 1);
        reply.give_up(OpError::ambiguous("the disk does not answer"));
        reply.send(Ok(Answer::Put(Timestamp(1))));
        let told = told.0.lock();
        assert!(matches!(&told[..], [Err(error)] if error.maybe_committed), "{told:?}");
    }
}
