//! Raft snapshots that other nodes send: which replica takes one, and what forbids it.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use openraft::async_runtime::watch::WatchReceiver;
use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::state::NodeState,
    ids::{NodeId, RangeId, ReplicaId},
    peer::SnapshotPipe,
    range::{
        faults::Doing,
        raft::{state_machine::snapshot_meta, types, wire as raft_wire},
        replica::Replica,
        snapshot::{SnapshotData, Ticket, receive},
    },
    router::Router,
    storage::{
        Engine,
        codec::{Descriptor, SnapshotHead},
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
        raft_wire::vote_out(&self.replica.raft.metrics().borrow_watched().vote)
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

    /// openraft takes these for broken invariants, and stops.
    fn check(&self, vote: &wire::Vote, head: &SnapshotHead) -> Result<(), String> {
        let applied = head.applied.applied.ok_or("it is of nothing")?;
        if !vote.committed {
            return Err("whoever sends it is no leader".to_owned());
        }
        if applied.term > vote.term {
            return Err(format!("its term {} is above its leader's {}", applied.term, vote.term));
        }
        types::membership(&head.applied.membership).map_err(|error| error.to_string())?;
        let raft = self.replica.raft.metrics();
        let committed = raft.borrow_watched().local_committed.as_ref().map(types::position);
        match committed {
            Some(known) if applied > known && applied.index <= known.index => {
                Err(format!("it contradicts what is committed here: {applied:?} against {known:?}"))
            }
            _ => Ok(()),
        }
    }

    fn install(
        &self,
        vote: wire::Vote,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<wire::Vote, String>> {
        let raft = self.replica.raft.clone();
        async move {
            let vote = raft_wire::vote_in(Some(vote)).ok_or("an offer without a vote")?;
            let meta = snapshot_meta(&ticket.head.applied).map_err(|error| error.to_string())?;
            let snapshot = openraft::alias::SnapshotOf::<types::TypeConfig, SnapshotData> {
                meta,
                snapshot: SnapshotData::Staged(Box::new(ticket)),
            };
            let installed = raft.install_full_snapshot(vote, snapshot).await;
            installed
                .map(|answer| raft_wire::vote_out(&answer.vote))
                .map_err(|error| error.to_string())
        }
        .boxed()
    }
}
