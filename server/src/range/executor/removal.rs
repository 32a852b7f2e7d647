//! Pages of deletions: keys of a span that were written at a moment or before.
//!
//! ```text
//!   start                                          next                 end of the span, or of the range
//!   |  held, old    newer    absent    held, old    | latched, or the page is full    |
//!      goes         stays              goes           a later page begins here
//! ```
//!
//! # Invariants
//!
//! * A page goes into an entry of its own. It removes keys that it has latched, and none that is latched: it
//!   ends before the first such key, or waits behind that, holding none, where it would begin with it.
//! * The moment is not above the range's time, so that no write of a version at or below it is under way:
//!   what a page does not see of its part of the span is newer, now and ever after. So a page that is asked
//!   again, under whatever id, finds nothing there to remove that was written since.
//! * A page is bounded in keys, in their bytes and in versions that it looks at; where one of them ends it, it
//!   says where the next one begins.
//! * As with every request, what is remembered of it is its answer. A page that removes nothing is remembered
//!   where a refusal would be.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Evaluated, Executor, PendingRemoval, lost};
use crate::{
    config::DELETE_RANGE_KEYS_MAX,
    error::OpError,
    planted::{self, Bug},
    range::request::{Answer, Write},
    size::Size,
    storage::{
        engine::Error,
        format::request::Removed,
        keys,
        mvcc::{self, PageLimit},
    },
    time::{Timestamp, local::Instant},
};

/// Keys after which a page ends.
const PAGE_KEYS_MAX: Size = Size::new("removal-page-keys", DELETE_RANGE_KEYS_MAX as usize, 1);
/// Bytes of keys after which a page ends.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Versions after which a page ends: a few milliseconds in which nothing else is evaluated.
const PAGE_VERSIONS_MAX: usize = 5_000;

impl Executor {
    /// A page into an entry that is empty, unless it is answered, or waits.
    pub(super) fn add_removal(
        &mut self,
        write: Write,
        term: u64,
        now: Instant,
        asked: &mut Evaluated,
    ) -> Result<(), Error> {
        let Some(range) = write.kind.range() else { return Ok(()) };
        let state = &self.shared.state;
        let descriptor = state.descriptor();
        if let Some(result) = self.answered(&write, &descriptor, now)? {
            write.reply.send(result);
            return Ok(());
        }
        let (time, moment) = (state.time(), range.moment);
        if moment > time {
            let message = "the deletion names a moment that the range has not reached; take the 'at' of a \
                           scan of the whole span";
            write.reply.send(Err(OpError::invalid(message)));
            return Ok(());
        }
        let at = self.shared.hlc.now();
        let upto = match &descriptor.end[..] {
            [] => &range.end[..],
            border if range.end.is_empty() => border,
            border => border.min(&range.end[..]),
        };
        let limit = PageLimit {
            records: page_keys(range.limit),
            bytes: PAGE_BYTES_MAX,
            versions: PAGE_VERSIONS_MAX,
        };
        // The careless hand: "whatever is there goes".
        let newest = if planted::active(Bug::RemovalOfNewer) { Timestamp::MAX } else { moment };
        let span = (&write.key[..], upto);
        let found = mvcc::held_since(&**state.engine(), span, newest, (time, at), limit)?;
        let behind = (upto != &range.end[..]).then(|| upto.to_vec());
        let (mut next, is_expiring) = (found.next.or(behind), found.is_expiring);
        let mut goes: Vec<_> = found.keys.into_iter().map(Bytes::from).collect();
        match goes.iter().position(|key| self.latches.contains_key(key)) {
            Some(0) => {
                if let Some(first) = goes.into_iter().next() {
                    self.wait_behind(&first, write);
                }
                return Ok(());
            }
            Some(latched) => {
                next = goes.get(latched).map(|key| key.to_vec());
                goes.truncate(latched);
            }
            None => {}
        }
        let is_whole = |stored: &Vec<u8>| matches!(keys::decode(stored), Some((_, _, [])));
        if next.as_ref().is_some_and(|next| !is_whole(next)) {
            return Err(Error::Corrupt(
                "a key or a border of ranges that is no whole key".to_owned(),
            ));
        }
        if next.is_some() && planted::active(Bug::RemovalSkipsLast) {
            // The careless hand: "up to the next one".
            goes.pop();
        }
        let count = u32::try_from(goes.len()).unwrap_or(u32::MAX);
        let removed = Removed { keys: count, moment, next };
        let forgets = write.refusal_not_remembered && !write.later_attempt;
        if goes.is_empty() && forgets && !is_expiring {
            self.confirm(write, term, Ok(Answer::DeleteRange(removed)));
            return Ok(());
        }
        self.latches.extend(goes.iter().map(|key| (key.clone(), VecDeque::new())));
        asked.writes += goes.len();
        asked.bytes += goes.iter().map(|key| key.len() + 8).sum::<usize>();
        asked.removal = Some(PendingRemoval { write, at, keys: goes, removed });
        Ok(())
    }

    /// What became of a page; nobody knows where there is no flag.
    pub(super) fn finish_removal(
        &mut self,
        removal: PendingRemoval,
        flag: Option<bool>,
        same_epoch: bool,
        again: &mut Vec<Write>,
    ) {
        let PendingRemoval { write, keys, removed, .. } = removal;
        if same_epoch {
            keys.iter().for_each(|key| self.release(key));
        }
        match flag {
            Some(true) => write.reply.send(Ok(Answer::DeleteRange(removed))),
            Some(false) => {
                self.shared.metrics.reevaluations.inc();
                again.push(write);
            }
            None => {
                write.reply.send(Err(lost()));
            }
        }
    }
}

/// Keys of a page where a request wants so many, 0 being all.
fn page_keys(limit: u64) -> usize {
    let most = PAGE_KEYS_MAX.get();
    match usize::try_from(limit) {
        Ok(0) | Err(_) => most,
        Ok(limit) => limit.min(most),
    }
}
