//! What only ever rises: the thresholds below which requests and reads are refused; and what holds them
//! (`storage/gc_thresholds.rs`).

use super::outcome::Applied;
use crate::{
    storage::format::{
        applied::AppliedRecord,
        gc::{GcHold, GcPrefix},
    },
    time::Timestamp,
};

/// Requests with an earlier first attempt are refused from here on.
pub(super) fn move_dedup(applied: &mut AppliedRecord, threshold: Timestamp) -> Applied {
    applied.dedup_threshold = applied.dedup_threshold.max(threshold);
    Applied::Done
}

/// Reads of earlier moments are refused from here on: what only they would see may go.
pub(super) fn move_gc(
    applied: &mut AppliedRecord,
    now: Timestamp,
    threshold: Timestamp,
    prefixes: &[GcPrefix],
) -> Applied {
    applied.gc.advance(now, threshold, prefixes);
    Applied::Done
}

/// A moment is being read: no gc threshold rises above it meanwhile. Refused where too many hold the range.
pub(super) fn hold(applied: &mut AppliedRecord, hold: GcHold) -> Applied {
    if applied.gc.hold(hold) { Applied::Done } else { Applied::ReEvaluate }
}
