//! Pages of a feed: what was written to a range behind a position, in the order of (timestamp, key), from any replica.
//!
//! A replica answers from its closed moment alone (`range/closed.rs`): nothing will be written at or below it, and all
//! of that is applied here. It keeps nothing of who asks. The position comes with each question, so that the next one
//! can go to another replica, after a failover, a restart, or years.
//!
//! ```text
//!   closed moment not above the position, or nothing newer than it in the range  -> an empty page, at once
//!   position at or above the floor of the list of recent versions (`recent.rs`)  -> from the list
//!   else                                                                         -> a pass over the span, in steps
//! ```
//!
//! A pass brings the first [`CATCH_UP_MAX`] versions behind the position, which the pages after it share. It is not one
//! read of the engine: what is closed does not change between its steps, and what collection may take away meanwhile
//! is noticed by the threshold at its end. It may take longer than anybody waits: it goes on by itself, and who has
//! waited for [`PATIENCE`] is told that it is under way, to ask again.
//!
//! # Invariants
//!
//! * A page has every version behind its position and not above what it says to be resolved, and none else.
//! * A position below the gc threshold is refused, as reads of such a moment are: of what was written above the
//!   threshold nothing is collected (`storage/gc.rs`).
//! * A replica whose state was replaced by a raft snapshot meanwhile does not answer.
//! * One pass at a time goes over a range, and nobody waits for it beyond his time.

use std::{sync::Arc, time::Duration};

use quintet_proto::v1::Code;

use super::{
    request::{Answer, Changes, ChangesPage, OpResult, Read, ReadKind},
    shared::Shared,
};
use crate::{
    error::OpError,
    size::Size,
    storage::{
        changes::{Earliest, Found, Position},
        engine::Error,
        keys, mvcc,
    },
    time::{
        Timestamp,
        local::{Instant, timeout},
    },
};

/// Bytes of keys and values of a page, but one version.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Versions that one pass brings, and the bytes of their keys.
const CATCH_UP_MAX: Size = Size::new("watch-catch-up", 16_384, 1);
const CATCH_UP_BYTES_MAX: usize = 2 << 20;
/// Versions that one step of a pass looks at: a few milliseconds.
const STEP_VERSIONS_MAX: Size = Size::new("watch-step-versions", 4_096, 1);

/// How long a pass is waited for: less than a feed waits for a page (`api/watch/feed.rs`).
const PATIENCE: Duration = Duration::from_secs(1);
/// What a question is answered from, looked at once.
struct View {
    installed: u64,
    closed: Timestamp,
    start: Vec<u8>,
    end: Vec<u8>,
    /// Where the range ends, if that is before the span does.
    upto: Option<Vec<u8>>,
}

/// Answers a question for changes; what is no such question goes unanswered back.
pub(super) fn answer(shared: &Arc<Shared>, read: Read) {
    let Some(read) = read.unless_in_vain(Instant::now()) else { return };
    let Read { kind: ReadKind::Changes(wanted), deadline, reply } = read else { return };
    match at_once(shared, &wanted) {
        Some(result) => reply.send(result),
        None => {
            let shared = shared.clone();
            tokio::spawn(async move {
                let result = caught_up(&shared, &wanted, deadline).await;
                reply.send(result);
            });
        }
    }
}

/// The closed moment of the replica, where nothing at or below it is behind a position. Who asks follows the range:
/// what is written next is found in the list.
pub(super) fn nothing_new(shared: &Shared, after: &Position) -> Option<Timestamp> {
    shared.state.recent().note_asked();
    let installed = shared.state.installed()?;
    let closed = shared.closed.usable(shared.state.applied_index())?.block.last();
    // It was raised before the index that the moment needs was applied.
    let is_new = closed.min(shared.state.newest()) > after.floor();
    (!is_new && shared.state.installed() == Some(installed)).then_some(closed)
}

/// The answer, where it can be given without a pass over the range.
fn at_once(shared: &Shared, wanted: &Changes) -> Option<OpResult> {
    let view = match View::of(shared, wanted) {
        Ok(view) => view,
        Err(refused) => return Some(Err(refused)),
    };
    if let Some(resolved) = nothing_new(shared, &wanted.after) {
        let page = ChangesPage { resolved, upto: view.upto, ..ChangesPage::default() };
        return Some(Ok(Answer::Changes(page)));
    }
    let found = find(shared, wanted, &view)?;
    Some(page(shared, wanted, view, found))
}

fn find(shared: &Shared, wanted: &Changes, view: &View) -> Option<Found> {
    let span = (&view.start[..], &view.end[..]);
    shared.state.recent().find(span, &wanted.after, view.closed, wanted.limit)
}

/// The answer, by a pass over the range where nobody else has made it meanwhile.
async fn caught_up(shared: &Arc<Shared>, wanted: &Changes, deadline: Instant) -> OpResult {
    let left = |until: Instant| until.saturating_duration_since(Instant::now());
    let until = deadline.min(Instant::now() + PATIENCE);
    let turn = timeout(left(until), shared.passes.turn()).await;
    let Ok(turn) = turn else { return under_way(shared, wanted) };
    if let Some(result) = at_once(shared, wanted) {
        return result;
    }
    // It goes on when nobody waits any more: what it finds is kept for who asks again.
    let passing = tokio::spawn({
        let (shared, wanted) = (shared.clone(), wanted.clone());
        async move {
            let result = pass(&shared, &wanted).await;
            shared.passes.end(turn);
            result
        }
    });
    match timeout(left(until), passing).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(OpError::unavailable("the node gave the pass over the range up")),
        Err(_) => under_way(shared, wanted),
    }
}

