//! The default placement policy, as pure rules: five voters 2-2-1, leaders in the rooms of city 1.
//!
//! *City 1* is the city with the most nodes (ties: by name); its rooms by name are A and B; C is the
//! room of the other city.

use std::collections::BTreeMap;

use crate::{
    ids::{NodeId, RangeId},
    placement::{disk::Condition, locality::Locality},
    planted::{self, Bug},
};

/// A voter of a range as a place for its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its replica of the range.
    pub replica: u64,
    /// Its locality.
    pub city: String,
    /// Its locality.
    pub room: String,
    /// Live and caught up.
    pub fit: bool,
    /// What its disk is good for.
    pub disk: Condition,
    /// About to stop.
    pub draining: bool,
}

impl Candidate {
    /// Whether it could take writes if it led, which it may as soon as it is fit.
    pub fn could_take_writes(&self) -> bool {
        !self.draining && self.disk == Condition::Well
    }
}

/// Rooms in the order in which leaders prefer them: those of the city with the most nodes first,
/// then by name.
fn room_order<'a>(
    places: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Vec<(&'a str, &'a str)> {
    let mut by_city: BTreeMap<&str, usize> = BTreeMap::new();
    for (city, _) in places.clone() {
        *by_city.entry(city).or_default() += 1;
    }
    let size = |city: &str| by_city.get(city).copied().unwrap_or(0);
    let mut rooms: Vec<_> = places.collect();
    rooms.sort_by(|a, b| size(b.0).cmp(&size(a.0)).then_with(|| a.cmp(b)));
    rooms.dedup();
    rooms
}

/// Where a range's leader belongs among its voters; none if no voter is fit.
///
/// The first room in preference that has a fit voter; within it ranges spread evenly over the nodes. Voters
/// whose disks are nearly full are asked only where no other is fit: reads and removals go on there. One whose
/// disk does not answer leads nothing.
pub fn leader_home(range: RangeId, candidates: &[Candidate]) -> Option<&Candidate> {
    if planted::active(Bug::FullDiskKeepsLeaders) {
        // The careless hand: "a disk is no matter of placement".
        return home_among(range, candidates, &[Condition::Well, Condition::NearlyFull]);
    }
    home_among(range, candidates, &[Condition::Well])
        .or_else(|| home_among(range, candidates, &[Condition::NearlyFull]))
}

/// As [`leader_home`], among the voters with such disks.
fn home_among<'a>(
    range: RangeId,
    candidates: &'a [Candidate],
    disks: &[Condition],
) -> Option<&'a Candidate> {
    let places = candidates.iter().map(|voter| (voter.city.as_str(), voter.room.as_str()));
    for (city, room) in room_order(places) {
        let mut here: Vec<_> = candidates
            .iter()
            .filter(|voter| voter.city == city && voter.room == room)
            .filter(|voter| voter.fit && !voter.draining)
            .filter(|voter| disks.contains(&voter.disk))
            .collect();
        here.sort_by_key(|voter| voter.node);
        let spread = usize::try_from(range.0.saturating_sub(1)).unwrap_or(0);
        if let Some(count) = std::num::NonZeroUsize::new(here.len()) {
            return here.get(spread % count).copied();
        }
    }
    None
}

/// The nodes of these voters in the order in which they are home to the range's leader: the first is its
/// home, and each other one would be if those before it were not fit. Only fit voters are in it.
pub fn succession(range: RangeId, mut candidates: Vec<Candidate>) -> Vec<NodeId> {
    let mut order = Vec::with_capacity(candidates.len());
    while let Some(home) = leader_home(range, &candidates).map(|voter| voter.node) {
        order.push(home);
        candidates
            .iter_mut()
            .filter(|voter| voter.node == home)
            .for_each(|voter| voter.fit = false);
    }
    order
}

/// Why a range's leader is on a node, in words.
pub fn reason(candidates: &[Candidate], range: RangeId, leader: NodeId) -> String {
    let places = candidates.iter().map(|voter| (voter.city.as_str(), voter.room.as_str()));
    let order = room_order(places);
    let Some(voter) = candidates.iter().find(|voter| voter.node == leader) else {
        return "leads, but is no voter: a move is under way".to_owned();
    };
    let rank = order.iter().position(|place| *place == (voter.city.as_str(), voter.room.as_str()));
    let any_disk = [Condition::Well, Condition::NearlyFull, Condition::Hung];
    let but_for_disks = home_among(range, candidates, &any_disk);
    let trouble = but_for_disks.and_then(|voter| match voter.disk {
        Condition::Well => None,
        Condition::NearlyFull => Some(format!("the disk of {} is nearly full", voter.node)),
        Condition::Hung => Some(format!("the disk of {} does not answer", voter.node)),
    });
    match (leader_home(range, candidates), rank) {
        (Some(home), _) if home.node == leader && home.disk == Condition::NearlyFull => {
            "no fit voter has space on its disk".to_owned()
        }
        (Some(home), _) if home.node == leader && trouble.is_some() => {
            format!("{}, so {} in room {}", trouble.unwrap_or_default(), leader, voter.room)
        }
        (Some(home), Some(0)) if home.node == leader => format!("at home in room {}", voter.room),
        (Some(home), _) if home.node == leader => {
            format!("no fit voter in a preferred room, so room {}", voter.room)
        }
        (Some(home), _) => format!("moving to {} in room {}", home.node, home.room),
        (None, _) => "no voter is fit".to_owned(),
    }
}

