//! A group's Raft log in the node's log engine, as openraft's log store.
//!
//! Records in [`Family::Log`]: `1 | range id | kind | index`, where kind is the vote, the purged
//! position, or an entry. The newest entries are kept in memory as well: replication and apply read
//! them there, and an entry is readable as soon as `append` returned, before it is written. The
//! cache drops an entry only after it is written; all groups of a node share one budget of memory
//! (`log_cache.rs`).
//!
//! # On a crash
//!
//! The engine comes back with a prefix of what was written that contains all that was acknowledged.
//! A torn tail is cut by the engine. Entries must be contiguous; a hole is damage and an error.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, ControlFlow, RangeBounds},
    sync::Arc,
};

use futures::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    async_runtime::watch::{Watch as _, WatchSender},
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;

use super::{
    log_cache::{GROUP_BYTES_MAX, Sizes},
    log_writer::{Done, Job, LogWriter},
    types::{self, Entry, LogId, Payload, Proposal, TypeConfig, Vote},
    watch::{self, Watch},
};
use crate::{
    failpoint,
    ids::RangeId,
    observe::{self, Seen},
    planted::{self, Bug},
    size::Size,
    storage::{
        Direction, Engine, Family,
        codec::{self, EntryRecord, PayloadRecord, Position},
        engine::{Change, Error},
    },
};

/// Bytes that one read for replication or apply returns, but at least one entry.
const READ_BYTES_MAX: Size = Size::new("log-read-bytes", 1 << 20, 256);

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Vote = 0,
    Purged = 1,
    Entry = 2,
}

fn key(range: RangeId, kind: Kind, index: u64) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&range.0.to_be_bytes());
    out.push(kind as u8);
    if matches!(kind, Kind::Entry) {
        out.extend_from_slice(&index.to_be_bytes());
    }
    out
}

struct Cached {
    entry: Entry,
    bytes: usize,
    /// The append that wrote it.
    sequence: u64,
}

#[derive(Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The newest entries, contiguous, up to `last`.
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    /// Appends so far, and how many of them are written.
    appended: u64,
    written: u64,
    sizes: Sizes,
}

impl State {
    /// Drops written entries from the cache until it has at most so many bytes.
    fn evict(&mut self, bytes_max: usize) {
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
pub struct GroupLog {
    range: RangeId,
    engine: Arc<dyn Engine>,
    writer: LogWriter,
    state: Mutex<State>,
    /// Changes with every append.
    appended: watch::Sender<()>,
}

/// openraft's handle to a group's log; every clone is the same log.
#[derive(Clone)]
pub struct LogStore(Arc<GroupLog>);

impl LogStore {
    /// Loads a group's vote and the ends of its log.
    pub fn open(
        range: RangeId,
        engine: Arc<dyn Engine>,
        writer: LogWriter,
    ) -> Result<LogStore, Error> {
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
        log.writer.budget.join(&log);
        Ok(LogStore(log))
    }

    /// Bytes of its entries, about.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().sizes.bytes()
    }

    /// The last index that can go so that about so many bytes of entries stay; none where the log has
    /// no more than that.
    pub fn index_before(&self, kept_bytes: u64) -> Option<u64> {
        self.0.state.lock().sizes.index_before(kept_bytes)
    }

    /// The last entry's position.
    pub fn last(&self) -> Option<LogId> {
        self.0.state.lock().last
    }

    /// Learns of every append, and sees the entries by then.
    pub fn appended(&self) -> watch::Receiver<()> {
        self.0.appended.subscribe()
    }

    /// The vote, as far as it is durable.
    pub fn vote(&self) -> Option<Vote> {
        self.0.state.lock().vote
    }

    /// The position up to which the log is truncated.
    pub fn purged(&self) -> Option<LogId> {
        self.0.state.lock().purged
    }
}

impl GroupLog {
    /// Whose log it is.
    pub(super) fn range(&self) -> RangeId {
        self.range
    }

    /// An append is durable.
    pub(super) fn written(&self, sequence: u64) {
        self.change(|state| {
            state.written = state.written.max(sequence);
            state.evict(GROUP_BYTES_MAX.get());
        });
        self.writer.budget.balance();
    }

    /// Bytes of entries in memory.
    pub(super) fn cached_bytes(&self) -> usize {
        self.state.lock().cache_bytes
    }

