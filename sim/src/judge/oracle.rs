//! Does the timestamp oracle keep its promises? Judged as the run goes, against a ghost clock.
//!
//! | invariant | says |
//! |---|---|
//! | O1 | what a time server told its clock to be never falls, over its restarts too |
//! | O2 | where a block is issued, a majority of the servers of its epoch hold a clock at or above it |
//! | O3 | a block is above every block that was issued before it was asked for |
//!
//! The ghost clock is the highest block that was issued so far, by whatever proposer. No node has it: here is one place
//! that sees all of them. Where a majority of the time servers is lost with their disks, what only they had issued or
//! were answered counts no more, unless a server that is left holds it. A write whose block is not above what its
//! leader knew is told by the leader itself.
//!
//! The machines by themselves are checked in random schedules and by a model checker (`sim/src/rounds/`); this judge
//! looks at what nodes make of them, with disks, links, delegation and restarts.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::Violation;

/// The name of this judge.
const JUDGE: &str = "oracle";

/// What the oracle did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// A node asks for a round, under a number of its own.
    Asked(u64),
    /// It has got a block.
    Answered(u64, u64),
    /// A block was issued by these servers.
    Issued(Vec<u64>, u64),
    /// A time server has told its clock.
    Clock(u64, u64),
    /// A write got this block, which is not fresh.
    NotFresh(u64),
    /// Its disk is lost, as those of most time servers, and with it this one.
    Lost(u64),
}

/// The judge, with what it has seen.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The ghost clock.
    highest: u64,
    /// By node: the highest block that it has issued or got.
    by_node: BTreeMap<u64, u64>,
    /// By node and number: the ghost clock when it asked.
    asked: BTreeMap<(u64, u64), u64>,
    /// By time server. What one that is lost had told may still publish a block.
    clocks: BTreeMap<u64, u64>,
    /// Time servers that were lost as most were.
    lost: BTreeSet<u64>,
    issued: u64,
    /// The sets of time servers that have issued anything.
    sets: BTreeSet<Vec<u64>>,
}

impl Oracle {
    /// How many blocks were issued.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// How often another set of time servers has begun to issue blocks.
    pub fn changes(&self) -> u64 {
        (self.sets.len() as u64).saturating_sub(1)
    }

    /// Looks at what a node did next; a violation if that must not be.
    pub fn see(&mut self, at_ns: u64, node: u64, did: &Did) -> Option<Violation> {
        let broken = self.broken(node, did)?;
        Some(Violation::new(JUDGE, format!("node {node}: {broken}")).at(at_ns))
    }

    fn broken(&mut self, node: u64, did: &Did) -> Option<String> {
        match did {
            Did::Asked(ticket) => {
                self.asked.insert((node, *ticket), self.highest);
                None
            }
            Did::Answered(ticket, block) => {
                let before = self.asked.remove(&(node, *ticket))?;
                self.saw(node, *block);
                // Its proposer may be lost since.
                self.highest = self.highest.max(*block);
                (*block <= before).then(|| {
                    format!(
                        "O3: it got block {block}, and {before} had been issued before it asked"
                    )
                })
            }
            Did::Issued(servers, block) => {
                self.issued += 1;
                if !self.sets.contains(servers) {
                    self.sets.insert(servers.clone());
                }
                self.saw(node, *block);
                self.highest = self.highest.max(*block);
                let clock = |server| self.clocks.get(server).copied().unwrap_or(0);
                let holds = servers.iter().filter(|server| clock(server) >= *block).count();
                (holds * 2 <= servers.len()).then(|| {
                    let all = servers.len();
                    format!("O2: it issued block {block}, which {holds} of {all} time servers hold")
                })
            }
            Did::Clock(server, clock) => {
                let before = self.clocks.insert(*server, *clock).unwrap_or(0);
                (*clock < before).then(|| {
                    format!("O1: the clock of its time server fell from {before} to {clock}")
                })
            }
            Did::NotFresh(block) => {
                Some(format!("a write got block {block}, and more was known to be published"))
            }
            Did::Lost(server) => {
                self.by_node.remove(&node);
                self.lost.insert(*server);
                let clocks = self.clocks.iter().filter(|(server, _)| !self.lost.contains(server));
                let left = clocks.map(|(_, clock)| clock).chain(self.by_node.values()).max();
                self.highest = self.highest.min(left.copied().unwrap_or(0));
                for before in self.asked.values_mut() {
                    *before = self.highest.min(*before);
                }
                None
            }
        }
    }

    fn saw(&mut self, node: u64, block: u64) {
        let highest = self.by_node.entry(node).or_default();
        *highest = block.max(*highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of the last thing that was done.
    fn last(did: &[(u64, Did)]) -> String {
        let mut judge = Oracle::default();
        let seen: Vec<_> = did.iter().map(|(node, did)| judge.see(0, *node, did)).collect();
        let (last, others) = seen.split_last().expect("something was done");
        assert!(others.iter().all(Option::is_none), "{others:?}");
        last.as_ref().map_or_else(String::new, |violation| violation.words.clone())
    }

    fn clocks(clock: u64) -> Vec<(u64, Did)> {
        [11, 12].map(|server| (server - 10, Did::Clock(server, clock))).into()
    }

    #[test]
    fn each_invariant_is_looked_at() {
        let servers = vec![11, 12, 13];
        let issue = |block| (1, Did::Issued(servers.clone(), block));
        let with = |more: &[(u64, Did)]| last(&[clocks(5), more.to_vec()].concat());
        assert_eq!(with(&[issue(5)]), "");
        assert!(with(&[issue(6)]).contains("O2"), "nobody holds it");
        assert!(with(&[(1, Did::Clock(11, 4))]).contains("O1"));
        let (asked, got) = ((2, Did::Asked(1)), |block| (2, Did::Answered(1, block)));
        assert_eq!(with(&[issue(4), asked.clone(), got(5)]), "");
        assert!(with(&[issue(4), asked.clone(), got(4)]).contains("O3"));
        assert_eq!(with(&[asked.clone(), issue(5), got(5)]), "", "it was issued since");
        // Only node 1 knew of it, and the time servers of nodes 1 and 3 held it.
        let lost = [(1, Did::Lost(11)), (3, Did::Lost(12))];
        let before = [(2, Did::Issued(servers.clone(), 3)), issue(5), asked.clone()];
        let after = |lost: &[(u64, Did)], block| with(&[&before[..], lost, &[got(block)]].concat());
        assert!(after(&[], 4).contains("O3"));
        assert!(after(&lost[..1], 4).contains("O3"), "a server that is left holds it");
        assert_eq!(after(&lost, 4), "");
        assert!(after(&lost, 3).contains("O3"), "another one knows that");
        // Numbers are a node's own.
        assert_eq!(with(&[asked, issue(5), (1, Did::Asked(1)), got(5)]), "");
        assert!(with(&[(1, Did::NotFresh(3))]).contains("block 3"));
    }

    #[test]
    fn sets_of_servers_that_issue_are_counted() {
        let mut judge = Oracle::default();
        let sets = [vec![11], vec![11], vec![11, 12], vec![11]];
        for (set, changes) in sets.into_iter().zip([0, 0, 1, 1]) {
            judge.see(0, 1, &Did::Issued(set, 0));
            assert_eq!(judge.changes(), changes);
        }
    }
}
