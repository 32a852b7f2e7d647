//! Which time a node goes by when its wall clock, its monotonic clock and the wall clocks of the other
//! nodes disagree.
//!
//! A wall clock may jump by hours and come back. What is written meanwhile has versions of that time, and a
//! range's time never falls: keys would not expire until the clocks had caught up. So no node follows
//! its wall clock anywhere. It goes by its wall clock within a *window* around the time that it went by
//! before, carried on by the monotonic clock, and within a bound of a majority of the others:
//!
//! ```text
//!                  monotonic clock + what it went by          majority of the others
//!                              |                                      |
//!      ------[==== bound ======+=========== bound ====]-- and --[=====+=====]------> wall clocks
//!                 the wall clock is followed in here only
//! ```
//!
//! - A jump is followed where the others confirm it: a majority of the nodes, this one counted, shows
//!   about the new time. (A laptop wakes up; an operator sets all clocks.)
//! - A clock that drifts away is held where a majority of nodes, this one not counted, says that it is
//!   ahead, or behind.
//! - A node that has just started goes by the lower middle of what it knows until it has heard a majority.
//! - A node alone has only its monotonic clock to ask: it follows no jump until it is started again.
//!
//! Clocks are compared as *offsets*: by how many microseconds a wall clock is ahead of this node's
//! monotonic clock. What a frame says is old by the time that it travelled, so a peer's offset is never
//! too great, and too small by that time.
//!
//! # Invariant
//!
//! * The window is never empty, and the time that the node goes by lies in it (assertion).

use std::{collections::BTreeMap, time::Duration};

use crate::ids::NodeId;

/// How far a node follows its wall clock beyond its monotonic clock, or beyond a majority of the others.
pub const BOUND: Duration = Duration::from_secs(1);
const BOUND_US: i64 = 1_000_000;

/// What a peer said longer ago does not count.
const HEARD_US_MAX: u64 = 10_000_000;
/// After this many looks in a row at which the wall clock was outside of its window it counts as wrong: a
/// node that stood still, or whose frames were late, is not.
const WRONG_LOOKS: u32 = 2;
/// And after this many inside of it as right again.
const RIGHT_LOOKS: u32 = 5;

/// What of a peer's wall clock is known.
#[derive(Clone, Copy, Debug)]
struct Heard {
    offset_us: i64,
    /// When, by the monotonic clock.
    at_us: u64,
}

/// Offsets between which a node follows its wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the wall clock shows less, this counts.
    pub low_us: i64,
    /// Where the wall clock shows more, this counts.
    pub high_us: i64,
}

impl Window {
    /// Every wall clock is in it.
    pub const ALL: Window = Window { low_us: i64::MIN, high_us: i64::MAX };
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// From now on.
    pub window: Window,
    /// By how much this node's wall clock is ahead of the time that it goes by, or behind where it is
    /// negative; 0 while the wall clock counts as right.
    pub wrong_by_us: i64,
}

/// Judges a node's wall clock. Pure: offsets go in, a window comes out.
#[derive(Debug, Default)]
pub struct Discipline {
    /// The offset that the node went by at the last look; none until a majority has confirmed one.
    own_us: Option<i64>,
    peers: BTreeMap<NodeId, Heard>,
    wrong: bool,
    /// Looks in a row that contradict `wrong`.
    against: u32,
}

impl Discipline {
    /// Notes what a peer's wall clock showed.
    pub fn hear(&mut self, node: NodeId, offset_us: i64, now_us: u64) {
        let heard = Heard { offset_us, at_us: now_us };
        let known = self.peers.entry(node).or_insert(heard);
        let is_old = now_us.saturating_sub(known.at_us) > HEARD_US_MAX;
        // A little less is a frame that travelled for longer; much less is a clock that went back.
        let fell_us = known.offset_us.saturating_sub(offset_us);
        let smoothed = (1..=BOUND_US).contains(&fell_us) && !is_old;
        *known = match smoothed {
            true => Heard { offset_us: known.offset_us.saturating_sub(fell_us / 8), ..heard },
            false => heard,
        };
    }

    /// Whether the node waits to hear a majority.
    pub fn is_unconfirmed(&self) -> bool {
        self.own_us.is_none()
    }

