//! Which requests failed or were slow, by name: lines in the log.
//!
//! A request's id is `room/client/sequence`, the client in hex: the same in the lines of every node
//! that the request passed, and through all its repetitions. What fails because of the caller (a
//! condition that did not hold, a request that is not valid) is normal, and logged at `debug`.
//!
//! # Invariant
//!
//! The log is rate-limited: [`LINES_MAX`] lines per second are warnings, and the next one says how many were
//! held back. Those are logged at `debug`.

use std::time::Duration;

use parking_lot::Mutex;

use super::operation::{Operation, OperationOutcome};
use crate::{ids::RangeId, ids::RequestId, time::local::Instant};

/// An operation that takes this long or longer is slow.
pub const SLOW: Duration = Duration::from_secs(1);
/// Warnings of one second.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// What is known of a request besides what it asks.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// What kind it is of.
    pub operation: Operation,
    /// The range it goes to, once that is known.
    pub range: Option<RangeId>,
    /// Its id; reads need none.
    pub request: Option<RequestId>,
    /// When it arrived at this node.
    pub started: Instant,
}

/// Writes the lines; one a node.
#[derive(Debug, Default)]
pub struct RequestLog {
    budget: Mutex<Budget>,
}

#[derive(Debug, Default)]
struct Budget {
    second: Option<Instant>,
    lines: u32,
    held_back: u64,
}

impl Budget {
    /// How many lines were held back since the last one, where there is room for another.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now.duration_since(second) >= SECOND) {
            self.second = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.held_back += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

impl RequestLog {
    /// Notes how a request ended, if that is worth a line.
    pub fn ended(&self, named: &Named, outcome: OperationOutcome, took: Duration, why: &str) {
        let is_ordinary = matches!(
            outcome,
            OperationOutcome::Ok | OperationOutcome::Refused | OperationOutcome::Invalid
        );
        let is_slow = took >= SLOW;
        if outcome == OperationOutcome::Ok && !is_slow {
            return;
        }
        let what = if is_slow { "a request was slow" } else { "a request failed" };
        let request = named.request.map_or_else(|| "-".to_owned(), |request| request.to_string());
        let range = named.range.map_or(0, |range| range.0);
        let (operation, outcome) = (named.operation.name(), outcome.name());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let room =
            if is_ordinary && !is_slow { None } else { self.budget.lock().take(Instant::now()) };
        match room {
            Some(held_back) => tracing::warn!(
                request, operation, range, outcome, took_ms, why, held_back, "{what}"
            ),
            None => tracing::debug!(request, operation, range, outcome, took_ms, why, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_back_and_counted() {
        let (mut budget, begun) = (Budget::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(budget.take(begun), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(budget.take(begun + SECOND / 2), None);
        }
        assert_eq!(budget.take(begun + SECOND), Some(1_000));
        assert_eq!(budget.take(begun + SECOND), Some(0));
    }

    #[test]
    fn a_request_is_named_by_room_client_and_sequence() {
        let id = RequestId { origin_room: 3, client: 0xab, sequence: 17 };
        assert_eq!(id.to_string(), "3/000000000000000000000000000000ab/17");
    }
}
