//! What raft snapshots may take of a node, all ranges together.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::time::local::{Instant, sleep_until};

/// Raft snapshots that a node sends at a time, and as many that it receives.
const TRANSFERS_MAX: usize = 2;
/// Bounds of a chunk's size; in between it is what may be sent in a 64th of a second.
const CHUNK_BYTES_MIN: u64 = 16 << 10;
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// A node's limits for raft snapshots.
pub struct Transfers {
    /// Permits to send.
    pub sending: Semaphore,
    /// Permits to receive.
    pub receiving: Semaphore,
    /// What all that are sent take of the network.
    pub throttle: Throttle,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Bytes of entries that a range keeps for replicas that lag.
    pub log_retention_bytes: u64,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Transfers {
    /// Limits of `bytes_per_s` together.
    pub fn new(
        bytes_per_s: u64,
        log_retention_bytes: u64,
        random: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Transfers {
        let chunk_bytes = (bytes_per_s / 64).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        Transfers {
            sending: Semaphore::new(TRANSFERS_MAX),
            receiving: Semaphore::new(TRANSFERS_MAX),
            throttle: Throttle { bytes_per_s: bytes_per_s.max(1), free_at: Mutex::default() },
            chunk_bytes: usize::try_from(chunk_bytes).unwrap_or(CHUNK_BYTES_MAX as usize),
            log_retention_bytes,
            random,
        }
    }

    /// A name that no other raft snapshot has.
    pub fn id(&self) -> u128 {
        (u128::from((self.random)()) << 64) | u128::from((self.random)())
    }
}

/// No more than `bytes_per_s` bytes per second, and no bursts.
pub struct Throttle {
    bytes_per_s: u64,
    /// When everything taken so far may have been sent.
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Waits until `bytes` bytes may be sent. Who gives up waiting has taken them all the same.
    pub async fn take(&self, bytes: usize) {
        sleep_until(self.next(bytes, Instant::now())).await;
    }

    /// When `bytes` bytes may be sent.
    fn next(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock();
        let begin = free_at.map_or(now, |free| free.max(now));
        let lasts = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        *free_at = Some(begin + lasts);
        begin
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_by_all_together() {
        let transfers = Transfers::new(1 << 20, 0, Arc::new(|| 4));
        assert_eq!(transfers.chunk_bytes, 16 << 10);
        let begun = Instant::now();
        let mut last = begun;
        for _ in 0..128 {
            // Whoever asks: all want to send at once.
            last = transfers.throttle.next(16 << 10, begun);
        }
        // 2 MiB, of which the last chunk is not waited for.
        let took = (last - begun).as_secs_f64();
        assert!((1.95..2.0).contains(&took), "{took}");
        // An idle time is not saved up.
        let later = begun + Duration::from_secs(60);
        assert_eq!(transfers.throttle.next(1 << 20, later), later);
        assert_eq!(transfers.throttle.next(1, later), later + Duration::from_secs(1));
    }
}
