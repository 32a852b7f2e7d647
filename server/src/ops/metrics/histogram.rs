//! A histogram of whole numbers made of atomics alone: `prometheus-client`'s takes a lock for each
//! value, and one is observed for every operation and every sync.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Counts values by upper bounds that double from bucket to bucket. Clones share their counts.
///
/// A scrape reads the counts one after another, so that a value observed meanwhile may be in the
/// sum and not yet in a bucket; the total is made of the buckets and always agrees with them.
#[derive(Clone, Debug)]
pub struct Histogram {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Upper bound of the first bucket, in the unit of the values.
    first: u64,
    /// What a value is multiplied with to get the unit that is shown.
    scale: f64,
    /// One a bucket, the last for everything above.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Durations from 16 µs to about 34 s, shown in seconds.
    pub fn of_durations() -> Histogram {
        Histogram::new(16, 1e-6, 22)
    }

    /// Numbers from 1 to 4,096.
    pub fn of_counts() -> Histogram {
        Histogram::new(1, 1.0, 13)
    }

    fn new(first: u64, scale: f64, buckets: usize) -> Histogram {
        let counts = (0..=buckets).map(|_| AtomicU64::new(0)).collect();
        Histogram { inner: Arc::new(Inner { first, scale, counts, sum: AtomicU64::new(0) }) }
    }

    /// Counts a duration; for [`Histogram::of_durations`].
    pub fn observe_duration(&self, took: Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let inner = &*self.inner;
        // The smallest i with value <= first << i.
        let ratio = value.div_ceil(inner.first).max(1);
        let bucket = (u64::BITS - (ratio - 1).leading_zeros()) as usize;
        let last = inner.counts.len() - 1;
        if let Some(count) = inner.counts.get(bucket.min(last)) {
            count.fetch_add(1, Relaxed);
        }
        inner.sum.fetch_add(value, Relaxed);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.inner.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The sum of all values, in their unit (microseconds of durations).
    pub fn sum(&self) -> u64 {
        self.inner.sum.load(Relaxed)
    }

    /// Upper bounds in the unit shown, and the values in each bucket alone.
    fn buckets(&self) -> Vec<(f64, u64)> {
        let inner = &*self.inner;
        let last = inner.counts.len() - 1;
        let bound = |i: usize| match i == last {
            true => f64::MAX,
            false => inner.first as f64 * 2f64.powi(i as i32) * inner.scale,
        };
        inner.counts.iter().enumerate().map(|(i, n)| (bound(i), n.load(Relaxed))).collect()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let buckets = self.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum() as f64 * self.inner.scale;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_of_the_least_bound_above() {
        let histogram = Histogram::new(16, 1.0, 3);
        for value in [0, 1, 16, 17, 32, 33, 64, 65, u64::MAX - 1000] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram.buckets().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [3, 2, 2, 2]);
        assert_eq!(histogram.count(), 9);
        let bounds: Vec<_> = histogram.buckets().into_iter().map(|(bound, _)| bound).collect();
        assert_eq!(bounds, [16.0, 32.0, 64.0, f64::MAX]);
    }

    #[test]
    fn durations_show_seconds() {
        let histogram = Histogram::of_durations();
        histogram.observe_duration(Duration::from_millis(3));
        assert_eq!(histogram.sum(), 3000);
        let (bound, _) =
            histogram.buckets().into_iter().find(|(_, count)| *count > 0).expect("counted");
        assert_eq!(bound, 16.0 * 256.0 * 1e-6);
    }
}
