//! Who is where, and who reaches whom at the moment: places of machines, and rules that hold over their links.
//!
//! Pure: faults add rules and take them away, lines ask. Several rules may be about one link: one cut is enough, and
//! what slows it down multiplies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::travel::Link;
use crate::scenario::{Network, Topology};

/// A machine: of a node, by its id, or of a client, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A node's.
    Node(u64),
    /// A client's.
    Client(u64),
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Node(node) => write!(f, "node {node}"),
            Host::Client(client) => write!(f, "client {client}"),
        }
    }
}

/// Some machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All of them, also those that come later.
    All,
    /// These.
    These(BTreeSet<Host>),
}

impl Hosts {
    /// One node.
    pub fn node(node: u64) -> Hosts {
        Hosts::These(BTreeSet::from([Host::Node(node)]))
    }

    fn has(&self, host: Host) -> bool {
        match self {
            Hosts::All => true,
            Hosts::These(these) => these.contains(&host),
        }
    }
}

/// What is wrong with the links from some machines to others, in that direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who sends.
    pub from: Hosts,
    /// To whom.
    pub to: Hosts,
    /// What becomes of it.
    pub effect: Effect,
}

/// What becomes of frames that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing arrives.
    Cut,
    /// How many times slower.
    Slower(u64),
}

impl Rule {
    /// Nothing arrives from some machines at others.
    pub fn cut(from: Hosts, to: Hosts) -> Rule {
        Rule { from, to, effect: Effect::Cut }
    }

    /// The same rule for both directions.
    pub fn both_ways(self) -> [Rule; 2] {
        let back = Rule { from: self.to.clone(), to: self.from.clone(), effect: self.effect };
        [self, back]
    }

    fn is_about(&self, from: Host, to: Host) -> bool {
        from != to && self.from.has(from) && self.to.has(to)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    city: String,
    room: String,
}

/// All machines, and all rules that hold at the moment.
#[derive(Debug)]
pub struct Map {
    network: Network,
    places: BTreeMap<Host, Place>,
    rules: BTreeMap<u64, Vec<Rule>>,
    rules_made: u64,
    is_mended: bool,
}

impl Map {
    /// The nodes of a topology, nothing cut.
    pub fn new(network: &Network, topology: &Topology) -> Map {
        let place = |node: &crate::scenario::Node| {
            let place = Place { city: node.city.clone(), room: node.room.clone() };
            (Host::Node(node.id), place)
        };
        Map {
            network: network.clone(),
            places: topology.nodes.iter().map(place).collect(),
            rules: BTreeMap::new(),
            rules_made: 0,
            is_mended: false,
        }
    }

    /// Puts a client into the room that a node is in.
    pub fn settle(&mut self, client: u64, node: u64) {
        if let Some(place) = self.places.get(&Host::Node(node)).cloned() {
            self.places.insert(Host::Client(client), place);
        }
    }

    /// All machines that a condition on city and room holds for.
    pub fn hosts(&self, mut is_wanted: impl FnMut(Host, &str, &str) -> bool) -> BTreeSet<Host> {
        let wanted = self.places.iter().filter(|(host, place)| {
            let Place { city, room } = place;
            is_wanted(**host, city, room)
        });
        wanted.map(|(host, _)| *host).collect()
    }

    /// Rules that hold from now on; what is returned ends them.
    pub fn add(&mut self, rules: Vec<Rule>) -> u64 {
        self.rules_made += 1;
        self.rules.insert(self.rules_made, rules);
        self.rules_made
    }

    /// Ends rules; whether they still held.
    pub fn remove(&mut self, rules: u64) -> bool {
        self.rules.remove(&rules).is_some()
    }

    /// Ends all rules: everything is mended.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.is_mended = true;
    }

    /// Whether everything is mended. From then on no unary call breaks by itself, though streams go on to: a caller
    /// whose request has no id could not be told what became of it.
    pub fn is_mended(&self) -> bool {
        self.is_mended
    }

    /// Whether frames get through.
    pub fn is_clear(&self, from: Host, to: Host) -> bool {
        let mut rules = self.rules.values().flatten();
        !rules.any(|rule| rule.effect == Effect::Cut && rule.is_about(from, to))
    }