    /// Looks at the wall clock's offset, in a cluster of `nodes` nodes.
    pub fn look(&mut self, wall_us: i64, now_us: u64, nodes: usize) -> Seen {
        let is_fresh = |heard: &&Heard| now_us.saturating_sub(heard.at_us) <= HEARD_US_MAX;
        let mut peers: Vec<i64> =
            self.peers.values().filter(is_fresh).map(|heard| heard.offset_us).collect();
        peers.sort_unstable();
        let majority = nodes.max(peers.len() + 1) / 2 + 1;
        let by_peers = by_majority(&peers, majority);
        let own_us = match self.own_us {
            Some(own_us) if is_near(own_us, wall_us) => wall_us,
            Some(_) if nodes > 1 && is_shared(&peers, wall_us, majority) => wall_us,
            Some(own_us) => own_us,
            None => {
                let middle_us = lower_middle(&peers, wall_us);
                if is_near(middle_us, wall_us) { wall_us } else { middle_us }
            }
        };
        let own_us = own_us.max(by_peers.low_us).min(by_peers.high_us);
        if self.own_us.is_some() || nodes == 1 || peers.len() + 1 >= majority {
            self.own_us = Some(own_us);
        }
        let window = Window {
            low_us: own_us.saturating_sub(BOUND_US).max(by_peers.low_us),
            high_us: own_us.saturating_add(BOUND_US).min(by_peers.high_us),
        };
        assert!(
            window.low_us <= own_us && own_us <= window.high_us,
            "{own_us} is not in {window:?}"
        );
        let is_outside = wall_us < window.low_us || wall_us > window.high_us;
        if !self.is_unconfirmed() {
            self.count(is_outside);
        }
        let off_us = wall_us.saturating_sub(own_us);
        Seen { window, wrong_by_us: if self.wrong { off_us } else { 0 } }
    }

    fn count(&mut self, is_outside: bool) {
        self.against = if is_outside == self.wrong { 0 } else { self.against + 1 };
        let enough = if self.wrong { RIGHT_LOOKS } else { WRONG_LOOKS };
        if self.against >= enough {
            (self.wrong, self.against) = (is_outside, 0);
        }
    }
}

fn is_near(one_us: i64, other_us: i64) -> bool {
    one_us.abs_diff(other_us) <= BOUND_US.unsigned_abs()
}

/// Whether a majority shows about this, counting the one that asks.
fn is_shared(peers: &[i64], wall_us: i64, majority: usize) -> bool {
    peers.iter().filter(|peer| is_near(**peer, wall_us)).count() + 1 >= majority
}

/// The bounds of which a majority of nodes says that whatever is outside is wrong. `peers` are sorted.
fn by_majority(peers: &[i64], majority: usize) -> Window {
    let high = peers.get(majority - 1);
    let low = peers.len().checked_sub(majority).and_then(|at| peers.get(at));
    match (low, high) {
        (Some(low), Some(high)) => {
            Window { low_us: low.saturating_sub(BOUND_US), high_us: high.saturating_add(BOUND_US) }
        }
        _ => Window::ALL,
    }
}

