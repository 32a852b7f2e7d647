//! Raft snapshots that other nodes send: which replica takes one, and what forbids it.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::state::NodeState,
    ids::{NodeId, RangeId, ReplicaId},
    peer::SnapshotPipe,
    range::{
        faults::Doing,
        replica::Replica,
        snapshot::{receive, stage::Ticket},
    },
    router::Router,
    storage::{
        Engine,
        format::{descriptor::Descriptor, snapshot::SnapshotHead},
    },
};

/// Receives a raft snapshot for one of this node's replicas.
pub(super) async fn receive(
    node_state: &Arc<NodeState>,
    from: NodeId,
    offer: wire::SnapshotOffer,
    mut pipe: SnapshotPipe,
) {
    let router = node_state.router().clone();
    let replica = router.replica(RangeId(offer.range_id));
    let Some(replica) = replica.filter(|replica| replica.id.0 == offer.to_replica) else {
        tracing::debug!(%from, range = offer.range_id, "a raft snapshot for no replica of this node");
        return pipe.refuse("no such replica here").await;
    };
    let host = node_state.host();
    let (transfers, metrics) = (host.transfers.clone(), host.metrics.clone());
    let target = Here { router, replica: replica.clone() };
    receive::receive(&target, &replica.shared.inbox, &transfers, &metrics, offer, pipe).await;
}

/// A replica of this node.
struct Here {
    router: Arc<Router>,
    replica: Replica,
}

impl receive::Target for Here {
    fn range(&self) -> RangeId {
        self.replica.range
    }

    fn replica(&self) -> ReplicaId {
        self.replica.id
    }

    fn vote(&self) -> wire::Vote {
        self.replica.raft.vote_out()
    }

    fn applied(&self) -> Option<u64> {
        self.replica.shared.state.applied_index()
    }

    fn engine(&self) -> Arc<dyn Engine> {
        self.replica.shared.state.engine().clone()
    }

    fn overlapping(&self, span: &Descriptor) -> Option<RangeId> {
        let others = self.router.replicas();
        let others = others.iter().filter(|other| other.range != span.range);
        others
            .map(|other| other.shared.state.descriptor())
            .find(|other| other.overlaps(&span.start, &span.end))
            .map(|other| other.range)
    }

    fn not_received(&self, why: &str) {
        self.replica.shared.faults.note(Doing::ReceiveSnapshot, None, why);
    }

    fn check(&self, vote: &wire::Vote, head: &SnapshotHead) -> Result<(), String> {
        self.replica.raft.check_snapshot(vote, head)
    }

    fn install(
        &self,
        vote: wire::Vote,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<wire::Vote, String>> {
        let raft = self.replica.raft.clone();
        async move { raft.install(vote, ticket).await }.boxed()
    }
}
