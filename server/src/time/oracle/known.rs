//! What a node knows to be published: the highest block that it has heard of.
//!
//! Every block in here was issued by some round, or rests on one that was (a version that is applied): a majority of
//! the time servers hold a clock at or above it, and whatever is issued to a request that comes from now on is above
//! it. So it is a *floor*: who begins to ask for a timestamp notes it, and the timestamp will be above.
//!
//! It rises with rounds, with every frame of another node, and with what ranges apply. It is kept in memory only: a
//! restarted node knows what its ranges hold, and hears the rest.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Block;
use crate::time::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub struct Known(AtomicU64);

impl Known {
    /// The highest block that is known.
    pub fn block(&self) -> Block {
        Block(self.0.load(Ordering::Acquire))
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
        self.0.fetch_max(block.min(Block::MAX).0, Ordering::AcqRel);
    }

    /// What is above a block was never published: a round that was asked for after it was heard has decided this block.
    pub fn forget_above(&self, block: Block) {
        self.0.fetch_min(block.0, Ordering::AcqRel);
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
        known.forget_above(Block(9));
        assert_eq!(known.block(), Block(9));
    }
}
