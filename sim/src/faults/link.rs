//! Links that come and go, or are slow, and streams that break.

use std::collections::BTreeSet;

use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep, sleep_until};

use super::striking::Striking;
use crate::{
    net::map::{Effect, Host, Hosts, Rule},
    scenario::Links,
};

/// Least and most time, in seconds, that a flapping link is down, or up.
const FLAP_S: (f64, f64) = (0.05, 0.5);

/// The links of a node that are hit, and the nodes concerned.
fn hit(striking: &mut Striking) -> Option<(Vec<NodeId>, Hosts, Hosts)> {
    let up = striking.cluster.up();
    let node = striking.victim(&up)?;
    let links = striking.links();
    let other = striking.other_than(node)?;
    Some(match links {
        Links::One => (vec![node, other], Hosts::node(node.0), Hosts::node(other.0)),
        _ => (vec![node], Hosts::node(node.0), Hosts::All),
    })
}

/// A link, or all of a node, go down and up.
pub(super) async fn flap(striking: &mut Striking) {
    let Some((nodes, from, to)) = hit(striking) else { return };
    striking.begins(&nodes, "links are down and up, again and again");
    let until = Instant::now() + striking.strike.lasts;
    let (least, most) = FLAP_S;
    while Instant::now() < until {
        let rules = Rule::cut(from.clone(), to.clone()).both_ways().to_vec();
        let down = striking.cluster.net().add(rules);
        sleep_until(until.min(Instant::now() + striking.dice.seconds(least, most))).await;
        striking.cluster.net().remove(down);
        sleep(striking.dice.seconds(least, most)).await;
    }
    striking.ends();
}

/// A link, or all of a node, are slow.
pub(super) async fn slow(striking: &mut Striking) {
    let Some((nodes, from, to)) = hit(striking) else { return };
    let factor = striking.strike.fault.factor.unwrap_or(1);
    let words = format!("frames take {factor} times as long");
    let slow = Rule { from, to, effect: Effect::Slower(factor.into()) };
    striking.while_it_lasts(&nodes, &words, slow.both_ways().to_vec()).await;
}

/// All streams of a node break.
pub(super) fn break_streams(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    striking.begins(&[node], "all its streams break");
    striking.cluster.net().break_streams(&BTreeSet::from([Host::Node(node.0)]));
}