/// What is told while a pass goes over the range.
fn under_way(shared: &Shared, wanted: &Changes) -> OpResult {
    if !shared.passes.is_under_way() {
        return Err(OpError::deadline());
    }
    let resolved = wanted.after.floor();
    let page = ChangesPage { resolved, is_looked_for: true, ..ChangesPage::default() };
    Ok(Answer::Changes(page))
}

/// Looks through the span.
async fn pass(shared: &Shared, wanted: &Changes) -> OpResult {
    let view = View::of(shared, wanted)?;
    let most = (CATCH_UP_MAX.get(), CATCH_UP_BYTES_MAX);
    let mut earliest = Earliest::new(wanted.after.clone(), view.closed, most);
    let mut from = view.start.clone();
    loop {
        // The list stays meanwhile, for what comes next.
        shared.state.recent().note_asked();
        shared.passes.step();
        let engine = &**shared.state.engine();
        let step = earliest.step(engine, (&from, &view.end), STEP_VERSIONS_MAX.get());
        match step.map_err(|error| failed(shared, &error))? {
            Some(next) => from = next,
            None => break,
        }
        tokio::task::yield_now().await;
        if shared.state.installed() != Some(view.installed) {
            return Err(replaced());
        }
    }
    let found = earliest.into_found();
    shared.metrics.watch.passes.inc();
    let (state, span) = (&shared.state, (&view.start[..], &view.end[..]));
    let is_current = || state.installed() == Some(view.installed);
    state.recent().keep(span, wanted.after.clone(), found.clone(), is_current);
    // Of what was read of a state that is gone nothing is told either.
    page(shared, wanted, view, found)
}

impl View {
    fn of(shared: &Shared, wanted: &Changes) -> Result<View, OpError> {
        let state = &shared.state;
        let installed = state.installed().ok_or_else(replaced)?;
        let Some(closed) = shared.closed.usable(state.applied_index()) else {
            let why = "the replica knows no closed moment of the range yet; try again";
            return Err(OpError::unavailable(why));
        };
        let (closed, range) = (closed.block.last(), state.descriptor());
        if !range.contains(&wanted.start) {
            return Err(OpError::stale_route());
        }
        let end = range.clip_end(&wanted.end);
        let upto = border(end, &wanted.end)?;
        let end = end.to_vec();
        Ok(View { installed, closed, start: wanted.start.clone(), end, upto })
    }
}

/// The user key below which a page is that ends at `end`, where more was wanted.
fn border(end: &[u8], wanted: &[u8]) -> Result<Option<Vec<u8>>, OpError> {
    match keys::decode(end) {
        _ if end == wanted => Ok(None),
        Some((_, key, [])) => Ok(Some(key)),
        // Without it the page would be taken for one of all that was wanted.
        _ => {
            let message = format!("the range ends at a border that is no key: {end:x?}");
            Err(OpError::new(Code::Storage, message))
        }
    }
}

/// The page that begins with what was found.
fn page(shared: &Shared, wanted: &Changes, view: View, found: Found) -> OpResult {
    let read = read(shared, wanted, found).map_err(|error| failed(shared, &error))?;
    if shared.state.installed() != Some(view.installed) {
        return Err(replaced());
    }
    // What was removed while this was read is below the threshold by now.
    if wanted.after.floor() < shared.state.gc_threshold_over(&view.start, &view.end) {
        return Err(OpError::collected());
    }
    let Some((changes, upto)) = read else {
        // The list names what is not there: it is of another state.
        shared.state.recent().forget();
        return Err(replaced());
    };
    let (resolved, upto) = (upto.floor(), view.upto);
    Ok(Answer::Changes(ChangesPage { changes, resolved, upto, is_looked_for: false }))
}

type Filled = (Vec<(Vec<u8>, mvcc::KeyVersion)>, Position);

/// The values of what was found, up to the bounds of a page, and up to where that is all; none where one is not there.
fn read(shared: &Shared, wanted: &Changes, found: Found) -> Result<Option<Filled>, Error> {
    let engine = &**shared.state.engine();
    let (mut changes, mut bytes, mut upto) = (Vec::new(), 0, found.upto);
    let mut last = None;
    for version in found.versions {
        if changes.len() >= wanted.limit || bytes >= PAGE_BYTES_MAX {
            if let Some(last) = last {
                upto = last;
            }
            break;
        }
        let Some(written) = mvcc::read_written(engine, &version.key, version.at)? else {
            return Ok(None);
        };
        let Some((_, key, [])) = keys::decode(&version.key) else {
            return Err(Error::Corrupt(format!("data key of {} bytes", version.key.len())));
        };
        bytes += key.len() + written.value.as_ref().map_or(0, Vec::len);
        changes.push((key, written));
        last = Some(Position { at: version.at, key: Some(version.key) });
    }
    Ok(Some((changes, upto)))
}

fn replaced() -> OpError {
    OpError::unavailable("the replica was replaced while it was read; try again")
}

fn failed(shared: &Shared, error: &Error) -> OpError {
    tracing::error!(range = %shared.range, %error, "state can't be read");
    shared.fail(error.clone());
    OpError::new(Code::Storage, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyspaceId;

    #[test]
    fn a_page_that_ends_at_a_border_names_it_or_fails() {
        let stored = |key: &[u8]| keys::encode(KeyspaceId::DEFAULT, key).to_vec();
        let (m, z) = (stored(b"m"), stored(b"z"));
        assert_eq!(border(&m, &m), Ok(None));
        assert_eq!(border(&m, &z), Ok(Some(b"m".to_vec())));
        let version = keys::version(&m, Timestamp(7));
        for no_key in [&m[..m.len() - 1], &version[..], b""] {
            let refused = border(no_key, &z).expect_err("no key");
            assert_eq!(refused.code, Code::Storage, "{no_key:x?}");
        }
    }
}
