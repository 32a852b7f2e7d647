//! Feeds the judges of Raft and of the oracle as the run goes.
//!
//! What replicas do comes from the nodes themselves (`quintet_server::observe`), at the very moment. For
//! who leads, which membership is in force and on which disks an entry is durable, the cluster is asked
//! then. Looking changes nothing: no draw, no message, no task.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use quintet_server::{
    ids::{NodeId, RangeId, ReplicaId},
    observe::{self, Seen, TimeSeen},
    range::{raft::log_records, replica::Replica},
    storage::{
        Family,
        format::{applied::AppliedRecord, codec, raft::Position},
        keys::{self, MetaKind},
    },
};

use super::{Cluster, current};
use crate::judge::{
    Violation,
    oracle::{Did, Oracle},
    raft::{self, Observation, Raft, Votes, What},
};

/// How many violations are kept: what follows on the first ones says little.
const VIOLATIONS_MAX: usize = 5;

/// A membership: its configurations, as nodes.
type Configs = Vec<Vec<u64>>;

/// The judges of this thread's run, and what they have found.
struct Watch {
    judge: Raft,
    oracle: Oracle,
    /// The membership that was in force when a replica last committed as leader.
    memberships: BTreeMap<(NodeId, RangeId), Configs>,
    found: Vec<Violation>,
}

thread_local! {
    // One run a thread, so this is the run's own.
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Begins to look at this thread's run.
pub(super) fn begin() {
    observe::set_observers(see, see_time);
    WATCH.with_borrow_mut(|watch| {
        *watch = Some(Watch {
            judge: Raft::new(),
            oracle: Oracle::default(),
            memberships: BTreeMap::new(),
            found: Vec::new(),
        });
    });
}

/// What both judges have found so far in a run, and what they have seen.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) violations: Vec<Violation>,
    /// Of the judge of Raft.
    pub(crate) observations: u64,
    /// How many blocks were issued.
    pub(crate) blocks: u64,
    /// How often another set of time servers has begun to issue them.
    pub(crate) time_changes: u64,
}

/// What was found so far in this thread's run.
pub(crate) fn found() -> Found {
    WATCH.with_borrow(|watch| match watch {
        Some(watch) => Found {
            violations: watch.found.clone(),
            observations: watch.judge.observations(),
            blocks: watch.oracle.issued(),
            time_changes: watch.oracle.changes(),
        },
        None => Found::default(),
    })
}

fn see(range: RangeId, seen: Seen) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch
            && let Some(cluster) = current::cluster()
        {
            watch.see(&cluster, range, seen);
        }
    });
}

fn see_time(seen: TimeSeen) {
    WATCH.with_borrow_mut(|watch| {
        let node = current::cluster().and_then(|cluster| cluster.this_node());
        if let (Some(watch), Some(node)) = (watch, node) {
            watch.see_time(node, seen);
        }
    });
}

/// A node loses its disk, and with it this time server, as most do.
pub(super) fn loses_disk(node: NodeId, server: u64) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            let broken = watch.oracle.see(now_ns(), node.0, &Did::Lost(server));
            watch.keep(broken);
        }
    });
}

