//! A group's Raft log in the node's log engine, as openraft's log store.
//!
//! What is known of the log is in `group_log.rs`, its records in `log_records.rs`; here is what openraft asks for, and
//! what others may know of a log.
//!
//! # Invariants
//!
//! * An append is acknowledged, and a vote known to others, only after the sync that covers it (`log_writer.rs`).
//! * What is written takes effect in the order in which openraft asked for it.
//!
//! # On a crash
//!
//! The engine comes back with a prefix of what was written that contains all that was acknowledged.
//! A torn tail is cut by the engine. Entries must be contiguous; a hole is damage and an error.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use futures::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    async_runtime::watch::WatchSender,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{
    group_log::{Cached, GroupLog},
    log_cache::GROUP_BYTES_MAX,
    log_records::{Kind, encode_entry, key},
    log_writer::{Done, Job, LogWriter},
    progress,
    types::{self, Entry, LogId, TypeConfig, Vote},
    watch,
};
use crate::{
    failpoint,
    ids::RangeId,
    observe::{self, Seen},
    planted::{self, Bug},
    size::Size,
    storage::{
        Engine, Family,
        engine::{Change, Error},
        format::{codec, raft::Position},
    },
};

/// Bytes that one read for replication or apply returns, but at least one entry.
const READ_BYTES_MAX: Size = Size::new("log-read-bytes", 1 << 20, 256);

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
        GroupLog::open(range, engine, writer).map(LogStore)
    }

    /// Bytes of its entries, about.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().sizes.bytes()
    }

    /// The last index that can go so that about `kept_bytes` bytes of entries stay; none where the log has no more than
    /// that.
    pub fn index_before(&self, kept_bytes: u64) -> Option<u64> {
        self.0.state.lock().sizes.index_before(kept_bytes)
    }

    /// The last entry's position.
    pub fn last(&self) -> Option<Position> {
        self.last_id().as_ref().map(types::position)
    }

    pub(super) fn last_id(&self) -> Option<LogId> {
        self.0.state.lock().last
    }

    /// Learns of every append, and sees the entries by then.
    pub(super) fn appended(&self) -> watch::Receiver<()> {
        self.0.appended.subscribe()
    }

    /// The vote, as far as it is durable.
    pub fn vote(&self) -> Option<progress::Vote> {
        self.0.state.lock().vote.as_ref().map(types::vote_record)
    }

    /// The index up to which the log is truncated; 0 where it never was.
    pub fn purged_index(&self) -> u64 {
        self.0.state.lock().purged.map_or(0, |purged| purged.index())
    }
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
