//! A simulated cluster: nodes of the product on simulated machines, disks and clocks.
//!
//! A node is started by the very `Node::start(config, seams)` that `quintet start` calls. A kill
//! drops everything but the disk, which loses what was not synced.

mod clock;
mod clocks;
mod current;
mod disk;
mod equal;
mod failpoint;
mod look;
mod machine;
mod net;
mod observe;
mod operator;
mod routes;
mod sizes;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use madsim::runtime::Handle;
use parking_lot::Mutex;
use quintet_server::{
    cluster::state::NodeState,
    ids::{NodeId, RangeId},
};

use self::machine::{CLIENT_PORT, Machine, address};
pub(crate) use self::{
    current::node as current_node, observe::found as raft_found, sizes::begin as draw_sizes,
};
pub use self::{disk::Engine, equal::Difference, stop::Excuse};
use crate::{
    net::Net,
    random::{between, random},
    scenario::{Kind, Limits, Scenario, Topology},
    timeline::{Timeline, What},
    trace,
};

/// Simulated time that killed tasks get to go.
const END_PAUSE: Duration = Duration::from_secs(1);

/// The cluster of a run.
pub struct Cluster {
    handle: Handle,
    machines: BTreeMap<NodeId, Mutex<Machine>>,
    /// Which node is on which simulated machine.
    by_machine: BTreeMap<madsim::task::NodeId, NodeId>,
    /// Machines of clients.
    clients: Mutex<Vec<madsim::task::NodeId>>,
    topology: Topology,
    net: Arc<Net>,
    tear: bool,
    /// What happened, for people.
    timeline: Mutex<Timeline>,
    /// How many ranges there are, the system range included.
    ranges: usize,
    /// Which node led a range in a term: one at most, ever.
    leaders: Mutex<BTreeMap<(RangeId, u64), NodeId>>,
    /// Broken invariants, seen as the run goes.
    broken: Mutex<Vec<String>>,
    /// Raft snapshots that nodes had installed when they were killed.
    snapshots: AtomicU64,
    /// Nodes that lost their disks and are not replaced yet.
    wiped: Mutex<BTreeSet<NodeId>>,
    /// Time servers that were lost with their disks, with which no majority is left, until time is begun anew.
    lost_time_servers: Mutex<Vec<u64>>,
    /// How often one was replaced.
    replacements: AtomicU64,
    /// Requests that nodes had refused as overloaded when they were killed.
    refusals: AtomicU64,
    /// Faults under way that go on alone: the planned ones may last longer than planned.
    alone: Mutex<BTreeSet<Kind>>,
    /// Whether clocks are other than ideal.
    has_clocks: bool,
    /// Whether a clock has jumped, leapt or run at another rate.
    clocks_were_wrong: AtomicBool,
    /// Nodes of whose disks a record was damaged, until they are wiped.
    damaged: Mutex<BTreeSet<NodeId>>,
    /// Points at which a node is to be killed.
    armed: Mutex<Vec<failpoint::Armed>>,
}

/// A fault under way, of a kind of which one happens at a time.
pub(crate) struct Alone<'a> {
    cluster: &'a Cluster,
    kind: Kind,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.cluster.alone.lock().remove(&self.kind);
    }
}

impl Cluster {
    /// Builds the machines of a scenario and starts a node on each.
    pub fn start(scenario: &Scenario) -> anyhow::Result<Arc<Cluster>> {
        let handle = Handle::current();
        let net = Arc::new(Net::new(&scenario.network, &scenario.topology));
        let Limits { scan_page_records_min: least, scan_page_records_max: most, .. } =
            scenario.limits;
        // Drawn only where it is wanted: no other run changes.
        let drawn = if least < most { between(least.into(), most.into()) } else { most.into() };
        let page_records = u32::try_from(drawn)?;
        let mut machines = BTreeMap::new();
        for place in &scenario.topology.nodes {
            let node = NodeId(place.id);
            let machine = Machine::start(&handle, scenario, &net, node, page_records)?;
            machines.insert(node, Mutex::new(machine));
        }
        let by_machine = machines
            .iter()
            .map(|(node, machine): (_, &Mutex<Machine>)| (machine.lock().handle.id(), *node));
        let cluster = Arc::new(Cluster {
            handle,
            by_machine: by_machine.collect(),
            machines,
            clients: Mutex::default(),
            topology: scenario.topology.clone(),
            net,
            tear: scenario.disk.tear,
            timeline: Mutex::default(),
            ranges: scenario.split_points.len() + 2,
            leaders: Mutex::default(),
            broken: Mutex::default(),
            snapshots: AtomicU64::new(0),
            wiped: Mutex::default(),
            lost_time_servers: Mutex::default(),
            replacements: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            alone: Mutex::default(),
            has_clocks: scenario.has_rates(),
            clocks_were_wrong: AtomicBool::new(false),
            damaged: Mutex::default(),
            armed: Mutex::default(),
        });
        current::set(&cluster);
        observe::begin();
        failpoint::watch();
        Ok(cluster)
    }

