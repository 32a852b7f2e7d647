//! How the rest of a node asks for time: what is known, and rounds.
//!
//! Who needs a timestamp that is above everything that was issued before asks for a round ([`Oracle::round`]). What
//! runs it, here or on another node, is not its concern (`cluster/oracle/rounds.rs`). Requests that wait at the same
//! moment share a round: one serves every range of the node.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Block, Epoch, REPORT_LASTS, known::Known, proposer::WAITING_MAX};
use crate::time::{
    Clock, Timestamp,
    local::{Instant, timeout},
};

/// How long a round may take before whoever waits is told that there is no time. Less than clients wait for a node that
/// says nothing: they are to hear that nothing was done.
const ROUND_TIMEOUT: Duration = Duration::from_millis(1_500);
const _: () = assert!(REPORT_LASTS.as_millis() > ROUND_TIMEOUT.as_millis());

/// A round that took as long says that too few time servers answer; a shorter one, that whoever asked had no time.
const SILENT_AFTER: Duration = Duration::from_millis(500);

/// Why there is no timestamp. Nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// Too few time servers answer in time, or time has reached its end.
    #[error(
        "too few time servers answer, so nothing can be written: 'quintet status' shows which nodes are away; try \
         again"
    )]
    Silent,
    /// Whoever asked waits no longer, and has not waited for long.
    #[error("the deadline passed before the request was begun; give it more time")]
    TooLate,
    /// Too many requests wait for one.
    #[error("too many requests wait for a timestamp; slow down")]
    Overloaded,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Somebody who waits for a round.
#[derive(Debug)]
pub struct Asked {
    /// Where the block goes. Dropped: there is none.
    pub answer: oneshot::Sender<Block>,
    /// Another node asks: the round is run by this one.
    pub here: bool,
}

/// The oracle as one node has it; shared by all its ranges.
#[derive(Debug)]
pub struct Oracle {
    known: Known,
    /// No block of an earlier epoch is issued here any more.
    issues_from: Mutex<Epoch>,
    clock: Arc<dyn Clock>,
    began: Instant,
    asked: mpsc::Sender<Asked>,
}

impl Oracle {
    /// The handle, and the queue of those who ask it, for the task that runs rounds.
    pub fn new(clock: Arc<dyn Clock>) -> (Arc<Oracle>, mpsc::Receiver<Asked>) {
        let (asked, queue) = mpsc::channel(WAITING_MAX);
        let known = Known::default();
        (
            Arc::new(Oracle {
                known,
                issues_from: Mutex::default(),
                clock,
                began: Instant::now(),
                asked,
            }),
            queue,
        )
    }

    /// What is published, as far as this node knows.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Notes that a round of this node's proposer has decided a block; whether it may be issued.
    pub fn issue(&self, epoch: Epoch, block: Block) -> bool {
        let issues_from = self.issues_from.lock();
        let may = epoch >= *issues_from;
        if may {
            self.known.raise(block);
        }
        may
    }

    /// From now on no block of an earlier epoch is issued by this node's proposer: what it has issued is known.
    pub fn issue_from(&self, epoch: Epoch) {
        let mut issues_from = self.issues_from.lock();
        *issues_from = (*issues_from).max(epoch);
    }

    /// The highest timestamp that is published, as far as this node knows: cluster time.
    pub fn now(&self) -> Timestamp {
        self.known.timestamp()
    }

    /// What the node's wall clock shows. It decides nothing but how close blocks are to what walls show.
    pub fn physical(&self) -> Block {
        Block(self.clock.wall_us()).min(Block::MAX)
    }

    /// How long the node has run, by its monotonic clock.
    pub fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    /// A block by this node's own clock, above all that it knows; only with planted bugs, and where it is measured what
    /// rounds cost.
    pub fn by_own_clock(&self) -> Block {
        self.physical().max(self.known.block().next())
    }

    /// A block above everything that was issued before this was called, published when this returns.
    ///
    /// # Errors
    /// Too few time servers answer in time, or too many requests wait. Nothing was begun.
    pub async fn round(&self) -> Result<Block, NoTime> {
        self.ask(false, ROUND_TIMEOUT).await
    }

    /// The same for those who wait until then at most.
    ///
    /// # Errors
    /// The same, and that it is too late by then.
    pub async fn round_until(&self, until: Option<Instant>) -> Result<Block, NoTime> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let within = left.map_or(ROUND_TIMEOUT, |left| left.min(ROUND_TIMEOUT));
        let decided = self.ask(false, within).await;
        decided.map_err(|why| match why {
            NoTime::Silent if within < SILENT_AFTER => NoTime::TooLate,
            why => why,
        })
    }

    /// The same for another node: the round is run here.
    pub async fn round_here(&self) -> Result<Block, NoTime> {
        self.ask(true, ROUND_TIMEOUT).await
    }

    async fn ask(&self, here: bool, within: Duration) -> Result<Block, NoTime> {
        if cfg!(feature = "bench-own-clock") {
            let block = self.by_own_clock();
            self.known.raise(block);
            return Ok(block);
        }
        let (answer, block) = oneshot::channel();
        match self.asked.try_send(Asked { answer, here }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(NoTime::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(NoTime::Stopping),
        }
        match timeout(within, block).await {
            Ok(Ok(block)) => {
                self.known.raise(block);
                Ok(block)
            }
            Ok(Err(_)) | Err(_) => Err(NoTime::Silent),
        }
    }
}
