//! A simulated cluster: nodes of the product on simulated machines, disks and clocks.
//!
//! A node is started by the very `Node::start(config, seams)` that `quintet start` calls. A kill
//! drops everything but the disk, which loses what was not synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use madsim::runtime::{Handle, NodeHandle};
use parking_lot::Mutex;
use quintet_client::v1;
use quintet_server::{
    config::Config,
    ids::{Generation, NodeId, RangeId, SYSTEM_RANGE},
    node::{Node, bootstrap::Bootstrap},
    placement::locality::Locality,
    range::replica::Replica,
    seams::{Clock, Engines, Seams},
    storage::{
        Durability, Engine, Error, Family,
        codec::{self, DedupRecord, Descriptor},
        gc::Collectable,
        keys,
        memory::{MemoryDisk, MemoryEngine, MemorySettings},
    },
};

use crate::{scenario::Scenario, trace};

const CLIENT_PORT: u16 = 7401;
const INTERNAL_PORT: u16 = 7402;
/// Bytes of applied state after which a node's data engine flushes by itself at the latest.
const FLUSH_BYTES_MAX: u64 = 256 << 10;
/// Turns that killed tasks get to go.
const END_TURNS_MAX: usize = 100_000;

/// A wall clock that is off by a fixed time.
#[derive(Debug)]
struct SkewedClock {
    offset_ms: i64,
}

impl Clock for SkewedClock {
    fn wall_us(&self) -> u64 {
        // 2026-01-01 at the start of a run, so that offsets never reach the epoch.
        let base = 6 * 365 * 24 * 3600 * 1_000_000_u64;
        let elapsed = madsim::time::TimeHandle::current().elapsed();
        let now = base + u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX / 2);
        now.saturating_add_signed(self.offset_ms * 1_000)
    }
}

struct MemoryEngines {
    node: NodeId,
    disk: MemoryDisk,
    sync_min: Duration,
    sync_max: Duration,
}

impl MemoryEngines {
    fn open(&self, name: &'static str, durability: Durability) -> Result<Arc<dyn Engine>, Error> {
        let node = self.node;
        let settings = MemorySettings {
            sync_delay_min: self.sync_min,
            sync_delay_max: self.sync_max,
            rng: Arc::new(random),
            flush_bytes_max: FLUSH_BYTES_MAX,
            on_event: Some(Arc::new(move |what, amount| {
                trace::event("disk", format_args!("{node} {name} {what} {amount}"));
            })),
        };
        Ok(MemoryEngine::open(&self.disk, name, durability, settings)?)
    }
}

impl Engines for MemoryEngines {
    fn open_log(&self) -> Result<Arc<dyn Engine>, Error> {
        self.open("log", Durability::WriteAheadLog)
    }

    fn open_data(&self) -> Result<Arc<dyn Engine>, Error> {
        self.open("data", Durability::Flush)
    }
}

/// Set: one draw of the run takes real entropy, so that two runs of a seed must differ. It shows that
/// the determinism check can fail.
pub static REAL_ENTROPY: AtomicBool = AtomicBool::new(false);

fn real_entropy() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    assert!(read.is_ok(), "no entropy: {read:?}");
    u64::from_ne_bytes(bytes)
}

/// 64 bits of the run's randomness, traced.
pub fn random() -> u64 {
    let mut drawn: u64 = madsim::rand::random();
    if REAL_ENTROPY.swap(false, Ordering::AcqRel) {
        drawn ^= real_entropy();
    }
    trace::event("random", format_args!("{drawn:016x}"));
    drawn
}

/// A number in `[least, most]`.
pub fn between(least: u64, most: u64) -> u64 {
    least + random() % (most.saturating_sub(least) + 1)
}

/// The nodes of the first room, by name, of the city with most nodes.
fn preferred(scenario: &Scenario) -> Vec<NodeId> {
    let nodes = &scenario.topology.nodes;
    let in_city = |city: &str| nodes.iter().filter(|node| node.city == city).count();
    let first = nodes.iter().min_by(|a, b| {
        let size = in_city(&b.city).cmp(&in_city(&a.city));
        size.then_with(|| (&a.city, &a.room).cmp(&(&b.city, &b.room)))
    });
    let Some(first) = first else { return Vec::new() };
    let there = nodes.iter().filter(|node| (&node.city, &node.room) == (&first.city, &first.room));
    there.map(|node| NodeId(node.id)).collect()
}