    /// Keeps no more than so many bytes of written entries in memory.
    pub(super) fn shrink(&self, bytes_max: usize) {
        self.change(|state| state.evict(bytes_max));
    }

    /// Changes the state and tells the node's budget what that did to the cache.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
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

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
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

    async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        self.writer.write(changes).await
    }

    /// The careless hand: "the disk will have it by the time that anybody asks".
    async fn begin_write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (done, _) = tokio::sync::oneshot::channel();
        self.writer.submit(Job { changes, bytes: 0, entries: 0, done: Done::Wait(done) }).await
    }
}

impl Drop for GroupLog {
    fn drop(&mut self) {
        self.writer.budget.give(self.state.get_mut().cache_bytes);
    }
}

fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        Payload::Blank => PayloadRecord::Blank,
        Payload::Normal(proposal) => PayloadRecord::Command(&proposal.0),
        Payload::Membership(membership) => {
            PayloadRecord::Membership(types::membership_record(membership))
        }
    };
    let record = EntryRecord { position: types::position(&entry.log_id), payload };
    codec::encode_sized(&record, types::payload_bytes(entry))
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, Error> {
    let record: EntryRecord<'_> = codec::decode_borrowed(bytes)?;
    let payload = match record.payload {
        PayloadRecord::Blank => Payload::Blank,
        PayloadRecord::Command(command) => {
            Payload::Normal(Proposal(bytes::Bytes::copy_from_slice(command)))
        }
        PayloadRecord::Membership(membership) => {
            Payload::Membership(types::membership(&membership)?)
        }
    };
    Ok(Entry { log_id: types::log_id(record.position), payload })
}

/// Whether a log holds an entry, by the records of its engine: the entry is there, or the log is
/// truncated above it. For whoever looks at a disk from outside.
pub fn holds(range: RangeId, at: Position, get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>) -> bool {
    let purged = get(Family::Log, &key(range, Kind::Purged, 0));
    let purged: Option<Position> = purged.and_then(|bytes| codec::decode(&bytes).ok());
    if purged.is_some_and(|purged| purged.index >= at.index) {
        return true;
    }
    let entry = get(Family::Log, &key(range, Kind::Entry, at.index));
    let entry = entry.and_then(|bytes| decode_entry(&bytes).ok());
    entry.is_some_and(|entry| types::position(&entry.log_id) == at)
}

/// The term of the vote that a log holds and the replica that it is for, by the record of its engine. For
/// whoever looks at a disk from outside.
pub fn voted(range: RangeId, get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>) -> Option<(u64, u64)> {
    let record = get(Family::Log, &key(range, Kind::Vote, 0))?;
    let vote = types::vote(codec::decode(&record).ok()?);
    Some((vote.leader_id.term, vote.leader_id.voted_for))
}