/// The voters of a new cluster, lowest id first. For five: two rooms with two nodes each in one city
/// and one node in another where the nodes stand so, else whatever stands in most rooms.
pub fn choose_voters(live: &[(NodeId, Locality)], wanted: usize) -> Result<Vec<NodeId>, String> {
    let mut rooms: BTreeMap<(&str, &str), Vec<NodeId>> = BTreeMap::new();
    for (node, at) in live {
        rooms.entry((&at.city, &at.room)).or_default().push(*node);
    }
    let places = live.iter().map(|(_, at)| (at.city.as_str(), at.room.as_str()));
    let order = room_order(places);
    for nodes in rooms.values_mut() {
        nodes.sort();
        nodes.reverse();
    }
    // One node a room in turn: 5 nodes over rooms of 2, 2 and 1 come out as 2-2-1.
    let mut chosen = Vec::new();
    while chosen.len() < wanted {
        let before = chosen.len();
        for place in &order {
            if chosen.len() < wanted
                && let Some(node) = rooms.get_mut(place).and_then(Vec::pop)
            {
                chosen.push(node);
            }
        }
        if chosen.len() == before {
            return Err(format!("{wanted} nodes are needed, {before} are there"));
        }
    }
    chosen.sort();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: u64, city: &str, room: &str) -> Candidate {
        Candidate {
            node: NodeId(node),
            replica: node,
            city: city.to_owned(),
            room: room.to_owned(),
            fit: true,
            disk: Condition::Well,
            draining: false,
        }
    }

    fn five() -> Vec<Candidate> {
        vec![
            voter(1, "c1", "a"),
            voter(2, "c1", "a"),
            voter(3, "c1", "b"),
            voter(4, "c1", "b"),
            voter(5, "c2", "c"),
        ]
    }

    fn home(range: u64, voters: &[Candidate]) -> Option<u64> {
        leader_home(RangeId(range), voters).map(|voter| voter.node.0)
    }

    #[test]
    fn leaders_prefer_a_then_b_then_c_and_spread() {
        let mut voters = five();
        assert_eq!(
            (home(1, &voters), home(2, &voters), home(3, &voters)),
            (Some(1), Some(2), Some(1))
        );
        voters[0].fit = false;
        assert_eq!((home(1, &voters), home(2, &voters)), (Some(2), Some(2)));
        voters[1].draining = true;
        assert_eq!((home(1, &voters), home(2, &voters)), (Some(3), Some(4)));
        voters[2].fit = false;
        voters[3].fit = false;
        assert_eq!(home(1, &voters), Some(5));
        voters[4].fit = false;
        assert_eq!(home(1, &voters), None);
    }

    #[test]
    fn a_leader_whose_disk_is_nearly_full_hands_over_to_a_voter_with_space() {
        let mut voters = five();
        voters[0].disk = Condition::NearlyFull;
        assert_eq!((home(1, &voters), home(2, &voters)), (Some(2), Some(2)));
        assert_eq!(
            reason(&voters, RangeId(1), NodeId(2)),
            "the disk of n1 is nearly full, so n2 in room a"
        );
        assert_eq!(reason(&voters, RangeId(1), NodeId(1)), "moving to n2 in room a");
        // It follows, and where nobody has space everything is as ever: reads go on.
        voters.iter_mut().for_each(|voter| voter.disk = Condition::NearlyFull);
        assert_eq!((home(1, &voters), home(2, &voters)), (Some(1), Some(2)));
        assert_eq!(reason(&voters, RangeId(1), NodeId(1)), "no fit voter has space on its disk");
        // Far away, but with space.
        voters[4].disk = Condition::Well;
        assert_eq!(home(1, &voters), Some(5));
        // What an operator drains stays so.
        voters[4].draining = true;
        assert_eq!(home(1, &voters), Some(1));
    }

    #[test]
    fn a_voter_whose_disk_does_not_answer_leads_nothing() {
        let mut voters = five();
        voters[0].disk = Condition::Hung;
        voters[1].disk = Condition::NearlyFull;
        assert_eq!(home(1, &voters), Some(3));
        assert_eq!(
            reason(&voters, RangeId(1), NodeId(3)),
            "the disk of n1 does not answer, so n3 in room b"
        );
        voters.iter_mut().for_each(|voter| voter.disk = Condition::Hung);
        assert_eq!(home(1, &voters), None);
        assert_eq!(reason(&voters, RangeId(1), NodeId(1)), "no voter is fit");
    }

    #[test]
    fn succession_goes_through_the_rooms_and_spreads_in_each() {
        let order = |range: u64| -> Vec<u64> {
            let nodes = succession(RangeId(range), five());
            nodes.into_iter().map(|node| node.0).collect()
        };
        assert_eq!(order(1), [1, 2, 3, 4, 5]);
        assert_eq!(order(2), [2, 1, 4, 3, 5]);
        assert_eq!(order(3), order(1));
        assert_eq!(succession(RangeId(1), Vec::new()), []);
    }

    #[test]
    fn city_one_is_the_one_with_most_nodes() {
        let voters = vec![
            voter(1, "east", "c"),
            voter(2, "west", "a"),
            voter(3, "west", "a"),
            voter(4, "west", "b"),
            voter(5, "west", "b"),
        ];
        assert_eq!(home(1, &voters), Some(2));
    }

    #[test]
    fn voters_two_two_one() {
        let at = |node, city: &str, room: &str| {
            (NodeId(node), Locality { city: city.to_owned(), room: room.to_owned() })
        };
        let live = vec![
            at(1, "c1", "a"),
            at(2, "c1", "a"),
            at(3, "c1", "a"),
            at(4, "c1", "b"),
            at(5, "c1", "b"),
            at(6, "c2", "c"),
            at(7, "c2", "c"),
        ];
        let chosen = choose_voters(&live, 5).expect("enough nodes");
        assert_eq!(chosen, [1, 2, 4, 5, 6].map(NodeId));
        assert!(choose_voters(&live[..2], 3).is_err());
    }
}
