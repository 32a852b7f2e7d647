//! Cluster time at the client: the greatest that any reply told, carried on by the monotonic clock.
//!
//! It stamps the first attempt of a write. Nothing is ordered by it; the cluster only measures by
//! it how old a request is, so that the error that the network's delay and the clock's rate make
//! does no harm (a minute would be needed).

use parking_lot::Mutex;
use tokio::time::Instant;

/// Bits of a timestamp below its microseconds.
const LOGICAL_BITS: u32 = 12;

/// The clock of one client.
#[derive(Debug, Default)]
pub(crate) struct ClusterClock {
    /// What was learnt last, and when. `None` until a reply told a time.
    learnt: Mutex<Option<(u64, Instant)>>,
}

impl ClusterClock {
    /// Takes over what a reply told, if it is ahead.
    pub(crate) fn observe(&self, cluster_time: u64) {
        if cluster_time == 0 {
            return;
        }
        let now = Instant::now();
        let mut learnt = self.learnt.lock();
        if learnt.is_none_or(|learnt| carried_on(learnt, now) < cluster_time) {
            *learnt = Some((cluster_time, now));
        }
    }

    /// The estimate for this moment; `None` if no reply has told a time yet.
    pub(crate) fn now(&self) -> Option<u64> {
        let learnt = *self.learnt.lock();
        learnt.map(|learnt| carried_on(learnt, Instant::now()))
    }
}

fn carried_on((cluster_time, at): (u64, Instant), now: Instant) -> u64 {
    let elapsed_us = u64::try_from(now.saturating_duration_since(at).as_micros());
    cluster_time.saturating_add(elapsed_us.unwrap_or(u64::MAX >> LOGICAL_BITS) << LOGICAL_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_goes_back() {
        let clock = ClusterClock::default();
        assert_eq!(clock.now(), None);
        clock.observe(0);
        assert_eq!(clock.now(), None);
        clock.observe(5_000_000 << LOGICAL_BITS);
        let before = clock.now().unwrap();
        assert!(before >= 5_000_000 << LOGICAL_BITS);
        clock.observe(1 << LOGICAL_BITS);
        assert!(clock.now().unwrap() >= before, "an older time was taken over");
        clock.observe(9_000_000 << LOGICAL_BITS);
        assert!(clock.now().unwrap() >= 9_000_000 << LOGICAL_BITS);
    }
}
