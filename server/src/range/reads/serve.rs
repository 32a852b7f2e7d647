//! What a confirmed read finds in the applied state.
//!
//! It is called once leadership in a term was confirmed after the read arrived (`confirm.rs`), and reads the state
//! as it is applied now. A key that the range does not hold is refused as a stale route. A read that has to wait for a
//! write on its way, or for a timestamp that decides what has expired, says so ([`Served::Later`]).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1::Code;

use super::queue::ReadQueue;
use crate::{
    error::OpError,
    planted::{self, Bug},
    range::{
        expiry::{Expiry, SHOWN_LATE},
        guards::Guard,
        request::{Answer, OpResult, ReadKind, Scan, ScanPage},
        shared::Shared,
    },
    storage::{
        Direction, engine::Error, format::descriptor::Descriptor, keys, life::has_expired, mvcc,
    },
    time::{Timestamp, oracle::Block},
};

/// Bytes of values of one answer with versions of a key.
const HISTORY_BYTES_MAX: usize = 1 << 20;

/// What a read waits for.
pub(in crate::range) enum For {
    /// That these are down. It was confirmed in the term.
    Guards(Vec<Arc<Guard>>, u64),
    /// A round, by which it is decided whether what it finds has expired.
    Expiry,
    /// A round, after which the moment that it asks for must be known.
    Moment(ReadQueue),
}

/// What became of a read.
pub(in crate::range) enum Served {
    Answer(OpResult),
    /// It has to wait for something.
    Later {
        kind: ReadKind,
        what: For,
    },
    /// It rests on an earlier leadership.
    Stale,
}

/// Serves a read of a range that is led in the term `confirmed`.
pub(in crate::range) fn serve(
    shared: &Shared,
    kind: ReadKind,
    confirmed: u64,
    expiry: Expiry,
) -> Served {
    if let Some(guards) = guards(shared, &kind, confirmed, expiry) {
        return Served::Later { kind, what: For::Guards(guards, confirmed) };
    }
    let reads_state = !matches!(kind, ReadKind::Confirm { .. });
    let before = shared.state.installed();
    let served = read(shared, kind, confirmed, expiry);
    if reads_state && (before.is_none() || before != shared.state.installed()) {
        // A raft snapshot came in the place of what was read.
        let why = "the replica was replaced while it was read; try again";
        return Served::Answer(Err(OpError::unavailable(why)));
    }
    served
}

/// What is found in the state as it is stored.
fn read(shared: &Shared, kind: ReadKind, confirmed: u64, expiry: Expiry) -> Served {
    let served = match kind {
        // Terms only rise: the same term afterwards means that no other leader was in between.
        ReadKind::Confirm { term, result } if term == confirmed => {
            return Served::Answer(*result);
        }
        ReadKind::Confirm { .. } => return Served::Stale,
        ReadKind::Get(key) if !in_range(shared, &key) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Get(key) => get(shared, key, confirmed, expiry),
        ReadKind::GetAt(key, _) | ReadKind::History(key, ..) if !in_range(shared, &key) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::GetAt(key, at) => get_at(shared, &key, at).map(Served::Answer),
        ReadKind::History(key, before, limit) => {
            history(shared, &key, before, limit).map(Served::Answer)
        }
        ReadKind::Scan(wanted) => scan(shared, wanted).map(Served::Answer),
        ReadKind::Index(key, _) if !in_range(shared, &key) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Index(..) => return Served::Answer(index(shared)),
        // A closed moment needs no leader: they are answered without coming here (`Replica::read`).
        ReadKind::Changes(_) => {
            return Served::Answer(Err(OpError::unavailable("a page of a feed is not confirmed")));
        }
    };
    served.unwrap_or_else(|error| {
        tracing::error!(range = %shared.range, %error, "state can't be read");
        shared.fail(error.clone());
        Served::Answer(Err(OpError::new(Code::Storage, error.to_string())))
    })
}

/// Serves a read of a moment that is closed on this replica.
pub(in crate::range) fn serve_closed(shared: &Shared, kind: ReadKind) -> OpResult {
    // Nothing has to be waited for, whoever leads.
    match serve(shared, kind, 0, Expiry::Known { guarded: true }) {
        Served::Answer(result) => result,
        Served::Later { .. } | Served::Stale => {
            Err(OpError::unavailable("the range moved on meanwhile; try again"))
        }
    }
}

/// The writes on their way that a read has to wait for; none where there are none, or it has waited.
fn guards(shared: &Shared, kind: &ReadKind, term: u64, expiry: Expiry) -> Option<Vec<Arc<Guard>>> {
    // The careless hand: "it is not there yet".
    if expiry != (Expiry::Known { guarded: false }) || planted::active(Bug::GetIgnoresGuards) {
        return None;
    }
    let guards = match kind {
        // The careless hand: "who asks will see".
        ReadKind::Index(..) if planted::active(Bug::FollowerReadIgnoresGuards) => return None,
        ReadKind::Get(key) | ReadKind::History(key, ..) | ReadKind::Index(key, None) => {
            shared.guards.over(key, shared.looks(term))
        }
        ReadKind::GetAt(_, at) | ReadKind::Index(_, Some(at)) => {
            shared.guards.below(*at, shared.looks(term))
        }
        ReadKind::Scan(scan) => shared.guards.below(scan.at, shared.looks(term)),
        ReadKind::Changes(_) | ReadKind::Confirm { .. } => return None,
    };
    (!guards.is_empty()).then_some(guards)
}

fn in_range(shared: &Shared, key: &[u8]) -> bool {
    shared.state.descriptor().contains(key) || planted::active(Bug::StaleRouteAccepted)
}

