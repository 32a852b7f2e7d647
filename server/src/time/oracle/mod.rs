//! The timestamp oracle: timestamps from a majority of time servers, with no assumption on how well clocks agree.
//!
//! A timestamp is a 52-bit count of microseconds and a 12-bit logical part. A *round* decides a [`Block`], the first
//! part; who asked for the round owns the 4,096 timestamps of the block. The files here are the protocol, pure and
//! synchronous: what comes in is a message, a moment or a completed write, what comes out is what to send, to store or
//! to issue. The server, the simulation and the model checker run this same code.
//!
//! ```text
//!   server.rs      a time server: its clock `c`, and its bound `B >= c` on disk
//!   proposer.rs    rounds: one trip to a majority of the servers, or two
//!   membership.rs  another set of time servers: fence, read, seed, activate
//!   report.rs      what the members' physical clocks say, and the median of it
//!
//!   known.rs       what a node knows to be published       handle.rs   how its ranges ask for rounds
//! ```
//!
//! What nodes do with them is in `cluster/oracle/`. They are checked by themselves too, in random schedules and by a
//! model checker (`sim/src/rounds/`), and in long schedules in which time goes on (`schedules.rs`).
//!
//! # Invariants
//!
//! * **O1** A server's clock never falls, over restarts too.
//! * **O2** *Published*: where a block is issued, a majority of the servers of its epoch hold a clock at or above it.
//! * **O3** *Fresh*: an issued block is above every block that was issued before the request for it arrived.
//!
//! O3 holds because the deciding answers of a round come from a majority of servers that were asked after the
//! request arrived. Of those, one was in the majority that published an earlier block `p0`, and told a value at or
//! above it; the round issues more than what all of its deciding servers told. Where the epoch changed in between, a
//! majority of the old epoch was fenced and read, and a majority of the new one begins above that.
//!
//! Two proposers may issue the same block: nothing rests on blocks being unique.

pub mod handle;
pub mod known;
pub mod membership;
pub mod proposer;
pub mod report;
#[cfg(all(test, not(madsim)))]
mod schedules;
pub mod server;

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How many timestamps a block has.
pub const TIMESTAMPS_A_BLOCK: u64 = 1 << Timestamp::LOGICAL_BITS;

/// Microseconds since 2020-01-01 UTC, 52 bits: what a round decides.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Block(pub u64);

impl Block {
    /// The last one: in the year 2162.
    pub const MAX: Block = Block((1 << 52) - 1);

    /// The one after it.
    pub fn next(self) -> Block {
        Block(self.0.saturating_add(1)).min(Block::MAX)
    }

    /// The block that a timestamp lies in.
    pub fn of(timestamp: Timestamp) -> Block {
        Block(timestamp.us())
    }

    /// The last of its timestamps.
    pub fn last(self) -> Timestamp {
        Timestamp(Timestamp::from_us(self.0).0 | (TIMESTAMPS_A_BLOCK - 1))
    }

    /// One of its timestamps, from the first, number 0, on.
    pub fn nth(self, number: u64) -> Timestamp {
        assert!(
            number < TIMESTAMPS_A_BLOCK,
            "a block has {TIMESTAMPS_A_BLOCK} timestamps, not {number}"
        );
        Timestamp(Timestamp::from_us(self.0).0 | number)
    }

    /// It moved ahead.
    pub fn plus(self, ahead: Duration) -> Block {
        let us = u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX);
        Block(self.0.saturating_add(us)).min(Block::MAX)
    }
}

/// A life of a time server's durable state: drawn when its directory is made, and never used again where that is
/// lost.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ServerId(pub u64);

/// A version of the set of time servers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// A set of time servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Config {
    /// Its version.
    pub epoch: Epoch,
    /// Who they are.
    pub members: BTreeSet<ServerId>,
}

impl Config {
    /// How many of its members are a majority.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// How many of its members are left where these are lost.
    pub fn left(&self, lost: &BTreeSet<ServerId>) -> usize {
        self.members.difference(lost).count()
    }
}

/// How far a proposed block may be ahead of the median of the members' physical clocks, and of that of a server
/// that is to accept it.
pub const AHEAD: Duration = Duration::from_millis(250);
/// How far a server's durable bound is ahead of its clock when it is extended.
pub const HEADROOM: Duration = Duration::from_millis(200);
/// Within this a member's clock is heard, where it can be.
pub const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How long what a member said of its physical clock counts: longer than anybody waits for a round, so that what was
/// heard in a round counts until it ends. A proposer in use hears all members twenty times as often; one that was not
/// used, or was cut off, begins anew.
pub const REPORT_LASTS: Duration = Duration::from_secs(2);
