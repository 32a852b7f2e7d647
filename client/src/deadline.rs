//! Timeouts and deadlines of calls: the one place where one becomes the other, and where either becomes what
//! the wire carries.
//!
//! The caller says a timeout, once, for the whole call. A node is told what is left of it whenever a copy of
//! the request is sent (`RequestContext.timeout_ms`), because clocks are not compared across machines.

use std::time::Duration;

use tokio::time::Instant;

/// Timeout of a call unless its caller sets one.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest timeout of a call; longer ones are cut to it, so that a deadline never overflows.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The moment at which a call ends, with or without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

/// In this time an answer is there that was given, where nothing is slow.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

impl Deadline {
    /// That of a call which begins now.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// How long it is until then; zero once it has passed.
    pub(crate) fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nothing would be left after a pause.
    pub(crate) fn passes_within(&self, pause: Duration) -> bool {
        Instant::now() + pause >= self.0
    }

    /// What a request carries: a bit less than what is left, so that a node's word that it was too late is still heard,
    /// and nothing is unknown that is not; at least 1, because 0 asks for the server's default.
    pub(crate) fn left_ms(&self) -> u32 {
        let left = self.left();
        timeout_ms(left - (left / 10).min(ANSWER_WITHIN)).max(1)
    }
}

/// A timeout as the wire has it, in whole milliseconds, rounded down.
pub(crate) fn timeout_ms(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_milliseconds_and_never_as_zero() {
        let timeout = Duration::from_secs(100);
        let deadline = Deadline::after(timeout);
        assert!((50_000..=100_000).contains(&deadline.left_ms()), "{}", deadline.left_ms());
        assert!(!deadline.passes_within(timeout / 2));
        assert!(deadline.passes_within(timeout));
        let passed = Deadline::after(Duration::ZERO);
        assert_eq!((passed.left(), passed.left_ms()), (Duration::ZERO, 1));
        let short = Deadline::after(Duration::from_millis(500)).left_ms();
        assert!((200..=450).contains(&short), "{short}");
        assert!(deadline.left_ms() < 99_901, "an answer takes time");
        assert_eq!(timeout_ms(Duration::from_micros(2_999)), 2);
        assert_eq!(timeout_ms(Duration::MAX), u32::MAX);
    }
}
