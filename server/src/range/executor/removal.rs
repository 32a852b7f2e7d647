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
//! * No write of a version at or below the moment is under way when a page gets its timestamp, which is above the
//!   moment (`latched.rs`, `checked.rs`): what a page does not see of its part of the span is newer, now and ever
//!   after. So a page that is asked again, under whatever id, finds nothing there to remove that was written since.
//! * A page is bounded in keys, in their bytes and in versions that it looks at; where one of them ends it, it
//!   says where the next one begins.
//! * As with every request, what is remembered of it is its answer. A page that removes nothing is remembered
//!   where a refusal would be.

use bytes::Bytes;

use super::{
    entry::{Asked, Pending, Removal},
    latches::Latches,
};
use crate::{
    config::DELETE_RANGE_KEYS_MAX,
    planted::{self, Bug},
    range::{
        command::outcome::changes_nothing,
        dedup,
        held::Current,
        request::{Answer, DeleteRange, OpResult, Write},
        state::RangeState,
    },
    size::Size,
    storage::{
        engine::Error,
        format::{
            command::Effect,
            request::{Outcome, Removed},
        },
        keys,
        mvcc::{self, PageLimit},
    },
    time::Timestamp,
};

/// Keys after which a page ends.
const PAGE_KEYS_MAX: Size = Size::new("removal-page-keys", DELETE_RANGE_KEYS_MAX as usize, 1);
/// Bytes of keys after which a page ends.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Versions after which a page ends: a few milliseconds in which nothing else is evaluated.
const PAGE_VERSIONS_MAX: usize = 5_000;

/// What evaluation made of a page.
pub(super) enum Page {
    /// It goes into the entry; its keys are taken.
    Goes(Removal),
    /// It removes nothing, and need not be remembered: its answer, once the leadership is confirmed.
    Empty(Write, OpResult),
    /// It has to wait behind a key.
    Waits(Bytes, Write),
}

/// Evaluates a page, and takes the keys that it removes.
pub(super) fn evaluate(
    state: &RangeState,
    latches: &mut Latches<Write>,
    asked: Asked,
    range: &DeleteRange,
) -> Result<Page, Error> {
    let Asked { write, at, .. } = asked;
    let found = find(state, &write.key, range, at)?;
    let mut next = found.next;
    let mut goes: Vec<_> = found.keys.into_iter().map(Bytes::from).collect();
    match goes.iter().position(|key| latches.is_taken(key)) {
        Some(0) => {
            let first = goes.swap_remove(0);
            return Ok(Page::Waits(first, write));
        }
        Some(taken) => {
            next = goes.get(taken).map(|key| key.to_vec());
            goes.truncate(taken);
        }
        None => {}
    }
    let is_whole = |stored: &Vec<u8>| matches!(keys::decode(stored), Some((_, _, [])));
    if next.as_ref().is_some_and(|next| !is_whole(next)) {
        return Err(Error::Corrupt("a key or a border of ranges that is no whole key".to_owned()));
    }
    if next.is_some() && planted::active(Bug::RemovalSkipsLast) {
        // The careless hand: "up to the next one".
        goes.pop();
    }
    let count = u32::try_from(goes.len()).unwrap_or(u32::MAX);
    let removed = Removed { keys: count, moment: range.moment, next };
    let outcome = Outcome::Removed(removed.clone());
    if changes_nothing(&outcome) && dedup::may_forget_refusal(&write) {
        return Ok(Page::Empty(write, Ok(Answer::DeleteRange(removed))));
    }
    for key in &goes {
        latches.take(key.clone());
    }
    let (effect, refused_by) = (Effect::Nothing, Current(None));
    let pending = Pending { write, at, effect, outcome, refused_by };
    Ok(Page::Goes(Removal { pending, keys: goes }))
}

/// What a page that begins at a key would remove, whoever has it latched.
fn find(
    state: &RangeState,
    start: &[u8],
    range: &DeleteRange,
    at: Timestamp,
) -> Result<mvcc::Held, Error> {
    let descriptor = state.descriptor();
    let upto = descriptor.clip_end(&range.end);
    let limit = PageLimit {
        records: page_keys(range.limit),
        bytes: PAGE_BYTES_MAX,
        versions: PAGE_VERSIONS_MAX,
    };
    // The careless hand: "whatever is there goes".
    let newest = if planted::active(Bug::RemovalOfNewer) { Timestamp::MAX } else { range.moment };
    let mut found = mvcc::held_since(&**state.engine(), (start, upto), newest, at, limit)?;
    if found.next.is_none() {
        found.next = (upto != &range.end[..]).then(|| upto.to_vec());
    }
    Ok(found)
}

/// Keys of a page where a request wants `limit` of them, 0 being all.
fn page_keys(limit: u64) -> usize {
    let most = PAGE_KEYS_MAX.get();
    match usize::try_from(limit) {
        Ok(0) | Err(_) => most,
        Ok(limit) => limit.min(most),
    }
}