    /// The link between two machines, as it is at the moment.
    pub fn link(&self, from: Host, to: Host) -> Link {
        let latency = match (self.places.get(&from), self.places.get(&to)) {
            (Some(from), Some(to)) if from.city != to.city => self.network.other_city,
            (Some(from), Some(to)) if from.room != to.room => self.network.same_city,
            _ => self.network.same_room,
        };
        let bounds = latency.unwrap_or(self.network.latency());
        let slower = self.rules.values().flatten().filter(|rule| rule.is_about(from, to));
        let slower = slower.fold(1_u64, |slower, rule| match rule.effect {
            Effect::Cut => slower,
            Effect::Slower(times) => slower.saturating_mul(times),
        });
        Link {
            latency_us_min: bounds.latency_min_us,
            latency_us_max: bounds.latency_max_us,
            slower,
            bandwidth: self.network.bandwidth_mbit_s,
            loss: self.network.loss,
            breaks: self.network.breaks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Latency;

    const FIRST: Host = Host::Node(1);

    fn map() -> Map {
        let latency = |us| Some(Latency { latency_min_us: us, latency_max_us: us });
        let network = Network {
            same_room: latency(1),
            same_city: latency(2),
            other_city: latency(3),
            ..Network::default()
        };
        let mut map = Map::new(&network, &Topology::default());
        map.settle(0, 3);
        map
    }

    #[test]
    fn a_link_is_as_long_as_its_ends_are_apart() {
        let map = map();
        let us = |from, to| map.link(from, to).latency_us_max;
        assert_eq!(us(FIRST, Host::Node(2)), 1);
        assert_eq!(us(FIRST, Host::Node(3)), 2);
        assert_eq!(us(FIRST, Host::Node(5)), 3);
        assert_eq!(
            (us(Host::Client(0), Host::Node(4)), us(Host::Node(5), Host::Client(0))),
            (1, 3)
        );
        let plain = Map::new(&Network::default(), &Topology::default());
        let most = Network::default().latency_max_us;
        assert_eq!(plain.link(FIRST, Host::Node(5)).latency_us_max, most);
    }

    #[test]
    fn cuts_have_a_direction_and_end_one_by_one() {
        let mut map = map();
        let out = map.add(vec![Rule::cut(Hosts::node(1), Hosts::All)]);
        let whole = map.add(Rule::cut(Hosts::node(1), Hosts::node(2)).both_ways().to_vec());
        let clear = |map: &Map, from, to| map.is_clear(Host::Node(from), Host::Node(to));
        assert_eq!((clear(&map, 1, 3), clear(&map, 3, 1)), (false, true));
        assert_eq!((clear(&map, 1, 2), clear(&map, 2, 1), clear(&map, 1, 1)), (false, false, true));
        assert!(!map.is_clear(FIRST, Host::Client(7)) && map.is_clear(Host::Client(7), FIRST));
        assert!(map.remove(out) && !map.remove(out));
        assert_eq!((clear(&map, 1, 3), clear(&map, 1, 2)), (true, false));
        map.clear();
        assert!(clear(&map, 1, 2) && !map.remove(whole));
    }

    #[test]
    fn slow_links_multiply() {
        let mut map = map();
        let slower = |to| Rule { from: Hosts::node(1), to, effect: Effect::Slower(5) };
        map.add(vec![slower(Hosts::All)]);
        let second = map.add(vec![slower(Hosts::node(2))]);
        let times = |map: &Map, from, to| map.link(Host::Node(from), Host::Node(to)).slower;
        assert_eq!((times(&map, 1, 2), times(&map, 1, 3), times(&map, 2, 1)), (25, 5, 1));
        map.remove(second);
        assert_eq!(times(&map, 1, 2), 5);
        assert!(map.is_clear(FIRST, Host::Node(2)));
    }

    #[test]
    fn hosts_are_found_by_where_they_are() {
        let found = map().hosts(|_, city, room| city == "c1" && room == "B");
        assert_eq!(found, BTreeSet::from([Host::Node(3), Host::Node(4), Host::Client(0)]));
    }
}
