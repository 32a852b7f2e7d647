//! Clocks that are wrong.

use std::time::Duration;

use super::striking::Striking;

/// The wall clock of one node jumps.
pub(super) fn jump(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let Some(node) = striking.victim(&nodes) else { return };
    let most = Duration::from_secs_f64(striking.strike.fault.jump_s_max.unwrap_or_default());
    striking.begins(&[node], "has a wall clock that jumps");
    striking.cluster.jump(node, most, &mut striking.dice);
}

/// The wall clock of one node is hours away for a while.
pub(super) async fn leap(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let Some(node) = striking.victim(&nodes) else { return };
    let most = striking.strike.fault.jump_s_max.unwrap_or_default();
    let far = striking.dice.real(most / 10.0, most);
    let by_s = if striking.dice.real(0.0, 3.0) < 2.0 { far } else { -far };
    if !striking.cluster.leap(node, by_s) {
        return;
    }
    striking.begins(&[node], &format!("has a wall clock that is off by {by_s:.0} s"));
    striking.last().await;
    striking.cluster.end_leap(node);
    striking.ends();
}

/// The clocks of one node are fast or slow for a while.
pub(super) async fn rate(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let Some(node) = striking.victim(&nodes) else { return };
    let share = striking.strike.fault.rate_share_max.unwrap_or_default();
    let rate = striking.dice.real(1.0 - share, 1.0 + share);
    striking.begins(&[node], &format!("has clocks that run at {rate:.3} seconds a second"));
    striking.cluster.set_clock_rate(node, Some(rate));
    striking.last().await;
    striking.cluster.set_clock_rate(node, None);
    striking.ends();
}
