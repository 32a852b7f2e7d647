//! How old a closed moment is, by no clock that two nodes would have to share.
//!
//! A replica that is told a moment does not know how long the message was under way: counted from when it came, the age
//! would be too little. So the node counts from something that it said itself, before. Its answers to a leader's
//! messages name a point of its own process's clock; the leader sends back the one that it heard last, with the next
//! moments:
//!
//! ```text
//!   leader    round ─> block 7          hears "5 s"      round ─> block 9
//!               '───────────────.          ^               '────────────.    "block 9, and you had said 5 s"
//!                               v          |                            v
//!   follower                "my 5 s" ──────'                   what was acknowledged before my 5 s is at or below 9
//! ```
//!
//! What was acknowledged before a round began is at or below its block, and the follower's 5 s were before that. A
//! moment may be that of an earlier round (writes on their way keep it down), which began before those 5 s came: by how
//! much, the leader says as a length of time. So all that has to be trusted is that clocks measure seconds about alike.
//!
//! # On a crash
//!
//! Nothing is kept. Points of an earlier process mean nothing: they name its life, by a number drawn at its start. A
//! count of starts would not do: where a disk was lost it begins again, and is raised later to what others remember.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use quintet_proto::internal::v1 as wire;

use crate::{ids::NodeId, range::closed::Moment, time::local::Instant, time::oracle::Block};

/// Rounds that a leader remembers: what is kept down for longer has no age.
const ROUNDS_MAX: usize = 64;

/// This process's clock, as it tells it to others, and what other nodes told of theirs.
#[derive(Debug)]
pub(crate) struct ClosedAges {
    /// Names this process: no other one of this node, on whichever disk, has it.
    life: u64,
    /// Where this process's clock begins.
    began: Instant,
    /// What each node said last, and when that came; as many as the cluster has.
    told: Mutex<BTreeMap<NodeId, (wire::ClosedAnswer, Instant)>>,
}

impl ClosedAges {
    pub(super) fn new(life: u64) -> ClosedAges {
        ClosedAges { life, began: Instant::now(), told: Mutex::default() }
    }

    /// What this node answers who tells it moments.
    pub(super) fn answer(&self) -> wire::ClosedAnswer {
        wire::ClosedAnswer { life: self.life, clock_us: us(self.began.elapsed()) }
    }

    /// What another node has answered.
    pub(crate) fn heard(&self, node: NodeId, answer: wire::ClosedAnswer) {
        self.told.lock().insert(node, (answer, Instant::now()));
    }

    /// What another node answered last, and for how long that is known.
    pub(crate) fn heard_of(&self, node: NodeId, now: Instant) -> Option<(wire::ClosedAnswer, u64)> {
        let told = self.told.lock();
        let (answer, at) = told.get(&node)?;
        // What came later is left to the next message: it would seem to have come just now.
        (*at <= now).then(|| (*answer, us(now.saturating_duration_since(*at))))
    }

    /// From when on, by this process's clock, something may be above a moment of which another node tells.
    pub(super) fn since(&self, told: &wire::Closed, range: &wire::ClosedRange) -> Option<Instant> {
        let mine = told.heard.as_ref().filter(|heard| heard.life == self.life)?;
        let before_us = range.covers_us_ago?.saturating_sub(told.heard_us_ago);
        let said = self.began.checked_add(Duration::from_micros(mine.clock_us))?;
        // A peer can't make a moment newer than now.
        let said = said.min(Instant::now());
        said.checked_sub(Duration::from_micros(before_us))
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The last rounds of a node that closes moments: when each began, and its block.
#[derive(Debug, Default)]
pub(crate) struct Rounds(VecDeque<(Instant, Block)>);

impl Rounds {
    /// A round has decided a block that began to be asked for then.
    pub(crate) fn add(&mut self, began: Instant, block: Block) {
        if self.0.len() >= ROUNDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((began, block));
    }

    /// What was acknowledged before then is at or below a moment.
    pub(crate) fn covers(&self, moment: &Moment) -> Option<Instant> {
        let covered = self.0.iter().filter(|(_, block)| *block <= moment.block);
        covered.map(|(began, _)| *began).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_counts_from_what_was_said_before_its_round() {
        let ages = ClosedAges::new(1);
        let heard = ages.answer();
        let closed =
            |heard, heard_us_ago| wire::Closed { heard, heard_us_ago, ..Default::default() };
        let range = |covers_us_ago| wire::ClosedRange { covers_us_ago, ..Default::default() };
        let since = |closed: &_, covers| ages.since(closed, &range(covers));
        let said = ages.began + Duration::from_micros(heard.clock_us);
        // The round began after it had come, and five milliseconds before.
        assert_eq!(since(&closed(Some(heard), 9_000), Some(4_000)), Some(said));
        let before = said.checked_sub(Duration::from_millis(5));
        assert_eq!(since(&closed(Some(heard), 4_000), Some(9_000)), before);
        assert_eq!(since(&closed(None, 0), Some(0)), None);
        assert_eq!(since(&closed(Some(heard), 0), None), None, "the leader does not know");
        let ahead = wire::ClosedAnswer { clock_us: u64::MAX >> 1, ..heard };
        assert!(
            since(&closed(Some(ahead), 0), Some(0)).is_none_or(|since| since <= Instant::now())
        );
        let earlier = ClosedAges::new(0).answer();
        assert_eq!(since(&closed(Some(earlier), 0), Some(0)), None, "of an earlier life");
    }

    #[test]
    fn a_moment_that_is_kept_down_is_as_old_as_the_round_before() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        let moment = |block| Moment { block: Block(block), applied: 1 };
        let began = |n| now + Duration::from_millis(n);
        for n in 1..=100 {
            rounds.add(began(n), Block(10 * n));
        }
        assert_eq!(rounds.covers(&moment(1_000)), Some(began(100)));
        assert_eq!(rounds.covers(&moment(995)), Some(began(99)));
        assert_eq!(rounds.covers(&moment(5)), None, "too long ago");
        assert_eq!(rounds.0.len(), ROUNDS_MAX);
    }
}
