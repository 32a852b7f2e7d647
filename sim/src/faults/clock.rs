//! Clocks that are wrong.

use std::time::Duration;

use quintet_server::ids::NodeId;

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
    let words = format!("has a wall clock that is off by {by_s:.0} s");
    away(striking, &[(node, by_s)], &words).await;
}

/// The wall clocks of two nodes are hours away for a while, one ahead and one behind.
pub(super) async fn apart(striking: &mut Striking) {
    let mut nodes = striking.cluster.nodes();
    let Some(ahead) = striking.dice.pick(&nodes) else { return };
    nodes.retain(|node| *node != ahead);
    let Some(behind) = striking.dice.pick(&nodes) else { return };
    let most = striking.strike.fault.jump_s_max.unwrap_or_default();
    let far = striking.dice.real(most / 10.0, most);
    let words = format!("have wall clocks that are off by {far:.0} s, one ahead and one behind");
    away(striking, &[(ahead, far), (behind, -far)], &words).await;
}

/// All wall clocks of a city are hours away for a while.
pub(super) async fn city(striking: &mut Striking) {
    let (city, nodes) = striking.city();
    let city = city.to_owned();
    if nodes.len() * 2 >= striking.cluster.nodes().len() {
        return;
    }
    let most = striking.strike.fault.jump_s_max.unwrap_or_default();
    let sign = if striking.dice.one_in(2) { 1.0 } else { -1.0 };
    let off: Vec<_> = nodes
        .into_iter()
        .map(|node| (node, sign * striking.dice.real(most / 10.0, most)))
        .collect();
    let side = if sign > 0.0 { "ahead" } else { "behind" };
    away(striking, &off, &format!("have wall clocks that are hours {side}, as all of {city}"))
        .await;
}

/// Wall clocks are away for as long as the strike lasts, unless others are.
async fn away(striking: &mut Striking, off: &[(NodeId, f64)], words: &str) {
    if !striking.cluster.leap(off) {
        return;
    }
    let nodes: Vec<_> = off.iter().map(|(node, _)| *node).collect();
    striking.begins(&nodes, words);
    striking.last().await;
    nodes.iter().for_each(|node| striking.cluster.end_leap(*node));
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
