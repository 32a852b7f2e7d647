//! A node: what is started, in which order, and how it stops.
//!
//! ```text
//!   engines -> identity -> log writer -> ports bound -> links -> time server, replicas -> ports served
//! ```
//!
//! The simulation starts nodes through the very same [`Node::start`]; only the [`Seams`] differ.
//!
//! # On a crash
//!
//! Nothing is cleaned up, ever: a start after `kill -9` is an ordinary start. Identity and cluster
//! membership are in the log engine, written and synced before anyone is told.

#[cfg(not(madsim))]
mod accept;
mod listen;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    cluster::{
        answers::NodeHandler,
        leaders,
        oracle::rounds,
        records,
        state::NodeState,
        time_server::{self, TimeServerHere},
    },
    config::{Config, Wan},
    ids::{NodeId, TimeDomain},
    ops::metrics::Metrics,
    peer::Peers,
    range::{
        cadence::Cadence, elections::RaftTimes, leadership::Leaderships,
        raft::log_writer::LogWriter, replica::Host, snapshot::limits::Transfers,
    },
    router::Router,
    seams::Seams,
    storage::{
        self,
        disk::Disk,
        format::node::{AddressRecord, Identity},
        watched::watched,
    },
    time::{
        local::Instant,
        oracle::{ServerId, handle::Oracle},
    },
    upkeep,
};

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be used: in use, damaged, of another node, of a newer format.
    #[error("{0}")]
    Storage(#[from] storage::Error),
    /// A port can't be used.
    #[error("can't listen on {address} ({what}): {error}")]
    Listen {
        /// Which port.
        what: &'static str,
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        error: String,
    },
    /// A range's replica can't be loaded.
    #[error("{0}")]
    Replica(String),
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// gRPC for clients.
    pub client: SocketAddr,
    /// Other nodes.
    pub internal: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`.
    pub http: Option<SocketAddr>,
}

/// A running node.
pub struct Node {
    addresses: Addresses,
    state: Arc<NodeState>,
    stopped: Mutex<Option<oneshot::Receiver<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    #[cfg(not(madsim))]
    http: Option<crate::ops::http::Http>,
}

impl Node {
    /// Starts a node. It serves when this returns; whether it belongs to a cluster is another
    /// question.
    pub async fn start(config: Config, seams: Seams) -> Result<Node, StartError> {
        let (log, data) = (seams.engines.open_log()?, seams.engines.open_data()?);
        let metrics = Arc::new(Metrics::new());
        metrics.set_node(config.node.id, &config.node.locality);
        let (oracle, asked) = Oracle::new(seams.clock.clone());
        let (failure_tx, stopped) = oneshot::channel();
        let failure = Arc::new(Mutex::new(Some(failure_tx)));
        let failed: Arc<dyn Fn(storage::Error) + Send + Sync> = Arc::new(move |error| {
            if let Some(tell) = failure.lock().take() {
                // Nobody listens any more if the node is stopping already.
                tell.send(error.to_string()).ok();
            }
        });
        let (log, data) = (watched(log, failed.clone()), watched(data, failed.clone()));
        let disk = Arc::new(Disk::new(Duration::from_millis(config.raft.election_max_ms)));
        let writer =
            LogWriter::start(log.clone(), disk.clone(), &seams, metrics.clone(), failed.clone());
        let identity = records::claim(&*log, &writer, config.node.id, &*seams.random).await?;
        let cluster = records::cluster(&*log)?;
        let bound = listen::bind(&config, &metrics).await?;
        let me = address(&config, &bound, &identity);
        let peers = Peers::new(
            me,
            records::addresses(&*log)?,
            config.seeds.clone(),
            cluster.as_ref().map(records::identity).unwrap_or_default(),
            oracle.clone(),
            metrics.clone(),
            seams.random.clone(),
            config.raft.link_stall(),
            seams.wire.clone(),
            config.wan.clone(),
        );
        let times = RaftTimes {
            heartbeat: Duration::from_millis(config.raft.heartbeat_ms),
            election_min: Duration::from_millis(config.raft.election_min_ms),
            election_max: Duration::from_millis(config.raft.election_max_ms),
        };
        let router = Arc::new(Router::new(
            peers.clone(),
            oracle.clone(),
            metrics.clone(),
            config.limits.clone(),
            times.patience(),
            seams.random.clone(),
        ));
        let host = Host {
            log: log.clone(),
            writer: writer.clone(),
            data,
            disk,
            oracle: oracle.clone(),
            peers: peers.clone(),
            metrics: metrics.clone(),
            times,
            cadence: Cadence::default(),
            leaderships: Leaderships::new(peers.clone(), metrics.clone()),
            transfers: Arc::new(Transfers::new(
                config.raft.snapshot_bytes_per_s(),
                config.raft.log_retention_bytes(),
                seams.random.clone(),
            )),
            recent: Arc::default(),
            failed,
        };
        let promised = records::time_server(&*log, TimeDomain::default())?;
        let time_server = TimeServerHere::start(ServerId(identity.directory), promised, oracle);
        let node_state =
            NodeState::new(host, router.clone(), time_server.clone(), seams.random.clone());
        node_state.set_draining(records::is_drained(&*log)?);
        if let Some(cluster) = cluster {
            let started = node_state.start_replicas(&cluster).await;
            started.map_err(|error| StartError::Replica(error.to_string()))?;
        }
        peers.start(Arc::new(NodeHandler::new(&node_state)));
        let addresses = bound.addresses();
        #[cfg(not(madsim))]
        let (mut tasks, http) = bound.serve(&node_state, &config);
        #[cfg(madsim)]
        let mut tasks = bound.serve(&node_state, &config);
        tasks.push(tokio::spawn(time_server::keep(time_server, writer)));
        tasks.push(tokio::spawn(rounds::run(node_state.clone(), asked)));
        tasks.extend(upkeep::start(&node_state, times, &config.limits, log));
        tracing::info!(
            node = %config.node.id,
            locality = %config.node.locality,
            client = %addresses.client,
            internal = %addresses.internal,
            boots = identity.boots,
            "node started"
        );
        if config.wan != Wan::default() {
            tracing::warn!(
                rooms_rtt_ms = config.wan.rooms_rtt_ms,
                cities_rtt_ms = config.wan.cities_rtt_ms,
                "links to other rooms and cities are slow on purpose: [wan] is set"
            );
        }
        Ok(Node {
            addresses,
            state: node_state,
            stopped: Mutex::new(Some(stopped)),
            tasks,
            #[cfg(not(madsim))]
            http,
        })
    }

    /// Where it listens: the ports that were really bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.state.peers().me()
    }

    /// What it knows; for the simulation's judges.
    pub fn state(&self) -> &Arc<NodeState> {
        &self.state
    }

    /// Resolves when the node can't go on, with the reason: its storage failed. Only the first call
    /// ever resolves.
    pub fn stopped(&self) -> impl Future<Output = String> + Send + use<> {
        let stopped = self.stopped.lock().take();
        async move {
            match stopped {
                Some(stopped) => match stopped.await {
                    Ok(reason) => reason,
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        }
    }

    /// Moves leaders away, then stops. Takes `deadline` at most.
    pub async fn shutdown(self, deadline: Duration) {
        let until = Instant::now() + deadline.mul_f64(0.7);
        self.state.router().watches().stop();
        leaders::drain(&self.state, until).await;
        let stopping = self.state.replicas().into_iter().map(|replica| async move {
            // A group that has failed already is stopped enough.
            replica.raft.shutdown().await;
        });
        let all = futures::future::join_all(stopping).map(|_| ());
        crate::time::local::timeout(deadline.mul_f64(0.2), all).await.ok();
        for task in &self.tasks {
            task.abort();
        }
        #[cfg(not(madsim))]
        if let Some(http) = self.http {
            http.shutdown().await;
        }
        tracing::info!(node = %self.state.peers().me(), "node stopped");
    }
}

fn address(config: &Config, bound: &listen::Bound, identity: &Identity) -> AddressRecord {
    let at = bound.addresses();
    let http = at.http.map(|http| Config::advertised(&config.advertise.http, http));
    AddressRecord {
        node: config.node.id,
        city: config.node.locality.city.clone(),
        room: config.node.locality.room.clone(),
        internal: Config::advertised(&config.advertise.internal, at.internal),
        client: Config::advertised(&config.advertise.client, at.client),
        http: http.unwrap_or_default(),
        epoch: identity.boots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        directory: identity.directory,
    }
}
