//! Histograms of latencies, in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency told apart.
pub(super) const US_MAX: u64 = 600 * 1_000_000;

/// An empty one. Two digits are enough, and each of a thousand clients has a histogram.
pub(crate) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 2, 2).expect("constant bounds are valid");
    histogram.auto(true);
    histogram
}

/// Adds a latency. The histogram grows as needed; its own `saturating_record` would not.
pub(crate) fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    histogram.record(us.clamp(1, US_MAX)).expect("the histogram grows as needed");
}
