//! The clients of a run, each on a simulated machine of its own.
//!
//! They are numbered: those of the scenario from 0 on, those that make unary calls behind them, and three that do
//! one thing each: the one that forms the cluster (200), the one that works after the heal (201), and the one that
//! sets up (202).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use madsim::runtime::{Handle, NodeHandle};
use parking_lot::Mutex;
use quintet_client::{Client, Error, v1};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{
        Caller, Recording,
        unary::{Unary, Wire},
    },
    cluster::Cluster,
    net::{Calls, Net, map::Host},
    random::random,
    scenario::{Network, Scenario},
    workload::{self, Pace, Workloads},
};

/// Simulated time for the cluster to form.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two questions for that.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// A client on a simulated machine of its own, attached first to a node that is near it.
pub(crate) async fn client(
    cluster: &Cluster,
    network: &Network,
    index: u64,
    timeout: Duration,
) -> anyhow::Result<(NodeHandle, Client)> {
    let octet = u8::try_from(index + 1).context("too many clients")?;
    let machine = Handle::current()
        .create_node()
        .name(format!("client-{index}"))
        .ip(std::net::IpAddr::from([10, 0, 1, octet]))
        .build();
    cluster.note_client(machine.id());
    let nodes = cluster.client_addresses(cluster.settle(network, index));
    let seed = random();
    let connecting = machine.spawn(async move {
        Client::builder().nodes(nodes).timeout(timeout).seed(Some(seed)).connect().await
    });
    let client = connecting.await.context("client")?.context("connect")?;
    Ok((machine, client))
}

/// Makes the nodes one cluster.
pub(crate) async fn form(cluster: &Cluster, scenario: &Scenario) -> anyhow::Result<()> {
    let (machine, client) = client(cluster, &scenario.network, 200, FORM_TIMEOUT).await?;
    let request = v1::InitClusterRequest {
        nodes: u32::try_from(scenario.topology.nodes.len())?,
        split_points: scenario.split_points.iter().map(|point| point.clone().into()).collect(),
        initial_ranges: u32::try_from(scenario.split_points.len())? + 1,
    };
    let forming = machine.spawn(async move {
        let mut is_asked_again = false;
        loop {
            match client.form_cluster(request.clone()).await {
                // Where connections are lost an answer may be: whoever asks again is told whether it was done.
                Err(error) if error.maybe_committed() => is_asked_again = true,
                Err(Error::AlreadyInitialized(_)) if is_asked_again => return Ok(()),
                other => return other.map(drop),
            }
            sleep(ASK_PAUSE).await;
        }
    });
    match timeout(FORM_TIMEOUT, forming).await {
        Ok(Ok(Ok(()))) => Ok(()),
        other => bail!("the cluster does not form: {other:?}"),
    }
}

/// Lets a client do what has to be done before all others begin, where there is such.
pub(crate) async fn set_up(
    cluster: &Cluster,
    scenario: &Scenario,
    recording: &Arc<Recording>,
    workloads: &Workloads,
) -> anyhow::Result<()> {
    let Some(preparation) = workloads.setup() else { return Ok(()) };
    let (machine, client) = client(cluster, &scenario.network, 202, FORM_TIMEOUT).await?;
    let caller = Caller::new(recording.clone(), client);
    machine.spawn(preparation.run(caller)).await.context("the setup")?
}

/// All clients that do a scenario's work.
pub(crate) struct Crowd {
    net: Arc<Net>,
    recording: Arc<Recording>,
    workloads: Arc<Workloads>,
    pace: Pace,
    clients: Vec<(NodeHandle, Client)>,
    /// Those that make unary calls: their machines, and what such a client has to know.
    unary: Vec<(NodeHandle, Client, Door)>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// What a client that makes unary calls has to know.
struct Door {
    nodes: Vec<String>,
    wire: Arc<dyn Wire>,
    timeout: Duration,
    /// Whether it gives its requests ids.
    names: bool,
}

/// More callers than usual, until it is dropped.
pub(crate) struct More(Vec<JoinHandle<()>>);

impl Drop for More {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Crowd {
    /// Connects all clients and lets them work, each until told to stop or until it has done `steps`
    /// operations.
    pub(crate) async fn start(
        cluster: &Cluster,
        scenario: &Scenario,
        recording: &Arc<Recording>,
        workloads: &Arc<Workloads>,
        steps: Option<u64>,
    ) -> anyhow::Result<Arc<Crowd>> {
        let workload = &scenario.workload;
        let timeout = Duration::from_millis(workload.operation_timeout_ms);
        let mut clients = Vec::new();
        for index in 0..workload.clients {
            clients.push(client(cluster, &scenario.network, index, timeout).await?);
        }
        let mut unary = Vec::new();
        for number in 0..workload.unary_clients {
            let index = workload.clients + number;
            let (machine, client) = client(cluster, &scenario.network, index, timeout).await?;
            let nodes = cluster.client_addresses(cluster.settle(&scenario.network, index));
            let wire = Arc::new(Calls::new(cluster.net().clone(), index, random()));
            unary.push((machine, client, Door { nodes, wire, timeout, names: number % 2 == 0 }));
        }
        let workers = Mutex::default();
        let (recording, workloads) = (recording.clone(), workloads.clone());
        let pace = Pace { think_time_ms_max: workload.think_time_ms_max, steps };
        let net = cluster.net().clone();
        let crowd = Crowd { net, recording, workloads, pace, clients, unary, workers };
        let mut workers = Vec::new();
        for (index, client) in (0..).zip(&crowd.clients) {
            workers.push(crowd.work(index, client));
        }
        for (machine, _, door) in &crowd.unary {
            let Door { nodes, wire, timeout, names } = door;
            let (wire, seams) = (Some(wire.clone()), crowd.recording.seams());
            let unary = Unary::new(nodes.clone(), wire, *timeout, *names, seams)?;
            let caller = Caller::unary(crowd.recording.clone(), unary);
            workers.push(crowd.go(machine, caller));
        }
        *crowd.workers.lock() = workers;
        Ok(Arc::new(crowd))
    }

    fn work(&self, index: u64, (machine, client): &(NodeHandle, Client)) -> JoinHandle<()> {
        let net = self.net.clone();
        let window = Arc::new(move |takes| net.set_takes(Host::Client(index), takes));
        let caller = Caller::new(self.recording.clone(), client.clone());
        self.go(machine, caller.with_window(window))
    }

    fn go(&self, machine: &NodeHandle, caller: Caller) -> JoinHandle<()> {
        machine.spawn(workload::work(caller, self.workloads.clone(), self.pace))
    }

    /// `times` further callers for each client, which go on until what is returned is dropped.
    pub(crate) fn more(&self, times: u32) -> More {
        let clients = (0..).zip(&self.clients);
        let each =
            clients.flat_map(|(index, client)| (0..times).map(move |_| self.work(index, client)));
        More(each.collect())
    }

    /// Tells all to stop and waits until they have.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.recording.stop.store(true, Ordering::Release);
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            worker.await.context("a client")?;
        }
        Ok(())
    }
}
