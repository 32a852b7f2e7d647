//! A node's ports: bound first, so that their real addresses are known, served last.
//!
//! Between the two the node starts. So a port that is in use ends the start before a replica runs, and other nodes are
//! told the address that the system has chosen for port 0. The HTTP port is served from the beginning: `/livez`
//! answers while the node starts, and `/readyz` says that it does.
//!
//! There are two versions: `real` has three ports, bounds on connections, health, reflection and compression;
//! `simulated` has the same services and nothing else, because the simulated network has no such things.
//!
//! # Invariants
//!
//! * A message that arrives has a largest size, so that no peer and no client makes a node allocate without bound
//!   (`client_message_bytes_max`, `PEER_MESSAGE_BYTES_MAX`). Connections are bounded in `accept.rs`, answers that wait
//!   for a client in `api/outgoing.rs`. `e2e/hostile.rs` watches a node's memory meanwhile.
//! * A connection whose other end is silent ends after two keep-alive intervals.

use std::sync::Arc;

use quintet_proto::{
    internal::v1::peer_server::PeerServer,
    v1::{admin_server::AdminServer, kv_server::KvServer},
};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use super::{Addresses, StartError};
use crate::{
    api::{admin::AdminService, kv::KvService},
    cluster::state::NodeState,
    config::Config,
    peer::PeerService,
};

/// The largest message between nodes: a frame of log entries, one of which may be large.
const PEER_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The largest message of a client: a batch of unary puts.
fn client_message_bytes_max(config: &Config) -> usize {
    (config.limits.value_bytes_max as usize + (64 << 10)).max(16 << 20)
}

// Macros, because the types of generated servers differ between the two builds.
macro_rules! kv {
    ($node_state:expr, $config:expr) => {
        KvServer::new(KvService::new($node_state.clone()))
            .max_decoding_message_size(client_message_bytes_max($config))
    };
}

macro_rules! admin {
    ($node_state:expr) => {
        AdminServer::new(AdminService::new($node_state.clone()))
    };
}

macro_rules! peer {
    ($node_state:expr) => {
        PeerServer::new(PeerService::new($node_state.peers().clone()))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    };
}

/// A server that ended: the port is gone, and with it the node's use.
fn report(what: &'static str, ended: Result<(), tonic::transport::Error>) {
    if let Err(error) = ended {
        tracing::error!(what, %error, "a port is no longer served");
    }
}

#[cfg(not(madsim))]
pub(super) use real::{Bound, bind};
#[cfg(madsim)]
pub(super) use simulated::{Bound, bind};

#[cfg(not(madsim))]
mod real {
    use std::{net::SocketAddr, sync::OnceLock, time::Duration};

    use tokio::{net::TcpListener, sync::watch};
    use tonic::codec::CompressionEncoding::Gzip;
    use tonic_health::pb::health_server::HealthServer;

    use super::*;
    use crate::{
        api::{
            health::HealthService,
            outgoing::{CountedLayer, Outgoing},
        },
        cluster::{figures, readiness, status},
        node::accept,
        ops::{
            http::{Http, Shown},
            metrics::Metrics,
        },
    };

    /// How often an idle connection is asked whether it lives, and how long it may take to answer.
    const KEEPALIVE: Duration = Duration::from_secs(20);
    const STREAMS_MAX: u32 = 1_024;

    /// Ports that are bound.
    pub(in crate::node) struct Bound {
        client: TcpListener,
        internal: TcpListener,
        http: Option<Http>,
        addresses: Addresses,
        /// Set once there is something to show.
        shown: Arc<OnceLock<Arc<NodeState>>>,
    }

