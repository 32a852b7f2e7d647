//! When the replicas of a range stand for election: one after the other, not all at random.
//!
//! Followers that choose their moments at random ask each other for votes at the same time now and then,
//! and neither gets a majority; with two of five nodes gone every vote that is left is needed, and between
//! cities a vote is under way for tens of milliseconds. Several such rounds in a row are rare for one range
//! and common for a node with thousands of them: the loss of a room would be over for all ranges but a few.
//!
//! So each replica has a part of the time between `raft.election_min_ms` and `raft.election_max_ms` for
//! itself, in the order in which nodes are home to the range's leader (`placement::policy`): who is to lead
//! in the end stands first. Within its part a replica still chooses at random. The idea is that of election
//! priorities; unlike there nobody ever refuses a vote for the sake of the order.
//!
//! openraft looks at the clock in steps only (`Config::tick_interval`, 81 ms by default). Random moments that
//! are taken in the same step are one moment; parts of five replicas are wider than a step.
//!
//! # Invariants
//!
//! * Nothing rests on the order but time. Where nodes know different places, or one's clock runs fast, two
//!   stand at the same time, as any two did without it, and one of them stands again.
//! * A voter takes part in no election for a while after it heard a leader: for as long as it would wait at
//!   most to stand itself. Both add up: the first of `n` stands after at least `2 * min + 1 / n` of what lies
//!   between the two times, the last after `2 * max` at most.
//!
//! # On a crash
//!
//! Nothing is kept. A started replica waits as one that has just heard a leader.

use std::time::Duration;

use crate::{
    ids::RangeId,
    peer::AddressBook,
    placement::disk::Condition,
    placement::policy::{self, Candidate},
};

/// Times of a Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTimes {
    /// How often a leader is heard.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// The longest one.
    pub election_max: Duration,
}

impl RaftTimes {
    /// After this long without a leader every replica that could would stand for election: what was heard longer ago
    /// says nothing of now.
    pub fn patience(self) -> Duration {
        2 * self.election_max
    }

    /// Those of one replica of several, by its place in the order in which they stand, from 0. At least a
    /// millisecond lies between its shortest and its longest silence.
    pub(super) fn standing(self, place: usize, of: usize) -> RaftTimes {
        let parts = u32::try_from(of).unwrap_or(u32::MAX).max(1);
        let place = u32::try_from(place).unwrap_or(u32::MAX).min(parts - 1);
        let part = self.election_max.saturating_sub(self.election_min) / parts;
        let election_min = self.election_min + part * place;
        let election_max = (election_min + part).max(election_min + Duration::from_millis(1));
        RaftTimes { election_min, election_max, ..self }
    }
}

/// The place of a node among those that hold a range, and how many these are: each node of the cluster holds
/// a replica of every range, and the book knows them all, or will at the next start. How a range was born does
/// not say it: a node that lost its disk is in no such description any more.
pub(super) fn place(range: RangeId, book: &AddressBook) -> (usize, usize) {
    let me = book.me().node;
    let order = policy::succession(range, candidates(book));
    let place = order.iter().position(|node| *node == me).unwrap_or(order.len());
    (place, order.len())
}

/// All nodes that are known, as if each held a replica and was well.
pub fn candidates(book: &AddressBook) -> Vec<Candidate> {
    let candidates = book.all().into_iter().map(|at| Candidate {
        node: at.node,
        replica: 0,
        city: at.city,
        room: at.room,
        fit: true,
        disk: Condition::Well,
        draining: false,
    });
    candidates.collect()
}

/// What openraft takes for its heartbeat interval, though the node sends heartbeats itself
/// (`upkeep/heartbeats.rs`): a part of it is its step.
pub(super) fn interval(times: RaftTimes) -> Duration {
    times.election_min * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(min: u32, max: u32) -> RaftTimes {
        RaftTimes { heartbeat: 100 * MS, election_min: min * MS, election_max: max * MS }
    }

    /// As openraft 0.10.0-alpha.37 computes it (`Config::tick_interval`).
    fn step(times: RaftTimes) -> Duration {
        interval(times) * 13 / 64
    }

    #[test]
    fn each_replica_has_a_part_of_the_time_for_itself() {
        let parts: Vec<_> = (0..5).map(|place| times(500, 1_000).standing(place, 5)).collect();
        assert_eq!(parts[0], times(500, 600));
        assert_eq!(parts[4], times(900, 1_000));
        assert!(parts.windows(2).all(|pair| pair[0].election_max == pair[1].election_min));
        // One that is not in the order has the last part.
        assert_eq!(times(500, 1_000).standing(5, 5), parts[4]);
        assert_eq!(times(500, 1_000).standing(0, 1), times(500, 1_000));
        assert_eq!(times(500, 1_000).standing(0, 0), times(500, 1_000));
    }

    /// Regression: followers whose steps fell together stood at the same time, again and again.
    #[test]
    fn no_two_of_five_stand_within_one_step() {
        let usual = crate::config::Raft::default();
        let ms = |ms: u64| Duration::from_millis(ms);
        let all = RaftTimes {
            heartbeat: ms(usual.heartbeat_ms),
            election_min: ms(usual.election_min_ms),
            election_max: ms(usual.election_max_ms),
        };
        let step = step(all);
        assert!(step > Duration::ZERO);
        for place in 0..4 {
            let (this, next) = (all.standing(place, 5), all.standing(place + 1, 5));
            // Both heard the leader last at the same moment; the longest silence is also how long
            // each of them takes part in no election.
            let latest = this.election_max + this.election_max + step;
            let earliest = next.election_max + next.election_min;
            assert!(latest < earliest, "{this:?} and {next:?} with steps of {step:?}");
        }
    }

    #[test]
    fn a_part_is_never_empty() {
        assert_eq!(times(500, 501).standing(0, 7).election_min, 500 * MS);
        for place in 0..7 {
            let part = times(500, 501).standing(place, 7);
            let ms = |duration: Duration| duration.as_millis();
            assert!(ms(part.election_min) < ms(part.election_max), "{part:?}");
        }
    }
}
