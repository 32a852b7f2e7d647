//! The node's wall clock: judged once a second, and said to be wrong by the node whose clock it is.
//!
//! A clock that is wrong is not followed (`time/discipline.rs`); the node tells the others with its pings,
//! and its leaders move to nodes whose clocks are right (`placement/policy.rs`). What was written with such a
//! time before, by an earlier version or by a majority of wrong clocks, stays: a range whose time is ahead
//! does not expire keys until clocks have reached it, and its leader says until when.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use crate::{
    cluster::state::NodeState,
    range::replica::Replica,
    time::{utc, words},
};

/// Looks at the wall clock, and says what has changed.
pub(super) fn look(node_state: &NodeState) {
    let (me, hlc) = (node_state.peers().me(), &node_state.host().hlc);
    let seen = hlc.look(node_state.peers().book().count());
    let before_us = node_state.heard_clock(me, seen.wrong_by_us);
    node_state.router().metrics().clock_wrong_by.set(seen.wrong_by_us as f64 / 1e6);
    match (before_us, seen.wrong_by_us) {
        (0, 0) => {}
        (0, wrong_by_us) => {
            let (by, direction) = in_words(wrong_by_us);
            tracing::warn!(
                node = %me,
                "this machine's clock is {by} {direction} of the time that the cluster goes by; it is not \
                 followed, and leaders move to other nodes: set the clock (or, if it is right and the \
                 others' are wrong, set theirs; a node alone goes by it when it is started again)"
            );
        }
        (_, 0) => tracing::info!(node = %me, "this machine's clock is right again"),
        _ => {}
    }
    for replica in node_state.replicas() {
        note_time(node_state, &replica);
    }
}

/// Says once that a range's time is ahead, and that it is not any more. Its leader does: the others show it
/// in their status.
fn note_time(node_state: &NodeState, replica: &Replica) {
    let ahead = node_state.host().hlc.ahead_by(replica.shared.state.time());
    let said = &replica.shared.time_is_ahead;
    match (said.load(Relaxed), ahead) {
        (false, Some(ahead)) if replica.is_leader() => {
            said.store(true, Relaxed);
            tracing::warn!(
                range = %replica.range,
                until = utc(replica.shared.state.time().0),
                "the range's time is {} ahead of this node's clock: a leader's clock was wrong; the \
                 range's keys do not expire until then",
                words(ahead)
            );
        }
        (true, None) => {
            said.store(false, Relaxed);
            tracing::info!(range = %replica.range, "clocks have reached the range's time");
        }
        _ => {}
    }
}

fn in_words(us: i64) -> (String, &'static str) {
    let by = words(Duration::from_micros(us.unsigned_abs()));
    (by, if us > 0 { "ahead" } else { "behind" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_wrong_a_clock_is_in_words() {
        assert_eq!(in_words(7_200_400_000), ("2h 0m".to_owned(), "ahead"));
        assert_eq!(in_words(-61_000_000), ("1m 1s".to_owned(), "behind"));
        assert_eq!(in_words(1_999_999), ("1.999s".to_owned(), "ahead"));
    }
}
