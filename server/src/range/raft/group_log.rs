//! One group's log: what is known of it in memory, and reading it.
//!
//! The newest entries are kept in memory as well: replication and apply read them there, and an entry is readable
//! as soon as it was appended, before it is written. All groups of a node share one budget of memory
//! (`log_cache.rs`).
//!
//! # Invariants
//!
//! * The cache drops an entry only after it is written ([`State::evict`]): what is not in it is in the engine.
//! * Entries are contiguous; a hole is damage and an error ([`GroupLog::read`]).

use std::{collections::VecDeque, io, ops::ControlFlow, sync::Arc};

use openraft::async_runtime::watch::Watch as _;
use parking_lot::Mutex;

use super::{
    log_cache::{Cache, GROUP_BYTES_MAX, Sizes},
    log_records::{Kind, decode_entry, key},
    log_writer::{Appends, Done, Job, LogWriter},
    types::{self, Entry, LogId, Vote},
    watch::{self, Watch},
};
use crate::{
    ids::RangeId,
    storage::{
        Direction, Engine, Family,
        engine::{Change, Error},
        format::codec,
    },
};

/// An entry in memory.
pub(super) struct Cached {
    pub(super) entry: Entry,
    pub(super) bytes: usize,
    /// The append that wrote it.
    pub(super) sequence: u64,
}

/// What is known of the log.
#[derive(Default)]
pub(super) struct State {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// The newest entries, contiguous, up to `last`.
    pub(super) cache: VecDeque<Cached>,
    pub(super) cache_bytes: usize,
    /// Appends so far, and how many of them are written.
    pub(super) appended: u64,
    pub(super) written: u64,
    pub(super) sizes: Sizes,
}

impl State {
    /// Drops written entries from the cache until it has at most `bytes_max` bytes.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        while self.cache_bytes > bytes_max
            && self.cache.front().is_some_and(|cached| cached.sequence <= self.written)
        {
            let bytes = self.cache.pop_front().map_or(0, |cached| cached.bytes);
            self.cache_bytes -= bytes;
        }
    }

    fn first_cached(&self) -> u64 {
        match self.cache.front() {
            Some(cached) => cached.entry.log_id.index(),
            None => self.last.map_or(0, |last| last.index() + 1),
        }
    }
}

/// A group's log: shared by openraft's store and its readers.
pub(super) struct GroupLog {
    pub(super) range: RangeId,
    engine: Arc<dyn Engine>,
    pub(super) writer: LogWriter,
    pub(super) state: Mutex<State>,
    /// Changes with every append.
    pub(super) appended: watch::Sender<()>,
}

impl GroupLog {
    /// Loads a group's vote and the ends of its log.
    pub(super) fn open(
        range: RangeId,
        engine: Arc<dyn Engine>,
        writer: LogWriter,
    ) -> Result<Arc<GroupLog>, Error> {
        let read = |kind| engine.get(Family::Log, &key(range, kind, 0));
        let vote = match read(Kind::Vote)? {
            Some(bytes) => Some(types::vote(codec::decode(&bytes)?)),
            None => None,
        };
        let purged = match read(Kind::Purged)? {
            Some(bytes) => Some(types::log_id(codec::decode(&bytes)?)),
            None => None,
        };
        let mut newest = None;
        let (start, end) = (key(range, Kind::Entry, 0), key(range, Kind::Entry, u64::MAX));
        engine.scan(Family::Log, &start, &end, Direction::Reverse, &mut |_, record| {
            newest = Some(decode_entry(record));
            ControlFlow::Break(())
        })?;
        let last = match newest.transpose()? {
            Some(entry) => Some(entry.log_id),
            None => purged,
        };
        let mut sizes = Sizes::default();
        let first = purged.map_or(0, |purged| purged.index() + 1);
        let start = key(range, Kind::Entry, first);
        engine.scan_once(Family::Log, &start, &end, &mut |key, record| {
            if let Some(index) = key.last_chunk() {
                sizes.push(u64::from_be_bytes(*index), record.len());
            }
            ControlFlow::Continue(())
        })?;
        let state = Mutex::new(State { vote, purged, last, sizes, ..State::default() });
        let (appended, _) = Watch::channel(());
        let log = Arc::new(GroupLog { range, engine, writer, state, appended });
        let cache: Arc<dyn Cache> = log.clone();
        log.writer.budget.join(&cache);
        Ok(log)
    }

