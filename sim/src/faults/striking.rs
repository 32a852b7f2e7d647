//! A strike under way: what it may touch, whom it hits, and what is noted of it.
//!
//! Whom it hits is drawn from dice of its own, never from the run's generator: so a strike that is left out moves no
//! other.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use quintet_server::ids::NodeId;
use tokio::time::sleep;

use crate::{
    cluster::Cluster,
    crowd::Crowd,
    dice::Dice,
    net::map::Rule,
    plan::Strike,
    scenario::{Links, Who},
    timeline::What,
};

/// How often each kind of fault happened; of those that have several forms, each form by itself.
pub type Fired = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// A strike under way, and what it may touch.
pub(super) struct Striking {
    pub(super) cluster: Arc<Cluster>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) fired: Fired,
    pub(super) strike: Strike,
    pub(super) dice: Dice,
}

impl Striking {
    /// Notes that the strike has hit something.
    pub(super) fn begins(&self, nodes: &[NodeId], words: &str) {
        self.begins_as(self.strike.fault.name(), nodes, words);
    }

    /// Notes that the strike has hit something, and counts it under a name of its own: that of its kind,
    /// and after a blank what distinguishes it.
    pub(super) fn begins_as(&self, counted: &'static str, nodes: &[NodeId], words: &str) {
        let kind = self.strike.fault.name();
        *self.fired.lock().entry(counted).or_default() += 1;
        self.cluster.note(What::Begins {
            strike: self.strike.number,
            kind: kind.to_owned(),
            nodes: nodes.iter().map(|node| node.0).collect(),
            words: words.to_owned(),
        });
    }

    /// Notes that it is over.
    pub(super) fn ends(&self) {
        let kind = self.strike.fault.name().to_owned();
        self.cluster.note(What::Ends { strike: self.strike.number, kind });
    }

    /// Waits for as long as it lasts.
    pub(super) async fn last(&self) {
        sleep(self.strike.lasts).await;
    }

    /// The node that is hit, of some that may be: the one that the fault names, the leader, or one at
    /// random.
    pub(super) fn victim(&mut self, of: &[NodeId]) -> Option<NodeId> {
        let fault = &self.strike.fault;
        let chosen = match (fault.node, fault.who) {
            (Some(node), _) => Some(NodeId(node)),
            (None, Some(Who::Leader)) => self.cluster.data_leader(),
            (None, Some(Who::Any) | None) => self.dice.pick(of),
        };
        chosen.filter(|node| of.contains(node))
    }

    /// The links of a node that are hit: those that the fault names, or drawn ones of those that its kind
    /// takes.
    pub(super) fn links(&mut self) -> Links {
        let fault = &self.strike.fault;
        let drawn = self.dice.pick(fault.kind.links());
        fault.links.or(drawn).unwrap_or(Links::All)
    }

    /// Another node.
    pub(super) fn other_than(&mut self, node: NodeId) -> Option<NodeId> {
        let mut others = self.cluster.nodes();
        others.retain(|other| *other != node);
        self.dice.pick(&others)
    }

    /// Lets rules of the network hold for as long as the strike lasts.
    pub(super) async fn while_it_lasts(&self, nodes: &[NodeId], words: &str, rules: Vec<Rule>) {
        self.begins(nodes, words);
        let rules = self.cluster.net().add(rules);
        self.last().await;
        self.cluster.net().remove(rules);
        self.ends();
    }

    /// The room that is hit: the one that the fault names, or the one that leaders prefer; and its nodes.
    pub(super) fn room(&self) -> (&str, Vec<NodeId>) {
        let topology = self.cluster.topology();
        let room = self.strike.fault.room.as_deref().unwrap_or(topology.first_room());
        (room, topology.in_room(room).into_iter().map(NodeId).collect())
    }

    /// The city that is hit: the one that the fault names, or the main one; and its nodes.
    pub(super) fn city(&self) -> (&str, Vec<NodeId>) {
        let topology = self.cluster.topology();
        let city = self.strike.fault.city.as_deref().unwrap_or(topology.main_city());
        (city, topology.in_city(city).into_iter().map(NodeId).collect())
    }

    /// A node at random, other than one, that may be killed alone: a majority stays up.
    pub(super) fn single_other_than(&mut self, node: NodeId) -> Option<NodeId> {
        let mut up = self.cluster.up();
        let may_be = up.len() > self.cluster.nodes().len() / 2 + 1;
        up.retain(|other| *other != node);
        self.dice.pick(&up).filter(|_| may_be)
    }

    /// A node that may be killed alone: a majority stays up.
    pub(super) fn single(&mut self) -> Option<NodeId> {
        let up = self.cluster.up();
        let victim = self.victim(&up);
        victim.filter(|_| up.len() > self.cluster.nodes().len() / 2 + 1)
    }
}
