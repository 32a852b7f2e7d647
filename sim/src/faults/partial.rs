//! Partial partitions: a node that reaches one other node, and is reached by it, and nobody else; or all but one.
//!
//! Clients reach everybody. What one node sees is then not what the others see: who is up, who leads, who
//! could.

use std::{collections::BTreeSet, time::Duration};

use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep, timeout};

use super::{
    placing::{all_are_there, alone, place, place_on_all},
    striking::Striking,
};
use crate::net::map::{Host, Hosts, Rule};

/// Between two looks at who leads.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// For another node to lead.
const SUCCEED_TIMEOUT: Duration = Duration::from_secs(10);

/// A leader keeps one link; a third node is killed.
pub(super) async fn lonely_leader(striking: &mut Striking) {
    let Some(leader) = striking.cluster.data_leader() else { return };
    let Some(killed) = striking.single_other_than(leader) else { return };
    let mut friends = striking.cluster.up();
    friends.retain(|node| *node != leader && *node != killed);
    let Some(friend) = striking.dice.pick(&friends) else { return };
    let words = "the first leads and reaches only the second, the third is killed";
    striking.begins(&[leader, friend, killed], words);
    striking.cluster.kill(killed);
    let rules = striking.cluster.net().add(apart(&striking.cluster.nodes(), leader, &[friend]));
    striking.last().await;
    striking.cluster.net().remove(rules);
    striking.cluster.restart(killed);
    striking.ends();
}

/// A leader is cut off, and then seen by its successor alone.
pub(super) async fn half_seen_home(striking: &mut Striking) {
    let words = "the first led and reaches only its successor, the second";
    let nodes = striking.cluster.nodes();
    succeeded(striking, words, |home, successor| apart(&nodes, home, &[successor])).await;
}

/// A leader is cut off, and then sees everybody but its successor: it hears from others of a time in which it does not
/// lead, before it hears that.
pub(super) async fn successor_unseen(striking: &mut Striking) {
    let words = "the first led and reaches all but its successor, the second";
    succeeded(striking, words, |home, successor| cut(home, [successor])).await;
}

/// Two sides, each with a majority of the time servers: a leader and a friend, who hears of a successor only where the
/// third time server is it, and all others. That one reaches the friend and the others. It is in the main city, where
/// most of these servers are unless that has few nodes: the others ask its proposer.
///
/// ```text
///   leader --- friend --- bridge === the others
///     (T)       (T)        (T)
/// ```
pub(super) async fn time_on_both_sides(striking: &mut Striking) {
    let cluster = striking.cluster.clone();
    let Some(_alone) = alone(&cluster) else { return };
    if !all_are_there(&cluster).await {
        return;
    }
    let Some(leader) = cluster.data_leader() else { return };
    let mut others = cluster.nodes();
    others.retain(|node| *node != leader);
    let mut bridges = cluster.topology().in_city(cluster.topology().main_city());
    bridges.retain(|node| *node != leader.0);
    let Some(bridge) = striking.dice.pick(&bridges).map(NodeId) else { return };
    others.retain(|node| *node != bridge);
    let Some(friend) = striking.dice.pick(&others) else { return };
    others.retain(|node| *node != friend);
    let is_placed = place(striking, &[leader, friend, bridge]).await.is_some();
    if is_placed && cluster.data_leader() == Some(leader) {
        let far: Vec<_> = others.iter().copied().chain([bridge]).collect();
        let mut rules = cut(leader, far);
        rules.extend(cut(friend, others));
        let words = "the first led and reaches only the second, that one only the third, which reaches all others; \
                     time servers are on these three";
        striking.while_it_lasts(&[leader, friend, bridge], words, rules).await;
    }
    place_on_all(striking).await;
}

/// A leader is cut off until another leads, and then some of its links stay as they are.
async fn succeeded(
    striking: &mut Striking,
    words: &str,
    left: impl FnOnce(NodeId, NodeId) -> Vec<Rule>,
) {
    let Some(home) = striking.cluster.data_leader() else { return };
    let cluster = striking.cluster.clone();
    let alone = cluster.net().add(apart(&cluster.nodes(), home, &[]));
    let succeeded = timeout(SUCCEED_TIMEOUT, async {
        loop {
            match cluster.data_leader() {
                Some(leader) if leader != home => break leader,
                _ => sleep(LOOK_PAUSE).await,
            }
        }
    });
    let began = Instant::now();
    let Ok(successor) = succeeded.await else {
        cluster.net().remove(alone);
        return;
    };
    striking.begins(&[home, successor], words);
    let rules = cluster.net().add(left(home, successor));
    cluster.net().remove(alone);
    sleep(striking.strike.lasts.saturating_sub(began.elapsed())).await;
    cluster.net().remove(rules);
    striking.ends();
}

/// A node and all others but some do not reach each other.
fn apart(nodes: &[NodeId], node: NodeId, but: &[NodeId]) -> Vec<Rule> {
    cut(node, nodes.iter().copied().filter(|other| *other != node && !but.contains(other)))
}

/// A node and others do not reach each other.
pub(super) fn cut(node: NodeId, others: impl IntoIterator<Item = NodeId>) -> Vec<Rule> {
    let others: BTreeSet<Host> = others.into_iter().map(|other| Host::Node(other.0)).collect();
    Rule::cut(Hosts::node(node.0), Hosts::These(others)).both_ways().to_vec()
}