/// Whether a log holds any entry at an index, by the records of its engine.
pub fn has_entry(
    range: RangeId,
    index: u64,
    get: impl Fn(Family, &[u8]) -> Option<Vec<u8>>,
) -> bool {
    get(Family::Log, &key(range, Kind::Entry, index)).is_some()
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.0.read(start, end, usize::MAX).map_err(io::Error::other)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.read(start, end, READ_BYTES_MAX.get()).map_err(io::Error::other)
    }

    /// Page by page: after a restart the entries to apply are all that the data engine has lost, far
    /// more than should be in memory at once, and the node must go on answering meanwhile.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.0.clone();
        let pages = stream::try_unfold(start, move |next| {
            let log = log.clone();
            async move {
                if next >= end {
                    return Ok(None);
                }
                if next > start {
                    tokio::task::yield_now().await;
                }
                let page = log.read(next, end, READ_BYTES_MAX.get()).map_err(io::Error::other)?;
                if page.is_empty() {
                    let range = log.range;
                    let error =
                        format!("log of {range}: entry {next} of {start}..{end} is missing");
                    return Err(io::Error::other(error));
                }
                let after = next + page.len() as u64;
                Ok(Some((stream::iter(page.into_iter().map(Ok)), after)))
            }
        });
        Box::pin(pages.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.state.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.0.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = codec::encode(&types::vote_record(vote));
        let put = Change::Put {
            family: Family::Log,
            key: key(self.0.range, Kind::Vote, 0),
            value: record,
        };
        failpoint::hit("vote.before-write");
        // The careless hand: "a vote is nothing that one needs to remember".
        if planted::active(Bug::VoteBeforeSync) {
            self.0.begin_write(vec![put]).await?;
        } else if !planted::active(Bug::VoteNotPersisted) {
            self.0.write(vec![put]).await?;
        }
        failpoint::hit("vote.after-sync");
        // Not earlier: others are told what is voted (`range/leadership.rs`).
        self.0.state.lock().vote = Some(*vote);
        Ok(())
    }

    /// Nothing is kept: what is committed becomes known again once a leader is elected.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            let at = types::position(&committed);
            observe::tell(self.0.range, || Seen::Committed { at });
        }
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut changes, mut bytes, mut began) = (Vec::new(), 0, None);
        let sequence = self.0.change(|state| {
            state.appended += 1;
            let sequence = state.appended;
            for entry in entries {
                let expected = state.last.map_or(entry.log_id.index(), |last| last.index() + 1);
                assert_eq!(entry.log_id.index(), expected, "log of {}: a hole", self.0.range);
                let value = encode_entry(&entry);
                let size = value.len();
                bytes += size;
                let key = key(self.0.range, Kind::Entry, entry.log_id.index());
                changes.push(Change::Put { family: Family::Log, key, value });
                let (at, after) = (types::position(&entry.log_id), state.last);
                let after = after.map(|last| types::position(&last));
                if after.is_none_or(|after| after.term != at.term) {
                    began = Some(Seen::Began { at, after });
                }
                state.last = Some(entry.log_id());
                state.sizes.push(entry.log_id.index(), size);
                state.cache_bytes += size;
                state.cache.push_back(Cached { entry, bytes: size, sequence });
            }
            state.evict(GROUP_BYTES_MAX.get());
            sequence
        });
        self.0.writer.budget.balance();
        if let Some(began) = began {
            observe::tell(self.0.range, || began);
        }
        // Nobody may be replicating.
        self.0.appended.send(()).ok();
        let entries = changes.len() as u64;
        let done = Done::Append { flushed, log: self.0.clone(), sequence };
        self.0.writer.submit(Job { changes, bytes, entries, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first_removed = last.map_or(0, |last| last.index() + 1);
        self.0.change(|state| {
            while state.cache.back().is_some_and(|c| c.entry.log_id.index() >= first_removed) {
                let bytes = state.cache.pop_back().map_or(0, |cached| cached.bytes);
                state.cache_bytes -= bytes;
            }
            state.last = last;
            state.sizes.cut_tail(last.map(|last| last.index()));
        });
        let remove = Change::DeleteRange {
            family: Family::Log,
            start: key(self.0.range, Kind::Entry, first_removed),
            end: key(self.0.range, Kind::Entry, u64::MAX),
        };
        failpoint::hit("log.before-truncate");
        if planted::active(Bug::TruncationBeforeSync) {
            self.0.begin_write(vec![remove]).await?;
        } else {
            self.0.write(vec![remove]).await?;
        }
        failpoint::hit("log.after-truncate");
        observe::tell(self.0.range, || Seen::Truncated { first_removed });
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let before = self.0.change(|state| {
            while state.cache.front().is_some_and(|c| c.entry.log_id.index() <= upto.index()) {
                let bytes = state.cache.pop_front().map_or(0, |cached| cached.bytes);
                state.cache_bytes -= bytes;
            }
            let before = state.purged.map_or(0, |purged| purged.index());
            state.purged = Some(upto);
            if state.last.is_none_or(|last| last.index() < upto.index()) {
                state.last = Some(upto);
            }
            let is_all = state.last.is_some_and(|last| last.index() == upto.index());
            state.sizes.cut_head(upto.index(), is_all);
            before
        });
        let position = codec::encode(&types::position(&upto));
        let purged = Change::Put {
            family: Family::Log,
            key: key(self.0.range, Kind::Purged, 0),
            value: position,
        };
        let remove = Change::DeleteRange {
            family: Family::Log,
            start: key(self.0.range, Kind::Entry, before),
            end: key(self.0.range, Kind::Entry, upto.index() + 1),
        };
        failpoint::hit("log.before-purge");
        self.0.write(vec![purged, remove]).await?;
        failpoint::hit("log.after-purge");
        Ok(())
    }
}