/// One of them, at random.
fn pick<T>(of: &[T]) -> Option<&T> {
    of.get(usize::try_from(random() % of.len().max(1) as u64).unwrap_or(0))
}

/// A duration between two numbers of seconds.
pub fn seconds_between(least: f64, most: f64) -> Duration {
    let share = random() as f64 / u64::MAX as f64;
    Duration::from_secs_f64(least + (most - least) * share)
}

/// One simulated machine.
struct Machine {
    handle: NodeHandle,
    disk: MemoryDisk,
    /// What runs on it, while it runs.
    running: Arc<Mutex<Option<Arc<Bootstrap>>>>,
    is_up: bool,
}

/// The cluster of a run.
pub struct Cluster {
    handle: Handle,
    machines: BTreeMap<NodeId, Mutex<Machine>>,
    tear: bool,
    /// Nodes of the room that leaders prefer.
    preferred: Vec<NodeId>,
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
    /// How often one was replaced.
    replacements: AtomicU64,
    /// Requests that nodes had refused as overloaded when they were killed.
    refusals: AtomicU64,
}

fn address(node: u64, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node).unwrap_or(255))), port)
}

fn config(scenario: &Scenario, node: u64) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let place = scenario.topology.nodes.iter().find(|place| place.id == node);
    let place = place.ok_or_else(|| anyhow::anyhow!("no node {node}"))?;
    config.node.id = NodeId(node);
    config.node.data_dir = "simulated".into();
    config.node.locality = Locality::new(&place.city, &place.room)?;
    config.listen.client = address(node, CLIENT_PORT);
    config.listen.internal = address(node, INTERNAL_PORT);
    config.listen.http = None;
    config.limits.dedup_window_s = scenario.memory.dedup_window_s;
    config.limits.version_retention_s = scenario.memory.version_retention_s;
    config.limits.requests_in_flight_max = scenario.limits.requests_in_flight_max;
    config.raft.log_retention_mb = f64::from(scenario.raft.log_retention_kb) / 1024.0;
    config.raft.snapshot_mb_per_s = scenario.raft.snapshot_mb_per_s;
    config.seeds = scenario
        .topology
        .nodes
        .iter()
        .filter(|other| other.id != node)
        .map(|other| address(other.id, INTERNAL_PORT).to_string())
        .collect();
    config.validate().map_err(|invalid| anyhow::anyhow!("{}: {}", invalid.key, invalid.reason))?;
    Ok(config)
}

impl Cluster {
    /// Builds the machines of a scenario and starts a node on each.
    pub fn start(scenario: &Scenario) -> anyhow::Result<Arc<Cluster>> {
        let handle = Handle::current();
        let mut machines = BTreeMap::new();
        for place in &scenario.topology.nodes {
            let node = NodeId(place.id);
            let config = config(scenario, place.id)?;
            let disk = MemoryDisk::new();
            let running: Arc<Mutex<Option<Arc<Bootstrap>>>> = Arc::default();
            let most = scenario.clocks.offset_ms_max;
            let offset = between(0, 2 * most);
            let offset_ms = i64::try_from(offset)? - i64::try_from(most)?;
            let seams = Seams {
                clock: Arc::new(SkewedClock { offset_ms }),
                engines: Arc::new(MemoryEngines {
                    node,
                    disk: disk.clone(),
                    sync_min: Duration::from_micros(scenario.disk.sync_min_us),
                    sync_max: Duration::from_micros(scenario.disk.sync_max_us),
                }),
                random: Arc::new(random),
                spawn_disk_writer: Arc::new(|writer| {
                    tokio::spawn(writer);
                }),
                disk_pause: Arc::new(|pause| Box::pin(tokio::time::sleep(pause))),
            };
            let shown = running.clone();
            let machine = handle
                .create_node()
                .name(format!("node-{}", node.0))
                .ip(address(place.id, 0).ip())
                .init(move || run_node(config.clone(), seams.clone(), shown.clone()))
                .build();
            machines
                .insert(node, Mutex::new(Machine { handle: machine, disk, running, is_up: true }));
        }
        Ok(Arc::new(Cluster {
            handle,
            machines,
            tear: scenario.disk.tear,
            preferred: preferred(scenario),
            ranges: scenario.split_points.len() + 2,
            leaders: Mutex::default(),
            broken: Mutex::default(),
            snapshots: AtomicU64::new(0),
            wiped: Mutex::default(),
            replacements: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }))
    }

