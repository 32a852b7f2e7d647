//! What only ever rises: the thresholds below which requests and reads are refused.

use super::outcome::Applied;
use crate::{storage::format::applied::AppliedRecord, time::Timestamp};

/// Requests with an earlier first attempt are refused from here on.
pub(super) fn move_dedup(applied: &mut AppliedRecord, threshold: Timestamp) -> Applied {
    applied.dedup_threshold = applied.dedup_threshold.max(threshold);
    Applied::Done
}

/// Reads of earlier moments are refused from here on: what only they would see may go.
pub(super) fn move_gc(applied: &mut AppliedRecord, threshold: Timestamp) -> Applied {
    applied.gc_threshold = applied.gc_threshold.max(threshold);
    Applied::Done
}
