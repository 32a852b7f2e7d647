//! What an error answer means for the call, and how long to pause before another try. Pure.

use std::time::Duration;

use parking_lot::Mutex;
use quintet_proto::v1::{Code, Error as WireError, RetryClass};
use rand::{RngExt, rngs::StdRng};

const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What to do about an error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing happened and trying again brings the same answer.
    Final,
    /// The answer settles every copy of the request: the cluster decided, once and for all.
    Settled,
    /// Nothing happened; try again, the same attempt.
    Again,
    /// This copy may have acted, or may do so still; try again as a later attempt.
    Ambiguous,
    /// This copy may have acted, and trying again brings the same answer.
    Unknown,
    /// The request is older than the cluster remembers.
    Expired,
}

/// Judges an error answer to one copy of a request.
pub(crate) fn judge(error: &WireError) -> Verdict {
    match error.code() {
        Code::Conflict | Code::NotANumber | Code::SeveralRanges => return Verdict::Settled,
        Code::Expired => return Verdict::Expired,
        _ => {}
    }
    let class = match (error.retry(), error.code()) {
        (
            RetryClass::Unspecified,
            Code::Unavailable | Code::Overloaded | Code::StaleRoute | Code::NotLeader,
        ) => RetryClass::Reroute,
        (RetryClass::Unspecified, Code::UnknownOutcome) => RetryClass::Ambiguous,
        (class, _) => class,
    };
    match (class, error.maybe_committed) {
        (RetryClass::Ambiguous, _) | (RetryClass::Reroute, true) => Verdict::Ambiguous,
        (RetryClass::Reroute, false) => Verdict::Again,
        (_, true) => Verdict::Unknown,
        // an outcome that is called unknown is unknown, whatever stands beside it
        (_, false) if error.code() == Code::UnknownOutcome => Verdict::Unknown,
        (_, false) => Verdict::Final,
    }
}

/// Pauses between tries: exponential, jittered, from a generator of the client's own.
#[derive(Debug)]
pub(crate) struct Pacer {
    rng: Mutex<StdRng>,
}

impl Pacer {
    pub(crate) fn new(rng: StdRng) -> Self {
        Self { rng: Mutex::new(rng) }
    }

    /// A number below `count`, or 0.
    pub(crate) fn choose(&self, count: usize) -> usize {
        if count == 0 { 0 } else { self.rng.lock().random_range(0..count) }
    }

    /// Pause after a number of failures in a row (from 1): between half and the whole of
    /// 5 ms · 2^(failures - 1), at most 250 ms: a new leader that was missed by a moment
    /// is not missed for long.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(10);
        let whole = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let share = self.rng.lock().random_range(0.5..=1.0);
        whole.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn answer(code: Code, retry: RetryClass, maybe_committed: bool) -> WireError {
        WireError {
            code: code.into(),
            retry: retry.into(),
            maybe_committed,
            ..WireError::default()
        }
    }

    #[test]
    fn what_may_have_acted_is_never_final() {
        use RetryClass::{Ambiguous, Never, Reroute, Unspecified};
        let cases = [
            (Code::Overloaded, Reroute, false, Verdict::Again),
            (Code::NotLeader, Unspecified, false, Verdict::Again),
            (Code::Unavailable, Reroute, true, Verdict::Ambiguous),
            (Code::Unavailable, Ambiguous, false, Verdict::Ambiguous),
            (Code::UnknownOutcome, Unspecified, false, Verdict::Ambiguous),
            (Code::UnknownOutcome, Never, false, Verdict::Unknown),
            (Code::Storage, Never, true, Verdict::Unknown),
            (Code::Storage, Never, false, Verdict::Final),
            (Code::InvalidArgument, Never, false, Verdict::Final),
            (Code::DeadlineExceeded, Unspecified, false, Verdict::Final),
            (Code::DeadlineExceeded, Unspecified, true, Verdict::Unknown),
            (Code::Conflict, Never, false, Verdict::Settled),
            (Code::NotANumber, Never, false, Verdict::Settled),
            (Code::SeveralRanges, Never, false, Verdict::Settled),
            (Code::Expired, Never, false, Verdict::Expired),
        ];
        for (code, class, maybe_committed, verdict) in cases {
            let judged = judge(&answer(code, class, maybe_committed));
            assert_eq!(judged, verdict, "{code:?} {class:?} {maybe_committed}");
        }
    }

    #[test]
    fn pauses_grow_within_their_bounds() {
        let pacer = Pacer::new(StdRng::seed_from_u64(7));
        for failures in 1..40 {
            let pause = pacer.pause(failures);
            let whole = (5.0 * 2f64.powi(failures as i32 - 1)).min(250.0);
            let pause_ms = pause.as_secs_f64() * 1_000.0;
            assert!(pause_ms >= whole / 2.0 - 0.01, "{failures}: {pause:?}");
            assert!(pause_ms <= whole + 0.01, "{failures}: {pause:?}");
        }
    }
}
