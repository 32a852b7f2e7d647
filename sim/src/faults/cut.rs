//! Machines that do not reach one another, while all go on.

use std::collections::BTreeSet;

use quintet_server::ids::NodeId;

use super::striking::Striking;
use crate::{
    net::map::{Host, Hosts, Rule},
    scenario::Links,
};

/// The node that leads the first range of data is cut off from everybody.
pub(super) async fn leader(striking: &mut Striking) {
    let Some(leader) = striking.cluster.data_leader() else { return };
    let rules = Rule::cut(Hosts::node(leader.0), Hosts::All).both_ways().to_vec();
    striking.while_it_lasts(&[leader], "leads and is cut off from everybody", rules).await;
}

/// A node is cut off from everybody.
pub(super) async fn node(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    let rules = Rule::cut(Hosts::node(node.0), Hosts::All).both_ways().to_vec();
    striking.while_it_lasts(&[node], "is cut off from everybody", rules).await;
}

/// Nothing gets through in one direction.
pub(super) async fn one_way(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(node) = striking.victim(&up) else { return };
    let links = striking.links();
    let Some(other) = striking.other_than(node) else { return };
    let me = Hosts::node(node.0);
    let (nodes, words, rule) = match links {
        Links::Receives => (vec![node], "hears nobody", Rule::cut(Hosts::All, me)),
        Links::Sends => (vec![node], "is heard by nobody", Rule::cut(me, Hosts::All)),
        Links::One | Links::All => (
            vec![node, other],
            "the first is not heard by the second",
            Rule::cut(me, Hosts::node(other.0)),
        ),
    };
    striking.while_it_lasts(&nodes, words, vec![rule]).await;
}

/// A city is cut off from the others.
pub(super) async fn city(striking: &mut Striking) {
    let (city, nodes) = striking.city();
    let inside = striking.cluster.hosts_in_city(city);
    part(striking, &nodes, inside, "are cut off with their city").await;
}

/// A room is cut off from the others.
pub(super) async fn room(striking: &mut Striking) {
    let (room, nodes) = striking.room();
    let inside = striking.cluster.hosts_in_room(room);
    part(striking, &nodes, inside, "are cut off with their room").await;
}

/// Some machines are cut off from all others.
async fn part(striking: &mut Striking, nodes: &[NodeId], inside: Hosts, words: &str) {
    let outside = others(striking, &inside);
    let rules = Rule::cut(inside, outside).both_ways().to_vec();
    striking.while_it_lasts(nodes, words, rules).await;
}

/// Fewer than half of the nodes are cut off from the others.
pub(super) async fn minority(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let most = (nodes.len() as u64).saturating_sub(1) / 2;
    if most == 0 {
        return;
    }
    let count = striking.dice.between(1, most);
    let mut few = striking.dice.shuffled(&nodes);
    few.truncate(usize::try_from(count).unwrap_or(1));
    few.sort();
    let mut inside: BTreeSet<Host> = few.iter().map(|node| Host::Node(node.0)).collect();
    for client in striking.cluster.clients() {
        if striking.dice.one_in(2) {
            inside.insert(client);
        }
    }
    part(striking, &few, Hosts::These(inside), "are cut off, fewer than half").await;
}

/// Each node reaches two others.
pub(super) async fn ring(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let ring = striking.dice.shuffled(&nodes);
    let mut rules = Vec::new();
    for (at, node) in ring.iter().enumerate() {
        for (far, other) in ring.iter().enumerate().skip(at + 1) {
            let apart = far - at;
            if apart > 1 && apart + 1 < ring.len() {
                rules.extend(Rule::cut(Hosts::node(node.0), Hosts::node(other.0)).both_ways());
            }
        }
    }
    if !rules.is_empty() {
        striking.while_it_lasts(&ring, "reach only their neighbours in this ring", rules).await;
    }
}

/// A node and the leader do not reach each other; the clients near the node reach nobody but it.
pub(super) async fn gateway(striking: &mut Striking) {
    let up = striking.cluster.up();
    let Some(leader) = striking.cluster.data_leader() else { return };
    let others: Vec<_> = up.into_iter().filter(|node| *node != leader).collect();
    let Some(gateway) = striking.victim(&others) else { return };
    let clients = striking.cluster.clients_near(gateway);
    let nodes = striking.cluster.nodes().into_iter().filter(|node| *node != gateway);
    let nodes = Hosts::These(nodes.map(|node| Host::Node(node.0)).collect());
    let mut rules = Rule::cut(Hosts::node(gateway.0), Hosts::node(leader.0)).both_ways().to_vec();
    rules.extend(Rule::cut(clients, nodes).both_ways());
    let words = "the first and the second, which leads, do not reach each other";
    striking.while_it_lasts(&[gateway, leader], words, rules).await;
}

/// All machines that are not among some.
fn others(striking: &Striking, inside: &Hosts) -> Hosts {
    let all = striking.cluster.net().with_map(|map| map.hosts(|_, _, _| true));
    match inside {
        Hosts::All => Hosts::These(BTreeSet::new()),
        Hosts::These(inside) => Hosts::These(all.difference(inside).copied().collect()),
    }
}
