//! Which nodes there are, and where.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::{ScenarioError, ensure};

/// More nodes than this are not simulated.
pub const NODES_MAX: usize = 64;

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// All nodes; at most [`NODES_MAX`].
    pub nodes: Vec<Node>,
}

/// One node and its locality.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Id, from 1, no two alike.
    pub id: u64,
    /// City: rooms of one city are near each other.
    pub city: String,
    /// Room: what fails together. A room lies in one city.
    pub room: String,
}

impl Default for Topology {
    fn default() -> Topology {
        let node = |id, city: &str, room: &str| Node { id, city: city.into(), room: room.into() };
        Topology {
            nodes: vec![
                node(1, "c1", "A"),
                node(2, "c1", "A"),
                node(3, "c1", "B"),
                node(4, "c1", "B"),
                node(5, "c2", "C"),
            ],
        }
    }
}

impl Topology {
    /// The city with most nodes, the first by name where several have as many.
    pub fn main_city(&self) -> &str {
        let in_city = |city: &str| self.nodes.iter().filter(|node| node.city == city).count();
        let first = self.nodes.iter().min_by(|a, b| {
            in_city(&b.city).cmp(&in_city(&a.city)).then_with(|| a.city.cmp(&b.city))
        });
        first.map_or("", |node| &node.city)
    }

    /// The room that leaders prefer: the first, by name, of the main city.
    pub fn first_room(&self) -> &str {
        let city = self.main_city();
        let rooms = self.nodes.iter().filter(|node| node.city == city).map(|node| &node.room);
        rooms.min().map_or("", |room| room)
    }

    /// The nodes of the room that leaders prefer.
    pub fn preferred_room(&self) -> Vec<u64> {
        self.in_room(self.first_room())
    }

    /// The nodes of a room.
    pub fn in_room(&self, room: &str) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.room == room).map(|node| node.id).collect()
    }

    /// The nodes of a city.
    pub fn in_city(&self, city: &str) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.city == city).map(|node| node.id).collect()
    }

    pub(super) fn validate(&self) -> Result<(), ScenarioError> {
        ensure(
            (1..=NODES_MAX).contains(&self.nodes.len()),
            "topology.nodes",
            format!("must be 1 to {NODES_MAX} nodes"),
        )?;
        let mut ids = BTreeSet::new();
        for Node { id, city, room } in &self.nodes {
            ensure(*id > 0, "topology.nodes", "ids begin with 1")?;
            ensure(ids.insert(id), "topology.nodes", format!("id {id} is given twice"))?;
            ensure(
                !city.is_empty() && !room.is_empty(),
                "topology.nodes",
                format!("node {id} needs a city and a room"),
            )?;
            let elsewhere = self.nodes.iter().find(|n| n.room == *room && n.city != *city);
            ensure(
                elsewhere.is_none(),
                "topology.nodes",
                format!("room {room:?} of node {id} lies in two cities"),
            )?;
        }
        Ok(())
    }
}