fn now_ns() -> u64 {
    let now = madsim::time::TimeHandle::current().elapsed();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn position(at: Position) -> raft::Position {
    raft::Position { term: at.term, index: at.index }
}

impl Watch {
    fn see(&mut self, cluster: &Cluster, range: RangeId, seen: Seen) {
        let Some(node) = cluster.this_node() else { return };
        let what = match seen {
            Seen::Opened { applied } => What::Opened { applied: applied.map(position) },
            Seen::Installed { applied } => What::Installed { applied: position(applied) },
            Seen::Applied { at, hash } => What::Applied { at: position(at), hash },
            Seen::Began { at, after } => {
                let Some(replica) = leader(cluster, node, range, at.term) else { return };
                let durable_on = cluster.voters(range, (at.term, replica.id.0));
                let votes = Votes { durable_on, membership: configs(&replica) };
                What::Led { term: at.term, last: after.map(position), votes: Some(votes) }
            }
            Seen::Truncated { first_removed } => {
                let is_left = cluster.has_entry(node, range, first_removed);
                What::Truncated { first_removed, is_left }
            }
            Seen::Committed { at } => {
                let Some(replica) = leader(cluster, node, range, at.term) else { return };
                let configs = configs(&replica);
                let before = self.memberships.insert((node, range), configs.clone());
                let before = before.filter(|before| *before != configs);
                let durable_on = cluster.holders(range, at);
                let memberships = [Some(configs), before].into_iter().flatten().collect();
                What::Committed { at: position(at), durable_on, memberships }
            }
        };
        let at_ns = now_ns();
        let observation = Observation { at_ns, range: range.0, node: node.0, what };
        let broken = self.judge.see(&observation);
        self.keep(broken);
    }

    fn see_time(&mut self, node: NodeId, seen: TimeSeen) {
        let did = match seen {
            TimeSeen::Asked { ticket } => Did::Asked(ticket),
            TimeSeen::Answered { ticket, block } => Did::Answered(ticket, block.0),
            TimeSeen::Issued { config, block } => {
                Did::Issued(config.members.into_iter().map(|server| server.0).collect(), block.0)
            }
            TimeSeen::Clock { server, clock } => Did::Clock(server.0, clock.0),
            TimeSeen::NotFresh { block } => Did::NotFresh(block.0),
        };
        let broken = self.oracle.see(now_ns(), node.0, &did);
        self.keep(broken);
    }

    fn keep(&mut self, broken: Option<Violation>) {
        if self.found.len() < VIOLATIONS_MAX {
            self.found.extend(broken);
        }
    }
}

/// The replica of a node, if it leads in this term: nobody else votes for it and has entries of the
/// term, for whoever follows another leader has noted the vote for that one before.
fn leader(cluster: &Cluster, node: NodeId, range: RangeId, term: u64) -> Option<Replica> {
    let running = cluster.machines.get(&node)?.lock().running.lock().clone()?;
    let replica = running.router().replica(range)?;
    let vote = replica.log.vote()?;
    (vote.term == term && vote.replica == replica.id).then_some(replica)
}

fn configs(replica: &Replica) -> Configs {
    let members = replica.members();
    let config = |voters: &BTreeSet<ReplicaId>| {
        voters.iter().filter_map(|voter| Some(members.holder(*voter)?.0)).collect()
    };
    members.configs.iter().map(config).collect()
}

impl Cluster {
    /// The nodes on whose disks the vote for a leader of a term is, by its replica's id, or one for a later
    /// term. One that lost its disk and is not replaced counts, as does one whose disk is damaged: what it
    /// had told before was true.
    fn voters(&self, range: RangeId, (term, leader): (u64, u64)) -> Vec<u64> {
        let (wiped, damaged) = (self.wiped.lock(), self.damaged.lock());
        let machines = self.machines.iter().filter(|(node, machine)| {
            let disk = &machine.lock().disk;
            let voted = log_records::voted(range, |family, key| disk.durable("log", family, key));
            let has_voted = voted.is_some_and(|(of, to)| of > term || (of, to) == (term, leader));
            has_voted || wiped.contains(node) || damaged.contains(node)
        });
        machines.map(|(node, _)| node.0).collect()
    }

    /// Whether a node's log has an entry at an index on its disk.
    fn has_entry(&self, node: NodeId, range: RangeId, index: u64) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let disk = machine.lock().disk.clone();
        log_records::has_entry(range, index, |family, key| disk.durable("log", family, key))
    }

    /// The nodes on which an entry is durable: in the log or applied. A node that lost its disk and is not
    /// replaced counts: what it had told before was true.
    fn holders(&self, range: RangeId, at: Position) -> Vec<u64> {
        let wiped = self.wiped.lock();
        let machines = self.machines.iter().filter(|(node, machine)| {
            let disk = &machine.lock().disk;
            let applied = || {
                let key = keys::range_meta(range, MetaKind::Applied);
                let record = disk.durable("data", Family::Meta, &key)?;
                codec::decode::<AppliedRecord>(&record).ok()?.applied
            };
            wiped.contains(node)
                || log_records::holds(range, at, |family, key| disk.durable("log", family, key))
                || applied().is_some_and(|applied| applied.index >= at.index)
        });
        machines.map(|(node, _)| node.0).collect()
    }
}