fn lower_middle(peers: &[i64], wall_us: i64) -> i64 {
    let mut all: Vec<i64> = peers.iter().copied().chain([wall_us]).collect();
    all.sort_unstable();
    all.get((all.len() - 1) / 2).copied().unwrap_or(wall_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOURS: i64 = 2 * 3_600 * SECOND;

    /// A node of a cluster that looks once a second.
    struct Node {
        discipline: Discipline,
        nodes: usize,
        now_us: u64,
    }

    impl Node {
        fn of(nodes: usize) -> Node {
            Node { discipline: Discipline::default(), nodes, now_us: 0 }
        }

        /// A second passes in which the peers say this.
        fn second(&mut self, wall_us: i64, peers: &[i64]) -> Seen {
            self.now_us += 1_000_000;
            for (node, offset_us) in (2..).zip(peers) {
                self.discipline.hear(NodeId(node), *offset_us, self.now_us);
            }
            self.discipline.look(wall_us, self.now_us, self.nodes)
        }

        /// The last of `count` seconds.
        fn seconds(&mut self, count: u32, wall_us: i64, peers: &[i64]) -> Seen {
            for _ in 1..count {
                self.second(wall_us, peers);
            }
            self.second(wall_us, peers)
        }
    }

    fn follows(seen: Seen, wall_us: i64) -> i64 {
        wall_us.max(seen.window.low_us).min(seen.window.high_us)
    }

    #[test]
    fn a_clock_that_jumps_by_hours_is_not_followed_and_is_said_to_be_wrong() {
        for (nodes, peers) in [(3, &[0, 0][..]), (5, &[0, 0, 0, 0]), (5, &[0, 0]), (1, &[])] {
            for jump in [HOURS, -HOURS] {
                let mut node = Node::of(nodes);
                assert_eq!(node.seconds(3, 0, peers).wrong_by_us, 0);
                let seen = node.second(jump, peers);
                assert_eq!(follows(seen, jump).abs(), SECOND, "{nodes} nodes, {jump}");
                assert_eq!(seen.wrong_by_us, 0, "one look is not enough");
                let seen = node.seconds(7_200, jump, peers);
                assert_eq!(follows(seen, jump).abs(), SECOND, "{nodes} nodes, {jump}");
                assert_eq!(seen.wrong_by_us, jump);
                // It comes back.
                assert_eq!(follows(node.second(0, peers), 0), 0);
                assert_eq!(node.seconds(RIGHT_LOOKS, 0, peers).wrong_by_us, 0);
            }
        }
    }

    #[test]
    fn a_jump_while_nobody_is_heard_is_not_followed() {
        let mut node = Node::of(5);
        node.seconds(3, 0, &[0, 0, 0, 0]);
        let seen = node.seconds(60, HOURS, &[]);
        assert_eq!(follows(seen, HOURS), SECOND);
        assert_eq!(seen.wrong_by_us, HOURS);
    }

    #[test]
    fn a_node_that_starts_with_a_wrong_clock_goes_by_the_others() {
        for (nodes, peers) in [(3, &[0][..]), (3, &[0, 0]), (5, &[0, 0]), (5, &[0]), (2, &[0])] {
            let mut node = Node::of(nodes);
            let seen = node.second(HOURS, peers);
            assert_eq!(follows(seen, HOURS), SECOND, "{nodes} nodes, {peers:?}");
        }
    }

    #[test]
    fn who_has_heard_one_wild_clock_of_four_is_not_wrong() {
        let mut node = Node::of(5);
        assert_eq!(node.seconds(5, 0, &[-HOURS]).wrong_by_us, 0);
        let seen = node.second(0, &[-HOURS, 0]);
        assert_eq!((follows(seen, 0), seen.wrong_by_us), (0, 0));
    }

    #[test]
    fn one_wild_clock_of_five_moves_nobody() {
        let mut node = Node::of(5);
        for wild in [HOURS, -HOURS, i64::MAX, i64::MIN] {
            let seen = node.seconds(5, 0, &[wild, 0, 1_000, -1_000]);
            assert_eq!((follows(seen, 0), seen.wrong_by_us), (0, 0), "{wild}");
        }
    }

    #[test]
    fn a_jump_of_all_is_followed_and_nobody_is_wrong() {
        // The machine that all of them run on slept for two hours.
        let mut node = Node::of(3);
        node.seconds(3, 0, &[0, 0]);
        // It is the first that wakes up.
        assert_eq!(follows(node.second(HOURS, &[0, 0]), HOURS), SECOND);
        let seen = node.second(HOURS, &[HOURS, 0]);
        assert_eq!((follows(seen, HOURS), seen.wrong_by_us), (HOURS, 0));
        let seen = node.seconds(5, HOURS, &[HOURS, HOURS]);
        assert_eq!((follows(seen, HOURS), seen.wrong_by_us), (HOURS, 0));
        // And back, by the operator.
        let seen = node.seconds(5, 0, &[0, 0]);
        assert_eq!((follows(seen, 0), seen.wrong_by_us), (0, 0));
    }

    #[test]
    fn a_clock_that_drifts_away_is_held_by_the_others() {
        let mut node = Node::of(3);
        node.seconds(3, 0, &[0, 0]);
        let mut wall_us = 0;
        for _ in 0..100 {
            wall_us += SECOND / 10;
            let seen = node.second(wall_us, &[0, 10_000]);
            assert!(follows(seen, wall_us) <= 10_000 + SECOND, "{wall_us}");
        }
        assert_eq!(node.second(wall_us, &[0, 10_000]).wrong_by_us, wall_us - 10_000 - SECOND);
        // One of two is no majority.
        let mut node = Node::of(3);
        for _ in 0..100 {
            wall_us += SECOND / 10;
            assert_eq!(node.second(wall_us, &[0, wall_us]).wrong_by_us, 0);
        }
    }

    #[test]
    fn clocks_that_agree_within_the_bound_are_followed() {
        let mut node = Node::of(5);
        for wall_us in [0, SECOND / 2, -SECOND / 2, SECOND * 9 / 10] {
            let seen = node.seconds(3, wall_us, &[0, 1, 2, 3]);
            assert_eq!((follows(seen, wall_us), seen.wrong_by_us), (wall_us, 0));
        }
    }

    #[test]
    fn late_frames_of_a_node_that_stood_still_make_nobody_wrong() {
        let mut node = Node::of(3);
        node.seconds(3, 0, &[0, 0]);
        let seen = node.second(0, &[-5 * SECOND, -5 * SECOND]);
        assert_eq!(seen.wrong_by_us, 0);
        assert_eq!(follows(node.second(0, &[-1_000, -1_000]), 0), 0);
    }
}