    /// Ids of all nodes.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    /// Client addresses of all nodes.
    pub fn client_addresses(&self) -> Vec<String> {
        self.machines.keys().map(|node| address(node.0, CLIENT_PORT).to_string()).collect()
    }

    /// Nodes that are up.
    pub fn up(&self) -> Vec<NodeId> {
        let up = self.machines.iter().filter(|(_, machine)| machine.lock().is_up);
        up.map(|(node, _)| *node).collect()
    }

    /// Kills a node at once. What it had not synced is lost.
    pub fn kill(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if !machine.is_up {
            return;
        }
        trace::event("fault", format_args!("kill {node}"));
        machine.is_up = false;
        if let Some(running) = machine.running.lock().take() {
            self.snapshots.fetch_add(installed(&running), Ordering::Relaxed);
            self.refusals.fetch_add(refused(&running), Ordering::Relaxed);
        }
        self.handle.kill(machine.handle.id());
        machine.disk.crash(&mut random, self.tear);
    }

    /// Kills all nodes for good and waits until nothing is left of them. `Err`: something is, and
    /// each further seed would add to it.
    pub async fn end(&self) -> anyhow::Result<()> {
        let mut left: Vec<Weak<Bootstrap>> = Vec::new();
        for machine in self.machines.values() {
            let machine = machine.lock();
            left.extend(machine.running.lock().take().as_ref().map(Arc::downgrade));
            self.handle.kill(machine.handle.id());
        }
        for _ in 0..END_TURNS_MAX {
            left.retain(|node| node.strong_count() > 0);
            if left.is_empty() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        anyhow::bail!("{} killed nodes are still in memory: something holds them", left.len())
    }

    /// Starts a killed node again.
    pub fn restart(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if machine.is_up {
            return;
        }
        trace::event("fault", format_args!("restart {node}"));
        machine.is_up = true;
        self.handle.restart(machine.handle.id());
    }

    /// The node that leads the first range of data; the one of the highest term, if two think so.
    pub fn data_leader(&self) -> Option<NodeId> {
        let mut leaders: Vec<_> = self
            .replicas()
            .into_iter()
            .filter(|(_, replica)| replica.range == RangeId(2))
            .filter_map(|(node, replica)| Some((replica.raft.as_leader().ok()?.term(), node)))
            .collect();
        leaders.sort();
        leaders.last().map(|(_, node)| *node)
    }

    /// The nodes of the room that leaders prefer.
    pub fn first_room(&self) -> Vec<NodeId> {
        self.preferred.clone()
    }

    /// Drains a node, as an operator does, or undoes it; whether that was done.
    pub async fn drain(&self, node: NodeId, undo: bool) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let running = machine.lock().running.lock().clone();
        let Some(bootstrap) = running else { return false };
        trace::event("fault", format_args!("drain {node}, undo {undo}"));
        let request = v1::DrainRequest { node_id: node.0, undo, timeout_ms: 5_000 };
        // On the node's own machine, so that it ends with it; as it is now, for a handle from before a
        // restart spawns nothing any more.
        let id = machine.lock().handle.id();
        let Some(now) = self.handle.get_node(id) else { return false };
        let done = now.spawn(async move { bootstrap.drain(request).await }).await;
        tracing::debug!(%node, undo, ?done, "drained");
        matches!(done, Ok(Ok(done)) if done.leaders_left == 0)
    }

    /// Takes a killed node's disk away: it comes back with an empty one.
    pub fn wipe(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let machine = machine.lock();
        if machine.is_up {
            return;
        }
        trace::event("fault", format_args!("wipe {node}"));
        machine.disk.wipe();
        self.wiped.lock().insert(node);
    }

    /// Nodes that lost their disks and are not replaced yet.
    pub fn wiped(&self) -> Vec<NodeId> {
        self.wiped.lock().iter().copied().collect()
    }

    /// How often a node was replaced that had lost its disk.
    pub fn replacements(&self) -> u64 {
        self.replacements.load(Ordering::Relaxed)
    }