    /// Changes the state and tells the node's budget what that did to the cache.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.cache_bytes;
        let result = change(&mut state);
        let after = state.cache_bytes;
        if after > before {
            self.writer.budget.take(after - before);
        } else {
            self.writer.budget.give(before - after);
        }
        result
    }

    /// Entries in `[start, end)`, up to some bytes, but at least one where there is one.
    pub(super) fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        loop {
            let next = start + out.len() as u64;
            if next >= end || (bytes >= bytes_max && !out.is_empty()) {
                return Ok(out);
            }
            let (first_cached, stop) = {
                let state = self.state.lock();
                let first = state.first_cached();
                if next >= first {
                    let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
                    for cached in state.cache.iter().skip(skip) {
                        if cached.entry.log_id.index() >= end
                            || (bytes >= bytes_max && !out.is_empty())
                        {
                            break;
                        }
                        bytes += cached.bytes;
                        out.push(cached.entry.clone());
                    }
                    return Ok(out);
                }
                (first, end.min(first))
            };
            // What lies below the cache is written, so the engine has it.
            let before = out.len();
            self.read_engine(next, stop, bytes_max, &mut bytes, &mut out)?;
            if out.len() == before {
                // Purged meanwhile, or the cache moved on: look again, unless nothing moved.
                let state = self.state.lock();
                let purged = state.purged.is_some_and(|purged| purged.index() >= next);
                if purged || state.first_cached() == first_cached {
                    return Ok(out);
                }
            }
        }
    }

    fn read_engine(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
        bytes: &mut usize,
        out: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let (from, to) = (key(self.range, Kind::Entry, start), key(self.range, Kind::Entry, end));
        let mut expected = start;
        let mut failed = None;
        self.engine.scan(Family::Log, &from, &to, Direction::Forward, &mut |_, record| {
            if *bytes >= bytes_max && !out.is_empty() {
                return ControlFlow::Break(());
            }
            match decode_entry(record) {
                Ok(entry) if entry.log_id.index() == expected => {
                    *bytes += record.len();
                    expected += 1;
                    out.push(entry);
                    ControlFlow::Continue(())
                }
                Ok(entry) => {
                    failed = Some(Error::Corrupt(format!(
                        "log of {}: entry {} stands where {expected} belongs",
                        self.range,
                        entry.log_id.index()
                    )));
                    ControlFlow::Break(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |error| {
            (self.writer.failed)(error.clone());
            Err(error)
        })
    }

    /// Writes records and waits until they are durable.
    pub(super) async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        self.writer.write(changes).await
    }

    /// The careless hand: "the disk will have it by the time that anybody asks".
    pub(super) async fn begin_write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (done, _) = tokio::sync::oneshot::channel();
        self.writer.submit(Job { changes, bytes: 0, entries: 0, done: Done::Wait(done) }).await
    }
}

impl Appends for GroupLog {
    fn range(&self) -> RangeId {
        self.range
    }

    fn written(&self, sequence: u64) {
        self.change(|state| {
            state.written = state.written.max(sequence);
            state.evict(GROUP_BYTES_MAX.get());
        });
        self.writer.budget.balance();
    }
}

impl Cache for GroupLog {
    fn cached_bytes(&self) -> usize {
        self.state.lock().cache_bytes
    }

    fn shrink(&self, bytes_max: usize) {
        self.change(|state| state.evict(bytes_max));
    }
}

impl Drop for GroupLog {
    fn drop(&mut self) {
        self.writer.budget.give(self.state.get_mut().cache_bytes);
    }
}
