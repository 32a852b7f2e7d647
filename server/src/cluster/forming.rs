//! Forming the cluster, once.
//!
//! `cluster init` may be sent to any node; it ends at the node with the lowest id that is known, so
//! that two of them at once meet. That node makes the plan (cluster id, first ranges and their
//! replicas), writes it to its disk, and hands it to every other member until each has it on disk.
//! The plan on the first disk is the commit point: after a crash anywhere the hand-out goes on.
//! Only the node that made the plan founds the groups.
//!
//! # Invariants
//!
//! * The client that asked may go away at any moment, and what runs for it is dropped then. So a plan is taken in a
//!   task of its own ([`NodeState::take`]): a node with a plan on its disk and without its replicas would
//!   call itself outside until its next start, and make another plan when it is asked again.

use std::{sync::Arc, time::Duration};

use quintet_proto::{internal::v1 as wire, v1};
use tokio::sync::OwnedMutexGuard;

use super::{
    plan::{self, Span, from_wire, to_wire},
    records,
    state::NodeState,
    status,
};
use crate::{
    error::OpError,
    failpoint,
    ids::{Generation, NodeId, ReplicaId},
    peer::ask::{self, NoAnswer, PlanRefusal},
    placement::{initial, locality::Locality, policy},
    range::{error::ReplicaError, replica::Replica},
    storage::format::{cluster::ClusterRecord, descriptor::Descriptor},
    time::local::{Instant, sleep},
};

/// Nodes of the default placement.
const NODES_DEFAULT: u32 = 5;
/// How long `cluster init` waits for nodes to know each other, and for members to take the plan.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

impl NodeState {
    /// Starts this node's replicas of a cluster's ranges.
    pub(crate) async fn start_replicas(
        self: &Arc<Self>,
        cluster: &ClusterRecord,
    ) -> Result<(), ReplicaError> {
        self.peers().join(records::identity(cluster));
        let me = self.peers().me();
        let founds = cluster.nodes.iter().min() == Some(&me);
        // All of them first: a key whose range starts last must not look like one without a range.
        self.router().routes().replace(cluster.ranges.iter().cloned());
        for birth in &cluster.ranges {
            let mine = birth.replicas.iter().find(|(_, node)| *node == me);
            let Some((id, _)) = mine else { continue };
            let replica = Replica::start(*id, birth, self.host()).await?;
            if founds {
                replica.found(birth).await?;
            }
            self.router().add(replica);
        }
        self.start_held().await?;
        *self.cluster.lock() = Some(cluster.clone());
        if founds {
            tokio::spawn(hand_out(self.clone(), cluster.clone()));
        }
        Ok(())
    }

    /// Forms the cluster. `may_forward` is false where another node sent the request on.
    pub async fn init(
        self: &Arc<Self>,
        request: v1::InitClusterRequest,
        may_forward: bool,
    ) -> Result<v1::InitClusterResponse, OpError> {
        let wanted = if request.nodes == 0 { NODES_DEFAULT } else { request.nodes };
        if !matches!(wanted, 1 | 3 | 5 | 7) {
            let message = format!("a cluster begins with 1, 3, 5 or 7 nodes, not {wanted}");
            return Err(OpError::invalid(message));
        }
        self.refuse_second()?;
        let spans = self.spans(&request)?;
        if let Some(cluster) = self.peers().cluster_around() {
            return Err(OpError::new(
                v1::Code::AlreadyInitialized,
                OpError::no_cluster(self.peers().me(), Some(&cluster)).message,
            ));
        }
        let members = self.wait_for_nodes(wanted as usize).await?;
        let first = members.first().copied().unwrap_or(self.peers().me());
        if first != self.peers().me() {
            if !may_forward {
                let message = "the nodes do not agree yet who knows whom; try again";
                return Err(OpError::unavailable(message));
            }
            let formed = self.peers().ask(first, None, ask::Init(request)).await;
            let gone = OpError::ambiguous(format!("node {} went away; ask again", first.0));
            return formed.unwrap_or(Err(gone));
        }
        let one_at_a_time = self.planning.clone().lock_owned().await;
        self.refuse_second()?;
        let cluster = self.plan(&members, &spans);
        self.take(one_at_a_time, cluster.clone())
            .await
            .map_err(|why| OpError::new(v1::Code::Storage, why))?;
        self.wait_for_members(&cluster).await?;
        Ok(v1::InitClusterResponse {
            cluster_id: cluster.cluster,
            incarnation: cluster.incarnation,
            nodes: status::nodes(self),
        })
    }

    fn refuse_second(&self) -> Result<(), OpError> {
        match self.cluster() {
            None => Ok(()),
            Some(cluster) => Err(OpError::new(
                v1::Code::AlreadyInitialized,
                format!(
                    "the cluster was formed before: {}; there is nothing to do",
                    cluster.cluster
                ),
            )),
        }
    }

    /// The live nodes that the default policy places replicas on, lowest id first.
    async fn wait_for_nodes(&self, wanted: usize) -> Result<Vec<NodeId>, OpError> {
        let until = Instant::now() + INIT_TIMEOUT;
        loop {
            let live: Vec<_> = self
                .peers()
                .book()
                .all()
                .into_iter()
                .filter(|address| self.peers().is_live(address.node))
                .collect();
            let known = live.len();
            if known >= wanted {
                let live =
                    live.into_iter().map(|at| (at.node, Locality { city: at.city, room: at.room }));
                let live: Vec<_> = live.collect();
                return policy::choose_voters(&live, wanted).map_err(OpError::invalid);
            }
            if Instant::now() >= until {
                let message = format!(
                    "{known} of {wanted} nodes know each other; start the others, with this node \
                     among their seeds"
                );
                return Err(OpError::unavailable(message));
            }
            sleep(POLL).await;
        }
    }