fn get(shared: &Shared, key: Bytes, confirmed: u64, expiry: Expiry) -> Result<Served, Error> {
    let now = shared.oracle.now();
    let mut found = mvcc::read(&**shared.state.engine(), &key, Timestamp::MAX)?;
    let decides = if let Expiry::At(at) = expiry { at.max(now) } else { now };
    let is_gone = |found: &Option<mvcc::Version>| {
        found.as_ref().is_some_and(|version| has_expired(version.expires_at, decides))
    };
    if is_gone(&found) && !planted::active(Bug::GetIgnoresGuards) {
        // A write that is on its way may have found it there still: its guard was raised after this read had looked
        // for guards, and its timestamp is below the expiry. Those raised from now on are above what decides.
        let decided = Block::of(decides);
        let guards = shared.guards.over_until(&key, decided, shared.looks(confirmed));
        if !guards.is_empty() {
            let (kind, what) = (ReadKind::Get(key), For::Guards(guards, confirmed));
            return Ok(Served::Later { kind, what });
        }
        // One that was down by then is applied.
        found = mvcc::read(&**shared.state.engine(), &key, Timestamp::MAX)?;
    }
    let expires_at = found.as_ref().and_then(|version| version.expires_at);
    let found = match (expires_at, expiry) {
        (None, _) => found,
        // The careless hand: "everybody has a clock".
        (Some(_), _) if planted::active(Bug::ExpiryByReplicaClock) => {
            found.filter(|_| !has_expired(expires_at, shared.oracle.physical().last()))
        }
        // The careless hand: "a little later does no harm".
        (Some(_), _) if planted::active(Bug::ExpiryShownLate) => {
            found.filter(|_| !has_expired(expires_at, now.saturating_sub(SHOWN_LATE)))
        }
        (Some(_), _) if has_expired(expires_at, now) => None,
        (Some(_), Expiry::Known { .. }) => {
            return Ok(Served::Later { kind: ReadKind::Get(key), what: For::Expiry });
        }
        (Some(_), Expiry::At(at)) => found.filter(|_| !has_expired(expires_at, at)),
    };
    Ok(Served::Answer(Ok(Answer::Get { found, now, at: None, stale: Duration::ZERO })))
}

/// A key as it is at a moment.
fn get_at(shared: &Shared, key: &[u8], at: Timestamp) -> Result<OpResult, Error> {
    let found = mvcc::read(&**shared.state.engine(), key, at)?;
    // What was removed while this was read is below the threshold by now.
    if at < shared.state.gc_threshold(key) {
        return Ok(Err(OpError::collected()));
    }
    let found = found.filter(|version| !has_expired(version.expires_at, at));
    let stale = shared.oracle.known().age(at);
    Ok(Ok(Answer::Get { found, now: shared.oracle.now(), at: Some(at), stale }))
}

fn history(
    shared: &Shared,
    key: &[u8],
    before: Timestamp,
    limit: usize,
) -> Result<OpResult, Error> {
    let limits = (limit, HISTORY_BYTES_MAX);
    let (versions, more) = mvcc::history(&**shared.state.engine(), key, before, limits)?;
    let kept_since = shared.state.gc_threshold(key);
    Ok(Ok(Answer::History { versions, more, kept_since }))
}

/// How far another replica has to have applied the log: as far as this leader, whose guards have been waited for. What
/// is acknowledged by now is at or below.
fn index(shared: &Shared) -> OpResult {
    let applied = shared.state.applied_index();
    applied
        .map(Answer::Index)
        .ok_or_else(|| OpError::unavailable("nothing is applied yet; try again"))
}

/// What of a scan lies in a range.
fn clip<'a>(wanted: &'a Scan, range: &'a Descriptor) -> (&'a [u8], &'a [u8]) {
    (wanted.start.as_slice().max(&range.start), range.clip_end(&wanted.end))
}

/// Where a scan goes on behind the part of it that was read; none where that was all.
fn behind<'a>(wanted: &Scan, (from, upto): (&'a [u8], &'a [u8])) -> Option<&'a [u8]> {
    match wanted.direction {
        Direction::Forward => (upto != wanted.end).then_some(upto),
        Direction::Reverse => (from != wanted.start).then_some(from),
    }
}

/// A page; it ends with the range at the latest, and goes on behind it.
fn scan(shared: &Shared, wanted: Scan) -> Result<OpResult, Error> {
    let (state, at, now) = (&shared.state, wanted.at, shared.oracle.now());
    let range = state.descriptor();
    let span = clip(&wanted, &range);
    let mut page = mvcc::scan(&**state.engine(), span, at, wanted.direction, wanted.limit)?;
    // The careless hand: "the limit is reached, so that was all".
    let is_full = page.records.len() >= wanted.limit.records;
    if page.next.is_none() && !(is_full && planted::active(Bug::ScanEndsWithRange)) {
        page.next = behind(&wanted, span).map(<[u8]>::to_vec);
    }
    // What was removed while this was read is below the threshold by now.
    let is_collected = at < state.gc_threshold_over(span.0, span.1);
    // The careless hand: "the moment was good when the scan began".
    if is_collected && !planted::active(Bug::CollectedReadable) {
        return Ok(Err(OpError::collected()));
    }
    let mut out = ScanPage { at, now, ..ScanPage::default() };
    for (stored, mut version) in page.records {
        if wanted.keys_only {
            version.value = Vec::new();
        }
        out.records.push((user_key(&stored)?, version));
    }
    out.next = page.next.map(|stored| user_key(&stored)).transpose()?;
    Ok(Ok(Answer::Scan(out)))
}

fn user_key(stored: &[u8]) -> Result<Vec<u8>, Error> {
    match keys::decode(stored) {
        Some((_, key, [])) => Ok(key),
        _ => Err(Error::Corrupt(format!("data key of {} bytes", stored.len()))),
    }
}
