//! What a pool knows of its nodes: which there are, how near each stands, what its session is doing, and which
//! one is preferred. It dials nothing and waits for nothing: `pool.rs` does, under the lock that holds this.
//!
//! A node is known by its index, which stays the same while the client lives: nodes are added, never removed,
//! because routes and sessions name them so (`routes.rs`, `Session::node`).
//!
//! Bound: [`NODES_MAX`] nodes, configured and learnt together ([`State::index_of`]).

use std::sync::Arc;

use quintet_proto::v1;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::Error,
    nearness::{Locality, Nearness, nearness},
    retry::Pacer,
    session::Session,
    types::ClusterInfo,
};

/// Nodes that a client keeps in mind.
pub(crate) const NODES_MAX: usize = 64;

/// Everything that changes, under the pool's one lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) preferred: usize,
    /// The session that calls use; `None` while it must be looked for.
    pub(super) current: Option<Arc<Session>>,
    /// What the newest welcome said.
    pub(super) info: Option<ClusterInfo>,
    /// Id and incarnation of the cluster, from the first welcome that had them.
    pub(super) identity: Option<(String, u64)>,
    pub(super) last_dial: Option<Instant>,
    /// Room of the first welcome.
    pub(super) origin_room: Option<u32>,
    /// Where the client stands.
    pub(super) locality: Option<Locality>,
    /// Whether a welcome has come.
    pub(super) met: bool,
    /// Whose turn it is among nodes that are alike to the client.
    turns: usize,
}

#[derive(Debug)]
pub(super) struct Node {
    /// As it was given, or told.
    pub(super) address: String,
    /// As the node itself says.
    pub(super) advertised: String,
    /// Its id, once it is known; 0 before.
    pub(super) id: u64,
    pub(super) nearness: Nearness,
    pub(super) phase: Phase,
    /// In a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<Error>,
}

/// What a node's session is doing.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// Dropping the sender ends the task.
    Dialing {
        _stop: oneshot::Sender<()>,
    },
    Ready {
        session: Arc<Session>,
        _stop: oneshot::Sender<()>,
    },
    Down {
        until: Instant,
    },
}

impl Node {
    fn new(address: String) -> Node {
        Node {
            address,
            advertised: String::new(),
            id: 0,
            nearness: Nearness::default(),
            phase: Phase::Idle,
            failures: 0,
            last_error: None,
        }
    }
}

impl State {
    pub(super) fn new(addresses: Vec<String>, locality: Option<Locality>) -> State {
        State {
            nodes: addresses.into_iter().map(Node::new).collect(),
            preferred: 0,
            current: None,
            info: None,
            identity: None,
            last_dial: None,
            origin_room: None,
            locality,
            met: false,
            turns: 0,
        }
    }

    /// The session of a node, if it is up.
    pub(super) fn ready(&self, index: usize) -> Option<Arc<Session>> {
        match self.nodes.get(index).map(|node| &node.phase) {
            Some(Phase::Ready { session, .. }) if !session.is_closed() => Some(Arc::clone(session)),
            _ => None,
        }
    }

    /// The node at an address, a new one where it is not known; none where there are too many.
    pub(super) fn index_of(&mut self, address: &str) -> Option<usize> {
        let is_it = |node: &Node| node.address == address || node.advertised == address;
        if let Some(known) = self.nodes.iter().position(is_it) {
            return Some(known);
        }
        if self.nodes.len() >= NODES_MAX {
            return None;
        }
        self.nodes.push(Node::new(address.to_owned()));
        Some(self.nodes.len() - 1)
    }

    /// Takes in which nodes there are, and where they stand.
    pub(super) fn meet(&mut self, places: Vec<v1::NodePlace>) {
        for place in places {
            let by_id = self.nodes.iter().position(|node| node.id != 0 && node.id == place.node_id);
            let Some(index) = by_id.or_else(|| self.index_of(&place.client_address)) else {
                continue;
            };
            let nearness = nearness(self.locality.as_ref(), &place);
            if let Some(node) = self.nodes.get_mut(index) {
                node.id = place.node_id;
                node.advertised = place.client_address;
                node.nearness = nearness;
            }
        }
    }

    /// One of the nodes that are nearest to the client, chosen at random; none where it does not say where it
    /// stands.
    pub(super) fn nearest(&self, pacer: &Pacer) -> Option<usize> {
        self.locality.as_ref()?;
        let best = self.nodes.iter().map(|node| node.nearness).min()?;
        let near = (0..self.nodes.len())
            .filter(|index| self.nodes.get(*index).is_some_and(|node| node.nearness == best));
        let near: Vec<usize> = near.collect();
        near.get(pacer.choose(near.len())).copied()
    }

    /// Of the nodes that are as near as one, each in turn; none where the client does not say where it stands.
    pub(super) fn next_near(&mut self, node: usize) -> Option<usize> {
        self.locality.as_ref()?;
        let nearness = self.nodes.get(node)?.nearness;
        let alike = (0..self.nodes.len())
            .filter(|index| self.nodes.get(*index).is_some_and(|node| node.nearness == nearness));
        let alike: Vec<usize> = alike.collect();
        self.turns = self.turns.wrapping_add(1);
        alike.get(self.turns.checked_rem(alike.len())?).copied()
    }

    /// The session in use, if it is alive.
    pub(super) fn live(&self) -> Option<Arc<Session>> {
        self.current.as_ref().filter(|session| !session.is_closed()).map(Arc::clone)
    }

    /// Indices of the nodes: the preferred one, then near ones before far ones.
    pub(super) fn order(&self) -> Vec<usize> {
        let (count, first) = (self.nodes.len(), self.preferred);
        let mut order: Vec<usize> = (0..count).map(|offset| (first + offset) % count).collect();
        if let Some(others) = order.get_mut(1..) {
            others.sort_by_key(|index| self.nodes.get(*index).map(|node| node.nearness));
        }
        order
    }

    pub(super) fn prefer_next(&mut self) {
        self.preferred = match self.locality {
            Some(_) => self.order().get(1).copied().unwrap_or(self.preferred),
            None => (self.preferred + 1) % self.nodes.len().max(1),
        };
        self.current = None;
    }

    pub(super) fn is_dialable(&self, index: usize, now: Instant) -> bool {
        match self.nodes.get(index).map(|node| &node.phase) {
            Some(Phase::Idle) => true,
            Some(Phase::Down { until }) => *until <= now,
            _ => false,
        }
    }

    /// The reason, where every node refuses this client.
    pub(super) fn refusal(&self) -> Option<Error> {
        let refusal = |node: &Node| match (&node.phase, &node.last_error) {
            (Phase::Down { .. }, Some(error)) if error.is_refusal() => Some(error.clone()),
            _ => None,
        };
        let refusals: Option<Vec<Error>> = self.nodes.iter().map(refusal).collect();
        refusals?.into_iter().next()
    }
}