    /// The spans of the ranges that were asked for.
    fn spans(&self, request: &v1::InitClusterRequest) -> Result<Vec<Span>, OpError> {
        let key_max = self.router().limits().key_bytes_max as usize;
        let points = initial::split_points(request.initial_ranges, &request.split_points, key_max);
        points.map(|points| plan::spans(&points)).map_err(OpError::invalid)
    }

    fn plan(&self, members: &[NodeId], spans: &[Span]) -> ClusterRecord {
        let replicas: Vec<_> = (1..).map(ReplicaId).zip(members.iter().copied()).collect();
        let next_replica = ReplicaId(replicas.len() as u64 + 1);
        let ranges = spans.iter().map(|span| Descriptor {
            range: span.range,
            start: span.start.clone(),
            end: span.end.clone(),
            generation: Generation(1),
            replicas: replicas.clone(),
            next_replica,
        });
        ClusterRecord {
            cluster: format!("{:016x}{:016x}", self.random(), self.random()),
            incarnation: 1,
            nodes: members.to_vec(),
            untold: members
                .iter()
                .filter(|node| **node != self.peers().me())
                .map(|node| {
                    let address = self.peers().book().get(*node);
                    (*node, address.map_or(0, |address| address.directory))
                })
                .collect(),
            ranges: ranges.collect(),
        }
    }

    /// Takes a plan: on disk first, then in life, also where the caller is dropped meanwhile. `Err` says
    /// why not.
    pub(super) async fn take(
        self: &Arc<Self>,
        one_at_a_time: OwnedMutexGuard<()>,
        cluster: ClusterRecord,
    ) -> Result<(), String> {
        let node_state = self.clone();
        let taken = tokio::spawn(async move {
            let _until_done = one_at_a_time;
            node_state.take_whole(cluster).await
        });
        taken.await.unwrap_or_else(|_| Err("the node is stopping".to_owned()))
    }

    async fn take_whole(self: &Arc<Self>, cluster: ClusterRecord) -> Result<(), String> {
        if let Some(mine) = self.cluster() {
            return if mine.cluster == cluster.cluster && mine.incarnation == cluster.incarnation {
                Ok(())
            } else {
                Err(format!("the node belongs to cluster {} already", mine.cluster))
            };
        }
        failpoint::hit("plan.before-write");
        records::join(&self.host().writer, &cluster).await.map_err(|error| error.to_string())?;
        failpoint::hit("plan.after-write");
        self.start_replicas(&cluster).await.map_err(|error| error.to_string())
    }

    /// Another node's plan.
    pub(super) async fn take_from(
        self: &Arc<Self>,
        plan: wire::Bootstrap,
    ) -> Result<(), PlanRefusal> {
        let one_at_a_time = self.planning.clone().lock_owned().await;
        if plan.directory != self.peers().book().me().directory {
            return Err(PlanRefusal::OtherDirectory);
        }
        let cluster = from_wire(plan);
        let cluster =
            cluster.ok_or_else(|| PlanRefusal::Other("a plan that makes no sense".to_owned()))?;
        self.take(one_at_a_time, cluster).await.map_err(PlanRefusal::Other)
    }

    /// Waits until every member runs the plan.
    async fn wait_for_members(&self, cluster: &ClusterRecord) -> Result<(), OpError> {
        let until = Instant::now() + INIT_TIMEOUT;
        loop {
            let led = self.replicas().iter().all(|replica| replica.leader_node().is_some());
            if led {
                return Ok(());
            }
            if Instant::now() >= until {
                let message = format!(
                    "cluster {} is formed, but not all its nodes are there yet; look at 'quintet \
                     status'",
                    cluster.cluster
                );
                return Err(OpError::ambiguous(message));
            }
            sleep(POLL).await;
        }
    }
}

/// Gives every member the plan until all have it.
async fn hand_out(node_state: Arc<NodeState>, mut cluster: ClusterRecord) {
    while !cluster.untold.is_empty() {
        let mut missed = Vec::new();
        for (node, directory) in cluster.untold.clone() {
            let plan = wire::Bootstrap { directory, ..to_wire(&cluster) };
            match node_state.peers().ask(node, None, ask::TakePlan(plan)).await {
                Ok(Ok(())) => {}
                Ok(Err(PlanRefusal::OtherDirectory)) => {
                    tracing::error!(
                        %node,
                        "a member has lost its disk while the cluster was formed: 'quintet replace' \
                         takes it back"
                    );
                }
                Ok(Err(PlanRefusal::Other(why))) => {
                    tracing::error!(%node, why, "a member refuses the cluster");
                    missed.push((node, directory));
                }
                Err(NoAnswer) => missed.push((node, directory)),
            }
        }
        if missed.len() < cluster.untold.len() {
            cluster.untold = missed;
            if let Err(error) = records::join(&node_state.host().writer, &cluster).await {
                tracing::error!(%error, "who has the plan can't be noted");
                return;
            }
        }
        if !cluster.untold.is_empty() {
            sleep(POLL * 4).await;
        }
    }
}
