//! The node's wall clock beside cluster time: looked at once a second, and said to be wrong by the node whose clock it
//! is.
//!
//! A clock that is wrong is not followed: the oracle goes by the median of its servers' clocks
//! (`time/oracle/report.rs`), and nothing that must be right goes by any clock. The node says it, so that somebody sets
//! the clock. Where a majority of clocks is wrong, it is the right ones that say so.

use std::time::Duration;

use crate::{cluster::state::NodeState, time::beside};

/// A clock this close to cluster time is right.
const RIGHT_WITHIN: Duration = Duration::from_secs(1);
/// Cluster time that has stood still for longer says nothing of a clock.
const CURRENT_FOR: Duration = Duration::from_secs(1);

/// What was seen at the last looks.
#[derive(Default)]
pub(super) struct Clock {
    known: u64,
}

impl Clock {
    /// Looks at the wall clock, and says what has changed.
    pub(super) fn look(&mut self, node_state: &NodeState) {
        let (me, oracle) = (node_state.peers().me(), &node_state.host().oracle);
        let (known, since) = (oracle.known().block().0, oracle.known().since_it_rose());
        let before = std::mem::replace(&mut self.known, known);
        // What a node that has just started knows is what it has stored.
        if before == 0 || known == before || since > CURRENT_FOR {
            return;
        }
        let since_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let wrong_by_us = wrong_by_us(oracle.physical().0, known.saturating_add(since_us));
        let before_us = node_state.heard_clock(me, wrong_by_us);
        node_state.router().metrics().time.clock_wrong_by.set(wrong_by_us as f64 / 1e6);
        match (before_us, wrong_by_us) {
            (0, 0) => {}
            (0, wrong_by_us) => {
                let stands = beside(wrong_by_us);
                tracing::warn!(
                    node = %me,
                    "this machine's clock is {stands}, which does not follow it: set the clock \
                     (or, if it is right, those of the other time servers)"
                );
            }
            (_, 0) => tracing::info!(node = %me, "this machine's clock is right again"),
            _ => {}
        }
    }
}

/// By how many microseconds a wall clock is ahead of cluster time, 0 where it is close to it.
fn wrong_by_us(wall_us: u64, known_us: u64) -> i64 {
    let signed = |us| i64::try_from(us).unwrap_or(i64::MAX);
    let ahead_us = signed(wall_us).saturating_sub(signed(known_us));
    if u128::from(ahead_us.unsigned_abs()) <= RIGHT_WITHIN.as_micros() { 0 } else { ahead_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_within_a_second_is_right() {
        let known = 10_000_000;
        assert_eq!(wrong_by_us(known + 1_000_000, known), 0);
        assert_eq!(wrong_by_us(known + 1_000_001, known), 1_000_001);
        assert_eq!(wrong_by_us(known - 1_000_001, known), -1_000_001);
        assert_eq!(wrong_by_us(0, u64::MAX), -i64::MAX);
    }
}
