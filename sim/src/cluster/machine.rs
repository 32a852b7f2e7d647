//! One simulated machine, and how a node on it is configured and started: by the same function as `quintet start`
//! calls, with the simulation's seams.
//!
//! A restart runs that function again, with the disk as the crash left it. Whether a node may stop by itself is for
//! `stop.rs`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use madsim::runtime::{Handle, NodeHandle};
use parking_lot::Mutex;
use quintet_server::{
    cluster::state::NodeState, config::Config, ids::NodeId, node::Node,
    placement::locality::Locality, seams::Seams, storage::memory::MemoryDisk,
};

use super::{
    clock::{self, NodeClock},
    disk::MemoryEngines,
    sizes,
    stop::{self, Excuse},
};
use crate::{
    net::{Net, Shaper},
    random::{between, random, seconds_between},
    scenario::Scenario,
};

pub(super) const CLIENT_PORT: u16 = 7401;
const INTERNAL_PORT: u16 = 7402;

/// What runs on a machine, while it runs.
pub(super) type Running = Arc<Mutex<Option<Arc<NodeState>>>>;

/// One simulated machine.
pub(super) struct Machine {
    pub(super) handle: NodeHandle,
    pub(super) disk: MemoryDisk,
    pub(super) running: Running,
    pub(super) is_up: bool,
    pub(super) is_paused: bool,
    /// How often it stood still.
    pub(super) pauses: u64,
    /// How often it went down.
    pub(super) downs: u64,
    pub(super) clock: Arc<NodeClock>,
    /// Why it may stop by itself.
    pub(super) excuse: Option<Excuse>,
    /// Why it did, since its last start.
    pub(super) stopped: Option<String>,
}

impl Machine {
    /// Builds the machine of a node and starts it.
    pub(super) fn start(
        handle: &Handle,
        scenario: &Scenario,
        net: &Arc<Net>,
        node: NodeId,
        page_records: u32,
    ) -> anyhow::Result<Machine> {
        let mut config = config(scenario, node.0)?;
        config.limits.scan_page_records_max = page_records;
        let disk = MemoryDisk::new();
        let running = Running::default();
        let most = scenario.clocks.offset_ms_max;
        let offset = between(0, 2 * most);
        let offset_ms = i64::try_from(offset)? - i64::try_from(most)?;
        let share = scenario.clocks.rate_share_max;
        // Drawn only where it is wanted: no other run changes.
        let rate = if share > 0.0 { draw_rate(share) } else { 1.0 };
        let clock = Arc::new(NodeClock::new(offset_ms, clock::ppm(rate)));
        let seams = Seams {
            clock: clock.clone(),
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

            wire: Some(Arc::new(Shaper::new(net.clone(), node.0))),
        };
        let shown = running.clone();
        let handle = handle
            .create_node()
            .name(format!("node-{}", node.0))
            .ip(address(node.0, 0).ip())
            .init(move || run_node(config.clone(), seams.clone(), shown.clone()))
            .build();
        if scenario.has_rates() {
            clock::install(handle.id(), &clock);
        }
        Ok(Machine {
            handle,
            disk,
            running,
            is_up: true,
            is_paused: false,
            pauses: 0,
            downs: 0,
            clock,
            excuse: None,
            stopped: None,
        })
    }
}

/// A rate within a share of an ideal clock's.
fn draw_rate(share: f64) -> f64 {
    1.0 - share + seconds_between(0.0, 2.0 * share).as_secs_f64()
}

pub(super) fn address(node: u64, port: u16) -> SocketAddr {
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
    sizes::settings(&mut config.limits);
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

async fn run_node(config: Config, seams: Seams, shown: Running) {
    let id = config.node.id;
    match Node::start(config, seams).await {
        Ok(node) => {
            *shown.lock() = Some(node.state().clone());
            let why = node.stopped().await;
            stop::stopped(id, &why);
        }
        Err(error) => stop::stopped(id, &format!("does not start: {error}")),
    }
}