    async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
        let failed =
            |error: std::io::Error| StartError::Listen { what, address, error: error.to_string() };
        TcpListener::bind(address).await.map_err(failed)
    }

    pub(in crate::node) async fn bind(
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Result<Bound, StartError> {
        let client = listen("client", config.listen.client).await?;
        let internal = listen("internal", config.listen.internal).await?;
        let shown: Arc<OnceLock<Arc<NodeState>>> = Arc::default();
        let http = match config.listen.http {
            Some(address) => Some(serve_http(address, metrics, &shown).await?),
            None => None,
        };
        let of = |what, listener: &TcpListener, address| {
            listener.local_addr().map_err(|error| StartError::Listen {
                what,
                address,
                error: error.to_string(),
            })
        };
        let addresses = Addresses {
            client: of("client", &client, config.listen.client)?,
            internal: of("internal", &internal, config.listen.internal)?,
            http: http.as_ref().map(Http::address),
        };
        Ok(Bound { client, internal, http, addresses, shown })
    }

    async fn serve_http(
        address: SocketAddr,
        metrics: &Arc<Metrics>,
        shown: &Arc<OnceLock<Arc<NodeState>>>,
    ) -> Result<Http, StartError> {
        let (ready, warning, refresh) = (shown.clone(), shown.clone(), shown.clone());
        let pages = Shown {
            metrics: metrics.clone(),
            ready: Arc::new(move || match ready.get() {
                Some(node_state) => readiness::ready(node_state),
                None => Err("the node is starting".to_owned()),
            }),
            warning: Arc::new(move || warning.get().and_then(|node| status::warning(node))),
            refresh: Arc::new(move |_| {
                if let Some(node_state) = refresh.get() {
                    figures::refresh(node_state);
                }
            }),
        };
        Http::start(address, pages).await.map_err(|error| StartError::Listen {
            what: "http",
            address,
            error: error.to_string(),
        })
    }

    impl Bound {
        pub(in crate::node) fn addresses(&self) -> Addresses {
            self.addresses
        }

        pub(in crate::node) fn serve(
            self,
            node_state: &Arc<NodeState>,
            config: &Config,
        ) -> (Vec<JoinHandle<()>>, Option<Http>) {
            // Set once: the port has just been bound.
            self.shown.get_or_init(|| node_state.clone());
            let bounds = accept::Bounds::of_process();
            let metrics = node_state.router().metrics();
            let clients = accept::incoming(self.client, "client", bounds.clients, metrics);
            let peers = accept::incoming(self.internal, "internal", bounds.peers, metrics);
            let (ready, readiness) = watch::channel(false);
            let health = HealthServer::new(HealthService::new(readiness));
            let reflection = || {
                tonic_reflection::server::Builder::configure()
                    .register_encoded_file_descriptor_set(quintet_proto::DESCRIPTORS)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            };
            let outgoing = Outgoing::new(node_state.router().admission().clone());
            let client = Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE))
                .http2_keepalive_timeout(Some(KEEPALIVE))
                .max_concurrent_streams(STREAMS_MAX)
                .layer(CountedLayer(outgoing.clone()))
                // Some libraries compress every request; what they unfold to has the limit of messages.
                .add_service(kv!(node_state, config).accept_compressed(Gzip))
                .add_service(admin!(node_state).accept_compressed(Gzip))
                .add_service(health.accept_compressed(Gzip))
                .add_optional_service(
                    reflection().build_v1().ok().map(|v1| v1.accept_compressed(Gzip)),
                )
                .add_optional_service(
                    reflection()
                        .build_v1alpha()
                        .ok()
                        .map(|v1alpha| v1alpha.accept_compressed(Gzip)),
                )
                .serve_with_incoming(clients);
            let internal = Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE))
                .http2_keepalive_timeout(Some(KEEPALIVE))
                .max_concurrent_streams(STREAMS_MAX)
                .add_service(peer!(node_state))
                .serve_with_incoming(peers);
            let tasks = vec![
                tokio::spawn(async move { report("client", client.await) }),
                tokio::spawn(async move { report("internal", internal.await) }),
                tokio::spawn(report_health(node_state.clone(), ready)),
                tokio::spawn(async move {
                    outgoing.watch().await;
                }),
            ];
            (tasks, self.http)
        }
    }

    /// Tells the gRPC health service what `/readyz` says.
    async fn report_health(node_state: Arc<NodeState>, ready: watch::Sender<bool>) {
        loop {
            ready.send_replace(readiness::ready(&node_state).is_ok());
            crate::time::local::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use crate::ops::metrics::Metrics;

    /// Ports that will be bound: simulated addresses are free.
    pub(in crate::node) struct Bound(Addresses);

    pub(in crate::node) async fn bind(
        config: &Config,
        _metrics: &Arc<Metrics>,
    ) -> Result<Bound, StartError> {
        Ok(Bound(Addresses {
            client: config.listen.client,
            internal: config.listen.internal,
            http: None,
        }))
    }

    impl Bound {
        pub(in crate::node) fn addresses(&self) -> Addresses {
            self.0
        }

        pub(in crate::node) fn serve(
            self,
            node_state: &Arc<NodeState>,
            config: &Config,
        ) -> Vec<JoinHandle<()>> {
            let client = Server::builder()
                .add_service(kv!(node_state, config))
                .add_service(admin!(node_state))
                .serve(self.0.client);
            let internal = Server::builder().add_service(peer!(node_state)).serve(self.0.internal);
            vec![
                tokio::spawn(async move { report("client", client.await) }),
                tokio::spawn(async move { report("internal", internal.await) }),
            ]
        }
    }
}
