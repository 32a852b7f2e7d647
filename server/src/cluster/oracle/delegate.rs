//! Whose proposer runs the rounds of a node.
//!
//! One proposer a room, beside a time server: fewer proposers meet less often, and a round of the other city's node
//! makes one trip between the cities, and not two. The rule needs no agreement: any proposer is as safe as any other,
//! and two nodes that see the cluster differently only choose differently.

use std::collections::BTreeMap;

use crate::{ids::NodeId, placement::locality::Locality};

/// A node with a time server of the active set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) node: NodeId,
    pub(super) locality: Locality,
    /// Whether it can be asked at the moment; this node always can.
    pub(super) is_reached: bool,
}

/// The node whose proposer decides for node `me` in `here`: this one's, or another's. In the city that most time
/// servers are in it is the first node of the same room, or of another room of that city where the room has none; in
/// any other city the first node of that one.
pub(super) fn choose(me: NodeId, here: &Locality, hosts: &[Host]) -> NodeId {
    let mut cities: BTreeMap<&str, usize> = BTreeMap::new();
    for host in hosts {
        *cities.entry(&host.locality.city).or_default() += 1;
    }
    // Of two with as many the first by name.
    let most = cities.iter().max_by_key(|(name, count)| (**count, std::cmp::Reverse(**name)));
    let Some((home, _)) = most else { return me };
    let at_home = hosts.iter().filter(|host| host.is_reached && host.locality.city == **home);
    let first = at_home.min_by_key(|host| (host.locality.room != here.room, host.node));
    first.map_or(me, |host| host.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(city: &str, room: &str) -> Locality {
        Locality { city: city.to_owned(), room: room.to_owned() }
    }

    /// Two nodes in each room of the first city, one in the other city; those that are not reached.
    fn hosts(away: &[u64]) -> Vec<Host> {
        let places = [("c1", "a"), ("c1", "a"), ("c1", "b"), ("c1", "b"), ("c2", "c")];
        let host = |(node, (city, room)): (u64, (&str, &str))| Host {
            node: NodeId(node),
            locality: at(city, room),
            is_reached: !away.contains(&node),
        };
        (1..).zip(places).map(host).collect()
    }

    #[test]
    fn one_proposer_a_room_and_none_in_the_other_city() {
        let chosen =
            |me, city, room, away: &[u64]| choose(NodeId(me), &at(city, room), &hosts(away)).0;
        assert_eq!([1, 2].map(|me| chosen(me, "c1", "a", &[])), [1, 1]);
        assert_eq!([3, 4].map(|me| chosen(me, "c1", "b", &[])), [3, 3]);
        assert_eq!(chosen(5, "c2", "c", &[]), 1);
        // The first of the room is away; then the room; then the city.
        assert_eq!(chosen(2, "c1", "a", &[1]), 2);
        assert_eq!(chosen(7, "c1", "a", &[1, 2]), 3);
        assert_eq!(chosen(5, "c2", "c", &[1]), 2);
        assert_eq!(chosen(5, "c2", "c", &[1, 2, 3, 4]), 5, "it proposes by itself");
    }

    #[test]
    fn without_time_servers_everybody_proposes() {
        assert_eq!(choose(NodeId(3), &at("c1", "b"), &[]), NodeId(3));
    }
}
