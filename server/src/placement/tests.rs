//! The commands of `placement/testscripts/`: where leaders and voters belong, and into which ranges a new cluster is
//! divided.
//!
//! ```text
//!   node N city=C room=R      a live node, caught up, with a voter of every range
//!   down N...   up N...       drain N...   undrain N...
//!   disk well N...            disk nearly-full N...       disk hung N...
//!   home range=R [ranges=N]   where the leaders of N ranges belong, from that one on, and why there
//!   why range=R leader=N      what is said of a leader that is somewhere
//!   succession range=R        who would lead if those before it could not
//!   takes-writes              who could take writes if it led
//!   choose voters=N           the voters of a new cluster, of the nodes that are up
//!   divide [ranges=N] [key-bytes-max=N] [POINT...]   the first ranges of a new cluster
//! ```

use std::ops::Range;

use super::{
    disk::Condition,
    initial,
    locality::Locality,
    policy::{self, Candidate},
};
use crate::{
    ids::{NodeId, RangeId},
    testscript::{self, Command},
};

#[test]
fn scripts() {
    testscript::run("placement/testscripts", || {
        let mut scenario = Scenario::default();
        move |command: &mut Command| scenario.run(command)
    });
}

#[derive(Default)]
struct Scenario {
    voters: Vec<Candidate>,
}

fn node_ids(words: &[String]) -> Result<Vec<NodeId>, String> {
    let id = |word: &String| word.parse().map(NodeId).map_err(|_| format!("no node: {word}"));
    words.iter().map(id).collect()
}

fn listed(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "nobody".to_owned();
    }
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// A bound of a span as a script says it.
fn shown(point: &[u8]) -> String {
    match point.iter().all(u8::is_ascii_graphic) {
        true => format!("\"{}\"", point.escape_ascii()),
        false => point.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    }
}

impl Scenario {
    fn run(&mut self, command: &mut Command) -> Result<String, String> {
        let mut words = command.words();
        match command.name() {
            "node" => self.node(command, &words),
            "down" => self.change(&words, |voter| voter.fit = false),
            "up" => self.change(&words, |voter| voter.fit = true),
            "drain" => self.change(&words, |voter| voter.draining = true),
            "undrain" => self.change(&words, |voter| voter.draining = false),
            "disk" if !words.is_empty() => {
                let disk = match words.remove(0).as_str() {
                    "well" => Condition::Well,
                    "nearly-full" => Condition::NearlyFull,
                    "hung" => Condition::Hung,
                    other => return Err(format!("no condition of a disk: {other}")),
                };
                self.change(&words, |voter| voter.disk = disk)
            }
            "divide" => divide(command, &words),
            _ if !words.is_empty() => Err(format!("it takes none of {words:?}")),
            "home" => self.home(command),
            "why" => {
                let (range, leader) = (command.must("range")?, command.must("leader")?);
                Ok(policy::reason(&self.voters, RangeId(range), NodeId(leader)))
            }
            "succession" => {
                let range = RangeId(command.must("range")?);
                Ok(listed(&policy::succession(range, self.voters.clone())))
            }
            "takes-writes" => {
                let could = self.voters.iter().filter(|voter| voter.could_take_writes());
                Ok(listed(&could.map(|voter| voter.node).collect::<Vec<_>>()))
            }
            "choose" => self.choose(command),
            other => Err(format!("no command {other}")),
        }
    }

    fn node(&mut self, command: &mut Command, words: &[String]) -> Result<String, String> {
        let [node] = node_ids(words)?[..] else { return Err("a node has a number".to_owned()) };
        self.voters.push(Candidate {
            node,
            replica: node.0,
            city: command.must("city")?,
            room: command.must("room")?,
            fit: true,
            disk: Condition::Well,
            draining: false,
        });
        Ok(String::new())
    }

    fn change(
        &mut self,
        words: &[String],
        change: impl Fn(&mut Candidate),
    ) -> Result<String, String> {
        for node in node_ids(words)? {
            let voter = self.voters.iter_mut().find(|voter| voter.node == node);
            change(voter.ok_or_else(|| format!("no node {node}"))?);
        }
        Ok(String::new())
    }

    fn home(&self, command: &mut Command) -> Result<String, String> {
        let first: u64 = command.must("range")?;
        let ranges: Range<u64> = first..first + command.may("ranges")?.unwrap_or(1);
        let home = |range| match policy::leader_home(RangeId(range), &self.voters) {
            None => format!("{}: nowhere", RangeId(range)),
            Some(voter) => {
                let why = policy::reason(&self.voters, RangeId(range), voter.node);
                format!("{}: {}, {why}", RangeId(range), voter.node)
            }
        };
        Ok(ranges.map(home).collect::<Vec<_>>().join("\n"))
    }

    fn choose(&self, command: &mut Command) -> Result<String, String> {
        let address = |voter: &Candidate| {
            (voter.node, Locality { city: voter.city.clone(), room: voter.room.clone() })
        };
        let live: Vec<_> = self.voters.iter().filter(|voter| voter.fit).map(address).collect();
        Ok(match policy::choose_voters(&live, command.must("voters")?) {
            Ok(chosen) => listed(&chosen),
            Err(why) => format!("refused: {why}"),
        })
    }
}

fn divide(command: &mut Command, points: &[String]) -> Result<String, String> {
    let ranges = command.may("ranges")?.unwrap_or(0);
    let key_bytes_max = command.may("key-bytes-max")?.unwrap_or(8192);
    let points = match initial::split_points(ranges, points, key_bytes_max) {
        Ok(points) => points,
        Err(why) => return Ok(format!("refused: {why}")),
    };
    // The system range comes first; what that means in stored keys is tested in `cluster/plan.rs`.
    let mut bounds = vec!["the start".to_owned(), "the first key of default".to_owned()];
    bounds.extend(points.iter().map(|point| shown(point)));
    bounds.push("the end".to_owned());
    let spans = bounds.windows(2).zip(1..).map(|(bounds, range)| match bounds {
        [from, to] => format!("{}: from {from} to {to}", RangeId(range)),
        _ => String::new(),
    });
    Ok(spans.collect::<Vec<_>>().join("\n"))
}
