//! The node that is taken back: how it becomes a member again, and the replicas that it is given.
//!
//! Steps 1 and b of the header of `mod.rs`. Both are idempotent: a member that is asked to enlist again says that it
//! is one, and a range of which a replica is held already is answered with its id.
//!
//! # Invariants
//!
//! * A node that enlists takes none of the replicas that the plan has on it (`without_replicas_of`): what it had voted
//!   for and acknowledged under their ids is gone. The simulation's `wiped-node` checks it.
//! * A replica is noted on disk before it starts (`hold_whole`), and only for a range that the node's routes know: so
//!   peers cannot make its replicas grow.
//! * One plan or offer is dealt with at a time (`planning`).
//!
//! # On a crash
//!
//! Before the note is synced the node holds nothing, and the leader offers again. After it the replica is started with
//! the node (`start_held`), as a learner of a group that exists.

use std::sync::Arc;

use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::{plan, records, state::NodeState},
    failpoint,
    ids::{NodeId, RangeId, ReplicaId},
    planted::{self, Bug},
    range::{error::ReplicaError, replica::Replica},
    storage::format::cluster::{ClusterRecord, ReplicaRecord},
};

/// A cluster's plan for a node that comes back with an empty directory: without the replicas that the
/// plan has on it. Their votes and logs are gone.
fn without_replicas_of(me: NodeId, mut cluster: ClusterRecord) -> ClusterRecord {
    cluster.untold.clear();
    for range in &mut cluster.ranges {
        if !planted::active(Bug::WipedNodeUnderOldReplicaId) {
            range.replicas.retain(|(_, node)| *node != me);
        }
    }
    cluster
}

impl NodeState {
    /// Whether this node has the replicas with which it joined when the cluster was formed.
    pub(in crate::cluster) fn has_first_replicas(&self, mine: &ClusterRecord) -> bool {
        let me = self.peers().me();
        let mut replicas = mine.ranges.iter().flat_map(|range| &range.replicas);
        replicas.any(|(_, node)| *node == me)
    }

    /// Whether this node lost its disk and does not vote in every range yet.
    pub(in crate::cluster) fn is_being_replaced(&self) -> bool {
        let Some(cluster) = self.cluster().filter(|mine| !self.has_first_replicas(mine)) else {
            return false;
        };
        let votes = |replica: Option<Replica>| replica.is_some_and(|r| r.members().is_voter(r.id));
        cluster.ranges.iter().any(|range| !votes(self.router().replica(range.range)))
    }

    /// Becomes a member of the cluster whose plan this is, without any replica. `Ok`: it is one, and
    /// whether it has not lost its disk. `Err` says why not.
    pub(in crate::cluster) async fn enlist(
        self: &Arc<Self>,
        plan: wire::Bootstrap,
    ) -> Result<bool, String> {
        let one_at_a_time = self.planning.clone().lock_owned().await;
        let me = self.peers().me();
        let cluster = plan::from_wire(plan).ok_or("a plan that makes no sense")?;
        if let Some(mine) = self.cluster() {
            return if mine.cluster == cluster.cluster && mine.incarnation == cluster.incarnation {
                Ok(self.has_first_replicas(&mine))
            } else {
                Err(format!("it belongs to cluster {} already", mine.cluster))
            };
        }
        if !cluster.nodes.contains(&me) {
            return Err("the plan does not name it".to_owned());
        }
        self.take(one_at_a_time, without_replicas_of(me, cluster)).await?;
        tracing::warn!(node = %me, "taken back with an empty directory: it gets new replicas");
        Ok(false)
    }

    /// Says which replica of a range this node holds; holds the offered one from now on where it holds
    /// none. Durable when this returns. 0 is none.
    pub(in crate::cluster) async fn hold(
        self: &Arc<Self>,
        range: RangeId,
        offer: wire::HoldReplica,
    ) -> Result<ReplicaId, String> {
        // The link that the offer came on may end, and with it what runs for it.
        let node_state = self.clone();
        let held = tokio::spawn(async move { node_state.hold_whole(range, offer).await });
        held.await.unwrap_or_else(|_| Err("the node is stopping".to_owned()))
    }

    async fn hold_whole(
        &self,
        range: RangeId,
        offer: wire::HoldReplica,
    ) -> Result<ReplicaId, String> {
        let _one_at_a_time = self.planning.lock().await;
        if self.cluster().is_none() {
            return Err("it belongs to no cluster".to_owned());
        }
        if let Some(held) = self.router().replica(range) {
            return Ok(held.id);
        }
        if offer.replica_id == 0 {
            return Ok(ReplicaId(0));
        }
        let birth = offer.birth.and_then(plan::range_from_wire);
        let birth = birth.filter(|birth| birth.range == range).ok_or("an offer without a range")?;
        if !self.router().routes().knows(range) {
            // A peer can't make the replicas grow.
            return Err("it knows of no such range".to_owned());
        }
        let record = ReplicaRecord { replica: ReplicaId(offer.replica_id), birth };
        failpoint::hit("replace.before-hold");
        let held = records::hold(&self.host().writer, &record).await;
        held.map_err(|error| format!("not noted: {error}"))?;
        failpoint::hit("replace.after-hold");
        tracing::info!(%range, replica = %record.replica, "holds a new replica");
        self.start_one(&record).await.map_err(|error| error.to_string())?;
        Ok(record.replica)
    }

    /// Starts the replicas that this node was given since it joined. They found nothing: they begin as
    /// learners of groups that exist.
    pub(in crate::cluster) async fn start_held(&self) -> Result<(), ReplicaError> {
        for record in records::replicas(&*self.host().log)? {
            self.start_one(&record).await?;
        }
        Ok(())
    }

    async fn start_one(&self, record: &ReplicaRecord) -> Result<(), ReplicaError> {
        let replica = Replica::start(record.replica, &record.birth, self.host()).await?;
        self.router().add(replica);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::Generation, storage::format::descriptor::Descriptor};

    #[test]
    fn a_plan_goes_on_making_sense_when_every_node_has_lost_its_disk() {
        let replicas: Vec<_> = (1..=5).map(|id| (ReplicaId(id), NodeId(id))).collect();
        let range = Descriptor {
            range: RangeId(2),
            start: b"a".to_vec(),
            end: b"b".to_vec(),
            generation: Generation(1),
            replicas,
            next_replica: ReplicaId(6),
        };
        let mut cluster = ClusterRecord {
            cluster: "c".to_owned(),
            incarnation: 1,
            nodes: (1..=5).map(NodeId).collect(),
            ranges: vec![range.clone()],
            untold: Vec::new(),
        };
        // Each gets its plan from the one before it.
        for node in [1, 2, 3, 4, 5, 1].map(NodeId) {
            let plan = plan::from_wire(plan::to_wire(&cluster));
            cluster = without_replicas_of(node, plan.expect("a plan that makes sense"));
            let left = &cluster.ranges[0].replicas;
            assert!(left.iter().all(|(_, of)| *of != node), "{left:?}");
        }
        let bare = Descriptor { replicas: Vec::new(), ..range };
        assert_eq!(cluster.ranges, [bare]);
        // Without replicas it has to say which ids are given.
        let mut plan = plan::to_wire(&cluster);
        plan.ranges[0].next_replica = 0;
        assert_eq!(plan::from_wire(plan), None);
    }
}
