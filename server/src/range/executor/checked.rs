//! What a request is answered before it is evaluated, if anything.
//!
//! The order is a part of *exactly once*: what was done is answered as done before anything refuses it that is no
//! concern of a done request.
//!
//! ```text
//!   deadline -> span -> dedup -> threshold -> space -> all keys -> (its timestamp) -> what it says of time
//! ```
//!
//! The same for a request on one key, a batch and a page of a deletion. A request on keys has them to itself by then
//! (`latched.rs`), so no copy of it is under way here. A page has latched none yet: a copy of one that is under way may
//! pass, and leaves no trace where it is applied (`range/dedup.rs`).

use std::time::Duration;

use crate::{
    error::OpError,
    planted::{self, Bug},
    range::{
        dedup,
        request::{OpResult, Write},
        shared::Shared,
    },
    storage::{engine::Error, format::descriptor::Descriptor},
    time::{Timestamp, local::Instant},
};

/// How far the time that a client carries on by its own clock may be ahead of the cluster's.
const FIRST_ATTEMPT_AHEAD_MAX: Duration = Duration::from_secs(60);

/// The answer to a request that is not to be evaluated.
pub(super) fn check(
    shared: &Shared,
    write: &Write,
    now: Instant,
) -> Result<Option<OpResult>, Error> {
    // Before dedup is looked at: see `other_keys`.
    let descriptor = shared.state.descriptor();
    if let Some(refused) = deadline(write, now).or_else(|| span(write, &descriptor)) {
        return Ok(Some(Err(refused)));
    }
    // The careless hand: "why look, there is no room".
    let denied = planted::active(Bug::FullDiskDenies).then(|| space(shared, write)).flatten();
    if let (None, Some(result)) = (&denied, done(shared, write)?) {
        return Ok(Some(result));
    }
    let refused = dedup::is_too_old(write, shared.state.dedup_threshold())
        .or(denied)
        .or_else(|| space(shared, write))
        .or_else(|| other_keys(shared, write, &descriptor));
    Ok(refused.map(Err))
}

/// Its caller waits no more. First, as nobody takes the answer; a repetition has a deadline of its own.
fn deadline(write: &Write, now: Instant) -> Option<OpError> {
    (write.deadline <= now).then(OpError::deadline)
}

/// Its anchor is not in this range. Before dedup: what is remembered of it is remembered where the anchor is, so
/// that nothing is found here says nothing.
fn span(write: &Write, descriptor: &Descriptor) -> Option<OpError> {
    let is_inside = descriptor.contains(&write.key) || planted::active(Bug::StaleRouteAccepted);
    (!is_inside).then(OpError::stale_route)
}

/// It was done before. Ahead of everything that may refuse it by now though it has acted.
fn done(shared: &Shared, write: &Write) -> Result<Option<OpResult>, Error> {
    let engine = &**shared.state.engine();
    let result = dedup::look_up(engine, write, || shared.oracle.now())?;
    if result.is_some() {
        shared.metrics.dedup_hits.inc();
    }
    Ok(result)
}

/// The disk is nearly full. Behind dedup and its threshold: "nothing was done" must be true.
fn space(shared: &Shared, write: &Write) -> Option<OpError> {
    shared.check_space().err().filter(|_| write.kind.needs_space())
}

/// Another key of a batch is not in the range of its anchor. That says more than that this copy does nothing: no copy
/// ever will, so that the caller may group the items anew. It is so because the descriptor is taken first, dedup and
/// its threshold are looked at afterwards, and spans only shrink: an entry that did the request stands in the log
/// before the change that took the key away, so it was applied, and remembered, by the time at which that
/// descriptor was; and no entry behind the change passes apply. No leadership needs to be confirmed for it. (A merge,
/// which is not built, would have to store such refusals, as those of a later attempt are.)
fn other_keys(shared: &Shared, write: &Write, descriptor: &Descriptor) -> Option<OpError> {
    write.kind.many()?;
    if write.keys().all(|key| descriptor.contains(key)) || planted::active(Bug::StaleRouteAccepted)
    {
        return None;
    }
    shared.metrics.stale_routes.inc();
    Some(OpError::several_ranges())
}

/// A request says something of time that can't be so: its timestamp, which is above all that was issued before it came,
/// is not above that. Forged, or of another cluster.
pub(super) fn by_its_time(write: &Write, at: Timestamp) -> Option<OpError> {
    if write.first_attempt > at.saturating_add(FIRST_ATTEMPT_AHEAD_MAX) {
        return Some(OpError::invalid(
            "the time of the first attempt is more than a minute ahead of the cluster's; learn the cluster's time \
             from its answers",
        ));
    }
    let is_to_come = write.kind.range().is_some_and(|range| range.moment >= at);
    is_to_come.then(|| {
        OpError::invalid(
            "the deletion names a moment that is yet to come; take the 'at' of a scan of the whole span",
        )
    })
}
