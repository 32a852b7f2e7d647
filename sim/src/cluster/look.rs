//! What is looked at while a run goes on: who leads what, and whether everything is where it belongs.
//!
//! Looking changes nothing: it reads what nodes hold in memory, sends no message and draws nothing. Who leads is what
//! Raft's state says, not a vote: a restarted leader's vote is still for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use quintet_server::{
    cluster::state::NodeState,
    ids::{NodeId, RangeId, SYSTEM_RANGE},
    range::replica::Replica,
};

use super::Cluster;
use crate::timeline::What;

impl Cluster {
    /// The node that leads the first range of data; the one of the highest term, if two think so.
    pub fn data_leader(&self) -> Option<NodeId> {
        self.highest_leader(RangeId(2))
    }

    /// The same of the system range.
    pub fn system_leader(&self) -> Option<NodeId> {
        self.highest_leader(SYSTEM_RANGE)
    }

    fn highest_leader(&self, range: RangeId) -> Option<NodeId> {
        let mut leaders: Vec<_> = self
            .replicas()
            .into_iter()
            .filter(|(_, replica)| replica.range == range)
            .filter_map(|(node, replica)| Some((leads(&replica)?, node)))
            .collect();
        leaders.sort();
        leaders.last().map(|(_, node)| *node)
    }

    /// Whether every node has one replica of every range, which votes, and there is no other; `Err` says
    /// where not.
    pub fn complete(&self) -> Result<(), String> {
        let nodes: BTreeSet<_> = self.machines.keys().copied().collect();
        let mut led = BTreeSet::new();
        for (_, replica) in self.replicas() {
            if leads(&replica).is_none() {
                continue;
            }
            let members = replica.members();
            let whole = (nodes.len(), nodes.len());
            if members.is_joint() || members.count() != whole || members.nodes() != nodes {
                return Err(format!("{} has {members:?}", replica.range));
            }
            led.insert(replica.range);
        }
        if led.len() < self.ranges { Err("a range has no leader".to_owned()) } else { Ok(()) }
    }

    /// Whether every range is led from the preferred room; `Err` says which is not.
    pub fn led_at_home(&self) -> Result<(), String> {
        let preferred = self.topology.preferred_room();
        let mut leaders: BTreeMap<RangeId, (u64, NodeId)> = BTreeMap::new();
        for (node, replica) in self.replicas() {
            let Some(term) = leads(&replica) else { continue };
            let led = leaders.entry(replica.range).or_insert((term, node));
            *led = (*led).max((term, node));
        }
        for range in 1..=self.ranges as u64 {
            match leaders.get(&RangeId(range)) {
                Some((_, node)) if preferred.contains(&node.0) => {}
                Some((_, node)) => return Err(format!("range {range} is led by {node}")),
                None => return Err(format!("range {range} has no leader")),
            }
        }
        Ok(())
    }

    /// Notes who leads what, and that nobody else did in the same term.
    pub fn look(&self) {
        let mut leaders = self.leaders.lock();
        for (node, replica) in self.replicas() {
            let Some(term) = leads(&replica) else { continue };
            let range = replica.range;
            let known = leaders.entry((range, term)).or_insert_with(|| {
                self.note(What::Leads { node: node.0, range: range.0, term });
                node
            });
            if *known != node {
                let line = format!("{range}: {known} and {node} both led term {term}");
                let mut broken = self.broken.lock();
                // Once: it is seen again at every look.
                if !broken.contains(&line) {
                    broken.push(line);
                }
            }
        }
    }

    /// How many leaders were elected, of all ranges.
    pub fn elections(&self) -> u64 {
        self.leaders.lock().len() as u64
    }

    /// Raft snapshots that were installed, on all nodes.
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed) + self.now(installed)
    }

    /// Requests that were refused as overloaded, on all nodes.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed) + self.now(refused)
    }

    /// A figure of all nodes that run, added up.
    fn now(&self, figure: fn(&NodeState) -> u64) -> u64 {
        let running =
            self.machines.values().filter_map(|machine| machine.lock().running.lock().clone());
        running.map(|node_state| figure(&node_state)).sum()
    }

    /// Whether a node runs, with all its replicas, and knows who leads each range.
    pub fn is_ready(&self, node: NodeId) -> bool {
        let replicas = self.replicas();
        let mine = replicas.iter().filter(|(on, _)| *on == node);
        let led = mine.filter(|(_, replica)| replica.raft.progress().leader.is_some());
        led.count() >= self.ranges
    }

    /// Whether a node installs a raft snapshot at the moment.
    pub fn is_installing(&self, node: NodeId) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let running = machine.lock().running.lock().clone();
        running.is_some_and(|node| node.router().metrics().snapshots.installing.get() > 0)
    }

    /// The replicas of nodes that are up.
    pub(super) fn replicas(&self) -> Vec<(NodeId, Replica)> {
        let mut out = Vec::new();
        for (node, machine) in &self.machines {
            let running = machine.lock().running.lock().clone();
            if let Some(node_state) = running {
                out.extend(node_state.replicas().into_iter().map(|replica| (*node, replica)));
            }
        }
        out
    }

    /// Broken invariants so far.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().clone()
    }
}

/// The term that a replica leads its range in. Its vote alone does not say so: a restarted leader's is still
/// for itself.
fn leads(replica: &Replica) -> Option<u64> {
    let is_leader = replica.raft.progress().is_leader();
    replica.raft.leads().filter(|_| is_leader)
}

/// Raft snapshots that a node has installed since its start.
pub(super) fn installed(node: &NodeState) -> u64 {
    node.router().metrics().snapshots.received.get()
}

/// Requests that a node has refused as overloaded since its start.
pub(super) fn refused(node: &NodeState) -> u64 {
    node.router().metrics().requests_refused.get()
}
