//! A node: what is started, in which order, and how it stops.
//!
//! ```text
//!   engines -> identity -> clock, log writer -> ports bound -> links -> replicas -> ports served
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
mod around;
pub mod bootstrap;
mod clock;
pub mod debug;
mod dedup;
mod disk;
mod drain;
mod gc;
mod handler;
mod leaders;
mod listen;
mod lost_leaders;
mod pulse;
mod reach;
pub mod readiness;
pub mod records;
pub mod registry;
mod replace;
mod snapshot;
pub mod status;
mod thresholds;
mod upkeep;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::bootstrap::Bootstrap;
use crate::{
    config::Config,
    ids::NodeId,
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
        codec::{AddressRecord, Command, Identity},
        disk::Disk,
        watched::watched,
    },
    time::{Hlc, local::Instant},
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
    bootstrap: Arc<Bootstrap>,
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
        let hlc = Arc::new(Hlc::new(seams.clock.clone()));
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
            hlc.clone(),
            metrics.clone(),
            seams.random.clone(),
            config.raft.link_stall(),
            seams.wire.clone(),
        );
        hlc.look(peers.book().count());
        let times = RaftTimes {
            heartbeat: Duration::from_millis(config.raft.heartbeat_ms),
            election_min: Duration::from_millis(config.raft.election_min_ms),
            election_max: Duration::from_millis(config.raft.election_max_ms),
        };
        let router = Arc::new(Router::new(
            peers.clone(),
            hlc.clone(),
            metrics.clone(),
            config.limits.clone(),
            times.patience(),
        ));
        let host = Host {
            log: log.clone(),
            writer: writer.clone(),
            data,
            disk,
            hlc,
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
            failed,
        };
        let bootstrap = Bootstrap::new(host, router.clone(), seams.random.clone());
        bootstrap.set_draining(records::is_drained(&*log)?);
        if let Some(cluster) = cluster {
            let started = bootstrap.start_replicas(&cluster).await;
            started.map_err(|error| StartError::Replica(format!("{error:#}")))?;
        }
        peers.start(Arc::new(handler::NodeHandler::new(&bootstrap)));
        let addresses = bound.addresses();
        #[cfg(not(madsim))]
        let (mut tasks, http) = bound.serve(&bootstrap, &config);
        #[cfg(madsim)]
        let mut tasks = bound.serve(&bootstrap, &config);
        tasks.push(tokio::spawn(leaders::run(bootstrap.clone())));
        tasks.push(tokio::spawn(disk::watch(bootstrap.clone())));
        tasks.push(tokio::spawn(pulse::run(bootstrap.clone(), times)));
        tasks.push(tokio::spawn(lost_leaders::run(bootstrap.clone(), times)));
        tasks.push(tokio::spawn(upkeep::ping(bootstrap.clone())));
        tasks.push(tokio::spawn(upkeep::truncate_logs(bootstrap.clone())));
        tasks.push(tokio::spawn(thresholds::keep_moving(
            bootstrap.clone(),
            "moves dedup thresholds",
            config.limits.dedup_window(),
            |evaluated_under, threshold| Command::MoveDedupThreshold { evaluated_under, threshold },
        )));
        tasks.push(tokio::spawn(dedup::collect(bootstrap.clone())));
        tasks.push(tokio::spawn(thresholds::keep_moving(
            bootstrap.clone(),
            "moves gc thresholds",
            config.limits.version_retention(),
            |evaluated_under, threshold| Command::MoveGcThreshold { evaluated_under, threshold },
        )));
        tasks.push(tokio::spawn(gc::collect(bootstrap.clone())));
        tasks.push(tokio::spawn(registry::keep(bootstrap.clone())));
        tasks.push(tokio::spawn(upkeep::keep_addresses(bootstrap.clone(), log)));
        tracing::info!(
            node = %config.node.id,
            locality = %config.node.locality,
            client = %addresses.client,
            internal = %addresses.internal,
            boots = identity.boots,
            "node started"
        );
        Ok(Node {
            addresses,
            bootstrap,
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
        self.bootstrap.peers().me()
    }

    /// What it knows; for the simulation's judges.
    pub fn bootstrap(&self) -> &Arc<Bootstrap> {
        &self.bootstrap
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
        leaders::drain(&self.bootstrap, until).await;
        let stopping = self.bootstrap.replicas().into_iter().map(|replica| async move {
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
        tracing::info!(node = %self.bootstrap.peers().me(), "node stopped");
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
