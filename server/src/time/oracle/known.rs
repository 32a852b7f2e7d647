//! What a node knows to be published: the highest block that it has heard of.
//!
//! Every block in here was issued by some round, or rests on one that was (a version that is applied): a majority of
//! the time servers hold a clock at or above it, and whatever is issued to a request that comes from now on is above
//! it. So it is a *floor*: who begins to ask for a timestamp notes it, and the timestamp will be above.
//!
//! It rises with rounds, with every frame of another node, and with what ranges apply. It is kept in memory only: a
//! restarted node knows what its ranges hold, and hears the rest.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Block;
use crate::time::{Timestamp, local::Instant};

/// See the module.
#[derive(Debug)]
pub struct Known {
    block: AtomicU64,
    began: Instant,
    /// When it rose last, in microseconds since it began.
    rose_us: AtomicU64,
}

impl Default for Known {
    fn default() -> Known {
        Known { block: AtomicU64::new(0), began: Instant::now(), rose_us: AtomicU64::new(0) }
    }
}

impl Known {
    /// The highest block that is known.
    pub fn block(&self) -> Block {
        Block(self.block.load(Ordering::Acquire))
    }

    /// The highest timestamp that is known: the last one of that block.
    pub fn timestamp(&self) -> Timestamp {
        match self.block() {
            Block(0) => Timestamp::ZERO,
            block => block.last(),
        }
    }

    /// A block is published.
    pub fn raise(&self, block: Block) {
        let block = block.min(Block::MAX).0;
        if self.block.fetch_max(block, Ordering::AcqRel) < block {
            self.rose_us.store(self.elapsed_us(), Ordering::Release);
        }
    }

    /// How old the state of a moment is at most: what it was when the node heard of a higher block last, and the time
    /// since. So a node that hears nothing any more does not take itself for up to date.
    pub fn age(&self, at: Timestamp) -> Duration {
        let since = self.since_it_rose();
        let behind_us = self.block().0.saturating_sub(Block::of(at).0);
        Duration::from_micros(behind_us).saturating_add(since)
    }

    /// How long ago it rose last.
    pub fn since_it_rose(&self) -> Duration {
        let since_us = self.elapsed_us().saturating_sub(self.rose_us.load(Ordering::Acquire));
        Duration::from_micros(since_us)
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What is above a block was never published: a round that was asked for after it was heard has decided this block.
    pub fn forget_above(&self, block: Block) {
        self.block.fetch_min(block.0, Ordering::AcqRel);
    }

    /// A version is applied, so its timestamp is published.
    pub fn holds(&self, version: Timestamp) {
        self.raise(Block::of(version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_and_covers_its_block_whole() {
        let known = Known::default();
        assert_eq!(known.timestamp(), Timestamp::ZERO);
        known.raise(Block(7));
        known.raise(Block(5));
        assert_eq!(known.timestamp(), Block(7).last());
        known.holds(Block(9).nth(3));
        assert_eq!(known.block(), Block(9));
        assert!(known.timestamp() > Block(9).nth(3) && known.timestamp() < Block(10).nth(0));
        known.holds(Timestamp::MAX);
        assert_eq!(known.timestamp(), Timestamp::MAX);
        let (second, us) = (Duration::from_secs(1), Duration::from_micros(5));
        let age = known.age(Block(Block::MAX.0 - 5).last());
        assert!((us..second).contains(&age), "{age:?}");
        known.forget_above(Block(9));
        assert_eq!(known.block(), Block(9));
    }
}