    /// Asks a node to replace another one, as an operator does; `Err` says what is left to do.
    pub async fn replace(&self, node: NodeId, asked: NodeId) -> Result<(), String> {
        let machine = self.machines.get(&asked).ok_or("no such node")?;
        let running = machine.lock().running.lock().clone();
        let bootstrap = running.ok_or("it is down")?;
        let request = v1::ReplaceNodeRequest { node_id: node.0, timeout_ms: 1_000 };
        // As in `drain`.
        let id = machine.lock().handle.id();
        let now = self.handle.get_node(id).ok_or("it is gone")?;
        let done = now.spawn(async move { bootstrap.replace(request, true).await }).await;
        tracing::debug!(%node, %asked, ?done, "replaced");
        let is_done = match &done {
            Ok(Ok(done)) => done.replaced == done.ranges,
            // What is wrong then the judges must see by themselves.
            Ok(Err(error)) => error.code() == v1::Code::NodeNotEmpty,
            Err(_) => false,
        };
        if is_done {
            if self.wiped.lock().remove(&node) {
                trace::event("fault", format_args!("{node} is replaced"));
                self.replacements.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        match done {
            Ok(Ok(done)) => {
                Err(format!("{} of {} ranges: {}", done.replaced, done.ranges, done.waits_for))
            }
            Ok(Err(error)) => Err(error.message),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether every node has one replica of every range, which votes, and there is no other; `Err` says
    /// where not.
    pub fn complete(&self) -> Result<(), String> {
        let nodes: BTreeSet<_> = self.machines.keys().copied().collect();
        let mut led = BTreeSet::new();
        for (_, replica) in self.replicas() {
            if !replica.is_leader() {
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
        let mut leaders: BTreeMap<RangeId, (u64, NodeId)> = BTreeMap::new();
        for (node, replica) in self.replicas() {
            let Ok(leader) = replica.raft.as_leader() else { continue };
            let led = leaders.entry(replica.range).or_insert((leader.term(), node));
            *led = (*led).max((leader.term(), node));
        }
        for range in 1..=self.ranges as u64 {
            match leaders.get(&RangeId(range)) {
                Some((_, node)) if self.preferred.contains(node) => {}
                Some((_, node)) => return Err(format!("range {range} is led by {node}")),
                None => return Err(format!("range {range} has no leader")),
            }
        }
        Ok(())
    }

    /// One node takes an old state for true: one range that holds all data. Whether there is one that
    /// can.
    pub fn forget_routes(&self) -> bool {
        let nodes: Vec<_> = self
            .machines
            .iter()
            .filter_map(|(node, machine)| {
                let running = machine.lock().running.lock().clone();
                Some((*node, running.filter(|bootstrap| bootstrap.cluster().is_some())?))
            })
            .collect();
        let Some((node, bootstrap)) = pick(&nodes) else { return false };
        let ranges = bootstrap.router().routes().all();
        let data: Vec<_> = ranges.iter().filter(|range| range.range != SYSTEM_RANGE).collect();
        let (Some(chosen), Some(first)) = (pick(&data), data.first()) else { return false };
        trace::event("fault", format_args!("{node} takes {} for the only one", chosen.range));
        let old = Descriptor {
            start: first.start.clone(),
            end: Vec::new(),
            generation: Generation(0),
            ..(***chosen).clone()
        };
        let system = ranges.iter().filter(|range| range.range == SYSTEM_RANGE);
        let system = system.map(|range| (**range).clone());
        bootstrap.router().routes().replace(system.chain([old]));
        true
    }

    /// Lets nothing to a node or from it through.
    pub fn cut_off(&self, node: NodeId) {
        trace::event("fault", format_args!("cut off {node}"));
        if let Some(machine) = self.machines.get(&node) {
            madsim::net::NetSim::current().clog_node(machine.lock().handle.id());
        }
    }

    /// Undoes [`Cluster::cut_off`].
    pub fn mend(&self, node: NodeId) {
        trace::event("fault", format_args!("mend {node}"));
        if let Some(machine) = self.machines.get(&node) {
            madsim::net::NetSim::current().unclog_node(machine.lock().handle.id());
        }
    }

    /// Notes who leads what, and that nobody else did in the same term.
    pub fn look(&self) {
        let mut leaders = self.leaders.lock();
        for (node, replica) in self.replicas() {
            let Ok(leader) = replica.raft.as_leader() else { continue };
            let known = leaders.entry((replica.range, leader.term())).or_insert(node);
            if *known != node {
                let (range, term) = (replica.range, leader.term());
                let line = format!("{range}: {known} and {node} both led term {term}");
                self.broken.lock().push(line);
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
    fn now(&self, figure: fn(&Bootstrap) -> u64) -> u64 {
        let running =
            self.machines.values().filter_map(|machine| machine.lock().running.lock().clone());
        running.map(|bootstrap| figure(&bootstrap)).sum()
    }

    /// Whether a node installs a raft snapshot at the moment.
    pub fn is_installing(&self, node: NodeId) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let running = machine.lock().running.lock().clone();
        running.is_some_and(|node| node.router().metrics().snapshots.installing.get() > 0)
    }

    /// The replicas of nodes that are up.
    fn replicas(&self) -> Vec<(NodeId, Replica)> {
        let mut out = Vec::new();
        for (node, machine) in &self.machines {
            let running = machine.lock().running.lock().clone();
            if let Some(bootstrap) = running {
                out.extend(bootstrap.replicas().into_iter().map(|replica| (*node, replica)));
            }
        }
        out
    }

    /// Broken invariants so far.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().clone()
    }

    /// Whether all replicas of each range are at one applied index; then their states must be equal.
    /// `Err` says which are not.
    pub fn replicas_equal(&self) -> Result<bool, String> {
        use openraft::async_runtime::watch::WatchReceiver;
        let mut by_range: BTreeMap<RangeId, Vec<(NodeId, Option<u64>, Replica)>> = BTreeMap::new();
        for (node, replica) in self.replicas() {
            let metrics = replica.raft.metrics();
            let index = metrics.borrow_watched().last_applied.map(|at| at.index());
            by_range.entry(replica.range).or_default().push((node, index, replica));
        }
        if by_range.len() < self.ranges {
            return Ok(false);
        }
        for replicas in by_range.values() {
            let indexes: BTreeSet<_> = replicas.iter().map(|(_, index, _)| *index).collect();
            if indexes.len() > 1 || replicas.len() < self.machines.len() {
                return Ok(false);
            }
        }
        for (range, replicas) in by_range {
            let mut states = BTreeMap::new();
            for (node, _, replica) in &replicas {
                states.insert(*node, state_hash(replica)?);
            }
            if states.values().collect::<BTreeSet<_>>().len() > 1 {
                return Err(format!(
                    "replicas of {range} at the same applied index differ: {states:x?}"
                ));
            }
        }
        Ok(true)
    }
}

/// Raft snapshots that a node has installed since its start.
fn installed(node: &Bootstrap) -> u64 {
    node.router().metrics().snapshots.received.get()
}

/// Requests that a node has refused as overloaded since its start.
fn refused(node: &Bootstrap) -> u64 {
    node.router().metrics().requests_refused.get()
}

/// A hash over a range's versions and remembered requests. Requests that are too old to be asked again
/// do not count, nor do versions that nobody can see any more: each node forgets them in its own time.
fn state_hash(replica: &Replica) -> Result<u64, String> {
    let engine = replica.shared.state.engine();
    let threshold = replica.shared.state.dedup_threshold();
    let gc_threshold = replica.shared.state.gc_threshold();
    let range = replica.shared.state.descriptor();
    let mut versions = Collectable::new();
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    let mut add = |key: &[u8], value: &[u8]| {
        hash.update(&(key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        std::ops::ControlFlow::Continue(())
    };
    let forward = quintet_server::storage::Direction::Forward;
    engine
        .scan(Family::Data, &range.start, &range.end, forward, &mut |key, value| {
            // What can't be decoded counts.
            if versions.is_collectable(key, value, gc_threshold).unwrap_or(false) {
                return std::ops::ControlFlow::Continue(());
            }
            add(key, value)
        })
        .map_err(|error| error.to_string())?;
    engine
        .scan(Family::Dedup, &[], &[], forward, &mut |key, value| {
            let is_ours = keys::dedup_anchor(key).is_some_and(|anchor| range.contains(anchor));
            let is_remembered = codec::decode::<DedupRecord>(value)
                .is_ok_and(|record| record.first_attempt >= threshold);
            if is_ours && is_remembered {
                return add(key, value);
            }
            std::ops::ControlFlow::Continue(())
        })
        .map_err(|error| error.to_string())?;
    Ok(hash.digest())
}

async fn run_node(config: Config, seams: Seams, shown: Arc<Mutex<Option<Arc<Bootstrap>>>>) {
    let id = config.node.id;
    match Node::start(config, seams).await {
        Ok(node) => {
            *shown.lock() = Some(node.bootstrap().clone());
            let why = node.stopped().await;
            panic!("{id} stopped: {why}");
        }
        Err(error) => panic!("{id} does not start: {error}"),
    }
}
