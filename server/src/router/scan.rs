//! Scans: all pages of one show one moment, in however many ranges they lie.
//!
//! The moment is a timestamp of the oracle, from a round that the node asked first asks for once the scan has come. So
//! everything that was acknowledged before is at or below it, in every range, and no range has to be told of it:
//! whatever is written from then on is above it, and whatever is on its way is waited for where it is read
//! (`range/guards.rs`). Further pages name the moment, and go straight to their range.
//!
//! A scan with a limit is no exception: it can go on later, in other ranges, and must find there what had been
//! acknowledged before it began.
//!
//! # Bounds
//!
//! [`OPENED_AT_ONCE_MAX`] scans are opened at a time on a node.

use std::sync::Arc;

use super::{CORRECTIONS_MAX, Router, routes::RANGES_MAX};
use crate::{
    error::OpError,
    planted::{self, Bug},
    request::{
        answer::{Answered, Answers},
        decoded::{Decoded, Request},
    },
    time::{
        Timestamp,
        local::{Instant, timeout},
    },
};
use quintet_proto::v1::session_request::Op;

/// Scans that are opened at the same time.
pub(super) const OPENED_AT_ONCE_MAX: usize = 4_096;

/// Gives a scan its moment, and sends it on as a page of that.
pub(super) fn begin<S: Answers>(router: Arc<Router>, request: Request, sink: Arc<S>) {
    let id = request.wire.id;
    let Ok(slot) = router.scans.clone().try_acquire_owned() else {
        let message = "too many scans begin at this moment; slow down";
        return sink.answered(id, Answered::Failed(OpError::overloaded(message)));
    };
    tokio::spawn(async move {
        let left = request.decoded.deadline().saturating_duration_since(Instant::now());
        let at = timeout(left, with_moment(&router, request)).await;
        drop(slot);
        match at.unwrap_or_else(|_| Err(OpError::deadline())) {
            Ok(request) => router.go(request, sink, CORRECTIONS_MAX, None),
            Err(error) => sink.answered(id, Answered::Failed(error)),
        }
    });
}

/// The newest moment that this node's replicas can show of all that a scan reads, where that is new enough for it.
fn closed(router: &Router, decoded: &Decoded) -> Option<Timestamp> {
    let (stale, (start, end)) = (decoded.stale()?, decoded.first_page_span()?);
    let routes = router.routes.covering(start, end, RANGES_MAX);
    let closed = routes.iter().map(|route| {
        let (at, age) = router.replica(route.range)?.closed_age()?;
        (age <= stale).then_some(at)
    });
    closed.min().flatten()
}

async fn with_moment(router: &Router, request: Request) -> Result<Request, OpError> {
    let Request { mut wire, decoded } = request;
    let at = match planted::active(Bug::ScanAtKnown) {
        // The careless hand: "what is known is new enough".
        true => router.oracle.now(),
        // The careless hand: "this node has a clock".
        false if planted::active(Bug::ReadTimestampUnpublished) => {
            router.oracle.by_own_clock().last()
        }
        false => match closed(router, &decoded) {
            Some(closed) => closed,
            None => router.oracle.round().await?.last(),
        },
    };
    if let Some(Op::Scan(scan)) = &mut wire.op {
        (scan.at, scan.stale_ms) = (at.0, 0);
    }
    let decoded = router.decoder.decode(&mut wire)?;
    Ok(Request { wire, decoded })
}
