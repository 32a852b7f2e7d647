//! One range's part of a replacement, at its leader: see `cluster/replace/mod.rs` for the steps and for what is
//! left of them after a crash.

use std::{sync::Arc, time::Duration};

use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::{plan, state::NodeState},
    failpoint,
    ids::{NodeId, RangeId, ReplicaId},
    peer::ask::{self, NoAnswer},
    range::replica::Replica,
    time::local::Instant,
};

/// For each question to the node.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// One call waits no longer, whatever it is allowed.
const ALLOWED_MAX: Duration = Duration::from_secs(60);

/// Work on a range; one at a time.
struct Work {
    node_state: Arc<NodeState>,
    range: RangeId,
}

impl Work {
    fn begin(node_state: &Arc<NodeState>, range: RangeId) -> Option<Work> {
        let is_free = node_state.replacing.lock().insert(range);
        is_free.then(|| Work { node_state: node_state.clone(), range })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.node_state.replacing.lock().remove(&self.range);
    }
}

impl NodeState {
    /// Puts a new replica of a range that this node leads in the place of those that another node had.
    /// `Ok`: it is done, and whether it was before. `Err` says what it waits for; it goes on where it
    /// is when it is called again. A caller that goes away does not stop it.
    pub(in crate::cluster) async fn replace_replica(
        self: &Arc<Self>,
        range: RangeId,
        node: NodeId,
        allowed: Duration,
    ) -> Result<bool, String> {
        let replica = self.router().replica(range).filter(Replica::is_leader);
        let replica = replica.ok_or("its leader has changed")?;
        let work = Work::begin(self, range).ok_or("it is under way already")?;
        let until = Instant::now() + allowed.min(ALLOWED_MAX);
        let working = tokio::spawn(async move { work.run(&replica, node, until).await });
        working.await.unwrap_or_else(|_| Err("it was stopped".to_owned()))
    }
}

impl Work {
    async fn run(&self, replica: &Replica, node: NodeId, until: Instant) -> Result<bool, String> {
        let mut held = self.held(node, ReplicaId(0)).await?;
        let held_one = held != ReplicaId(0);
        if !held_one {
            let id = replica.reserve_id().await?;
            failpoint::hit("replace.after-reserve");
            held = self.held(node, id).await?;
        }
        let was_in_place = replica.move_in(node, held, until).await?;
        Ok(held_one && was_in_place)
    }

    /// The replica of the range that the node holds. Where that is none it is offered one, unless
    /// `offered` is 0.
    async fn held(&self, node: NodeId, offered: ReplicaId) -> Result<ReplicaId, String> {
        let cluster = self.node_state.cluster();
        let births = cluster.iter().flat_map(|cluster| &cluster.ranges);
        let birth = births.into_iter().find(|birth| birth.range == self.range);
        let birth = birth.ok_or("its leader does not know how it was born")?;
        let offer =
            wire::HoldReplica { replica_id: offered.0, birth: Some(plan::range_to_wire(birth)) };
        let question = ask::HoldReplica(offer.clone());
        let here = self.node_state.hold(self.range, offer);
        match self.node_state.at(node, Some(self.range), question, STEP_TIMEOUT, here).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(refusal)) => Err(format!("node {} refuses: {refusal}", node.0)),
            Err(NoAnswer) => Err(format!("node {} does not answer", node.0)),
        }
    }
}