    /// Where the nodes are.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Notes something for people.
    pub fn note(&self, what: What) {
        let now = madsim::time::TimeHandle::current().elapsed();
        let at_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.timeline.lock().note(at_ns, what);
    }

    /// What was noted so far.
    pub fn timeline(&self) -> Timeline {
        self.timeline.lock().clone()
    }

    /// Begins a fault of a kind of which one happens at a time; none while another goes on.
    pub(crate) fn alone(&self, kind: Kind) -> Option<Alone<'_>> {
        let is_first = self.alone.lock().insert(kind);
        is_first.then(|| Alone { cluster: self, kind })
    }

    /// The node on whose machine this task runs.
    fn this_node(&self) -> Option<NodeId> {
        let id = madsim::plugin::node();
        self.by_machine.get(&id).copied()
    }

    /// Ids of all nodes.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    /// Client addresses of all nodes: first those in the room of one of them, that one at their head.
    pub fn client_addresses(&self, near: NodeId) -> Vec<String> {
        let mut nodes = self.nodes();
        let at = nodes.iter().position(|node| *node == near).unwrap_or_default();
        nodes.rotate_left(at);
        let places = &self.topology.nodes;
        let room =
            |node: u64| places.iter().find(|place| place.id == node).map(|place| &place.room);
        // Sorting keeps the order of those that are alike.
        nodes.sort_by_key(|node| room(node.0) != room(near.0));
        nodes.into_iter().map(|node| address(node.0, CLIENT_PORT).to_string()).collect()
    }

    /// Nodes that are up and do not stand still.
    pub fn up(&self) -> Vec<NodeId> {
        let up = self.machines.iter().filter(|(_, machine)| {
            let machine = machine.lock();
            machine.is_up && !machine.is_paused
        });
        up.map(|(node, _)| *node).collect()
    }

    /// How often a node went down or stood still.
    pub fn interruptions(&self, node: NodeId) -> u64 {
        let count = |machine: &Mutex<Machine>| {
            let machine = machine.lock();
            machine.downs + machine.pauses
        };
        self.machines.get(&node).map_or(0, count)
    }

    /// Kills a node at once. What it had not synced is lost.
    pub fn kill(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if !machine.is_up {
            return;
        }
        trace::event("fault", format_args!("kill {node}"));
        self.note(What::Down { node: node.0 });
        machine.is_up = false;
        machine.is_paused = false;
        machine.downs += 1;
        if let Some(running) = machine.running.lock().take() {
            self.snapshots.fetch_add(look::installed(&running), Ordering::Relaxed);
            self.refusals.fetch_add(look::refused(&running), Ordering::Relaxed);
        }
        self.handle.kill(machine.handle.id());
        machine.disk.crash(&mut random, self.tear);
    }

    /// A client has a machine, which ends with the cluster.
    pub fn note_client(&self, machine: madsim::task::NodeId) {
        self.clients.lock().push(machine);
    }

    /// Kills all nodes and clients for good and waits until nothing is left of them: tasks hold one
    /// another for ever otherwise, and with them all that the run stored. `Err`: something is left, and
    /// each further seed would add to it.
    pub async fn end(&self) -> anyhow::Result<()> {
        let mut left: Vec<Weak<NodeState>> = Vec::new();
        for machine in self.machines.values() {
            let machine = machine.lock();
            left.extend(machine.running.lock().take().as_ref().map(Arc::downgrade));
            self.handle.kill(machine.handle.id());
        }
        self.clients.lock().iter().for_each(|machine| self.handle.kill(machine));
        // A killed task is dropped when it is its turn. Time goes on once all had theirs: one that had
        // not would stay for ever, since the queue of tasks and the tasks in it hold each other.
        tokio::time::sleep(END_PAUSE).await;
        left.retain(|node| node.strong_count() > 0);
        anyhow::ensure!(left.is_empty(), "{} killed nodes are still in memory", left.len());
        let alive = self.handle.metrics();
        anyhow::ensure!(
            alive.num_tasks() == 0,
            "not all is killed: {:?}",
            alive.num_tasks_by_node()
        );
        Ok(())
    }

    /// Starts a killed node again.
    pub fn restart(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if machine.is_up {
            return;
        }
        trace::event("fault", format_args!("restart {node}"));
        self.note(What::Up { node: node.0 });
        machine.is_up = true;
        machine.stopped = None;
        self.handle.restart(machine.handle.id());
    }
}
