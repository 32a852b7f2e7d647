//! What a confirmed read finds in the applied state.
//!
//! It is called once leadership in a term was confirmed after the read arrived (`confirm.rs`), and reads the state
//! as it is applied now. A key that the range does not hold is refused as a stale route; whether a key has expired
//! is decided by `range/expiry.rs`, and a read that needs the range's time moved first says so
//! ([`Served::Later`]).

use bytes::Bytes;
use quintet_proto::v1::Code;

use crate::{
    error::OpError,
    planted::{self, Bug},
    range::{
        expiry::Expiry,
        request::{Answer, OpResult, ReadKind, Scan, ScanPage},
        shared::Shared,
    },
    storage::{
        Direction,
        engine::Error,
        format::descriptor::Descriptor,
        keys,
        life::{Life, life},
        mvcc,
    },
    time::Timestamp,
};

/// What became of a read.
pub(super) enum Served {
    Answer(OpResult),
    /// The range's time has to be at `to` first.
    Later {
        kind: ReadKind,
        to: Timestamp,
    },
    /// It rests on an earlier leadership.
    Stale,
}

/// Serves a read of a range that is led in the term `confirmed`.
pub(super) fn serve(shared: &Shared, kind: ReadKind, confirmed: u64, expiry: Expiry) -> Served {
    let served = match kind {
        // Terms only rise: the same term afterwards means that no other leader was in between.
        ReadKind::Confirm { term, result } if term == confirmed => {
            return Served::Answer(*result);
        }
        ReadKind::Confirm { .. } => return Served::Stale,
        ReadKind::Get(key) if !in_range(shared, &key) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Get(key) => get(shared, key, expiry),
        ReadKind::Scan(wanted) if wanted.at.is_none() && !holds(shared, &wanted) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Scan(wanted) => scan(shared, wanted, expiry),
    };
    served.unwrap_or_else(|error| {
        tracing::error!(range = %shared.range, %error, "state can't be read");
        shared.fail(error.clone());
        Served::Answer(Err(OpError::new(Code::Storage, error.to_string())))
    })
}

fn in_range(shared: &Shared, key: &[u8]) -> bool {
    shared.state.descriptor().contains(key) || planted::active(Bug::StaleRouteAccepted)
}

/// Whether the range holds all of a span. Only then may it choose the version of a scan by itself.
fn holds(shared: &Shared, wanted: &Scan) -> bool {
    let holds = shared.state.descriptor().covers(&wanted.start, &wanted.end);
    holds || planted::active(Bug::StaleRouteAccepted)
}

fn get(shared: &Shared, key: Bytes, expiry: Expiry) -> Result<Served, Error> {
    let (time, now) = (shared.state.time(), shared.hlc.peek());
    let (time, clock) = expiry.moments(time, now, &shared.hlc);
    let found = mvcc::read(&**shared.state.engine(), &key, Timestamp::MAX)?;
    let found = match found.as_ref().map(|version| life(version.expires_at, time, clock)) {
        Some(Life::Expiring(to)) => {
            return Ok(Served::Later { kind: ReadKind::Get(key), to });
        }
        Some(Life::Expired) => None,
        Some(Life::Alive) | None => found,
    };
    Ok(Served::Answer(Ok(Answer::Get { found, now })))
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
fn scan(shared: &Shared, wanted: Scan, expiry: Expiry) -> Result<Served, Error> {
    let state = &shared.state;
    let (time, now) = (state.time(), shared.hlc.peek());
    let at = wanted.at.unwrap_or(time);
    if at > now {
        return Ok(Served::Answer(Err(OpError::invalid(
            "the scan asks for a moment that is yet to come; take the 'at' of a first page",
        ))));
    }
    let later = |wanted, to| Ok(Served::Later { kind: ReadKind::Scan(wanted), to });
    if at > time {
        // It may change until then.
        return later(wanted, at);
    }
    let is_first = wanted.at.is_none();
    let clock = if is_first && expiry == Expiry::ByClock { now } else { at };
    let range = state.descriptor();
    let span = clip(&wanted, &range);
    let mut page =
        mvcc::scan(&**state.engine(), span, (at, clock), wanted.direction, wanted.limit)?;
    // The careless hand: "the limit is reached, so that was all".
    let is_full = page.records.len() >= wanted.limit.records;
    if page.next.is_none() && !(is_full && planted::active(Bug::ScanEndsWithRange)) {
        page.next = behind(&wanted, span).map(<[u8]>::to_vec);
    }
    // What was removed while this was read is below the threshold by now.
    let is_collected = at < state.gc_threshold();
    // The careless hand: "the moment was good when the scan began".
    if is_collected && !planted::active(Bug::CollectedReadable) {
        if is_first {
            return later(wanted, now);
        }
        return Ok(Served::Answer(Err(OpError::new(
            Code::VersionCollected,
            "the moment that the scan shows is further back than versions are kept; begin again",
        ))));
    }
    // Nobody knows what further pages hold that has expired since the range's time: the moment is not
    // before the scan began for them either, nor out of reach soon.
    let goes_on = page.next.is_some() && !planted::active(Bug::LaterPagesOutlived);
    // A range that nobody has written to yet has no version to show.
    let is_before = at < now && (goes_on || at == Timestamp::ZERO);
    if is_first && expiry == Expiry::ByClock && (page.is_outlived || is_before) {
        return later(wanted, now);
    }
    let mut out = ScanPage { at, now, ..ScanPage::default() };
    for (stored, mut version) in page.records {
        if wanted.keys_only {
            version.value = Vec::new();
        }
        out.records.push((user_key(&stored)?, version));
    }
    out.next = page.next.map(|stored| user_key(&stored)).transpose()?;
    Ok(Served::Answer(Ok(Answer::Scan(out))))
}

fn user_key(stored: &[u8]) -> Result<Vec<u8>, Error> {
    match keys::decode(stored) {
        Some((_, key, [])) => Ok(key),
        _ => Err(Error::Corrupt(format!("data key of {} bytes", stored.len()))),
    }
}
