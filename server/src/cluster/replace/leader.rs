//! One range's part of a replacement, at its leader: see `cluster/replace/mod.rs` for the steps and for what is
//! left of them after a crash.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::{plan, state::NodeState},
    failpoint,
    ids::{NodeId, RangeId, ReplicaId},
    peer::ask,
    range::{members::Members, replica::Replica},
    time::local::{Instant, sleep, timeout},
};

/// A new replica this far behind may vote.
const LAG_MAX: u64 = 200;
/// Between two looks at a replica that catches up.
const CATCH_UP_POLL: Duration = Duration::from_millis(50);
/// For each change of the membership, and each question to the node.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// One call waits no longer, whatever it is allowed.
const ALLOWED_MAX: Duration = Duration::from_secs(60);
/// Changes of the membership that one call makes at most: none is needed twice.
const CHANGES_MAX: usize = 8;

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

/// What is to be done next, as the membership and the node say.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Somebody's change is half done.
    EndChange,
    /// The node holds a replica that the range does not know.
    Add(ReplicaId),
    /// It has to catch up, and to vote in the place of these.
    PutInPlace(ReplicaId, BTreeSet<ReplicaId>),
    /// What is left of an earlier replica.
    Remove(BTreeSet<ReplicaId>),
    /// One replica of the range is on the node, it votes, and the node holds it.
    Done(ReplicaId),
}

/// `held` is the replica that the node holds.
fn next_step(members: &Members, node: NodeId, held: ReplicaId) -> Step {
    let mut others = members.on(node);
    let is_known = others.remove(&held);
    if members.is_joint() {
        return Step::EndChange;
    }
    if !is_known {
        return Step::Add(held);
    }
    let old: BTreeSet<_> = others.iter().copied().filter(|id| members.is_voter(*id)).collect();
    if !members.is_voter(held) || !old.is_empty() {
        return Step::PutInPlace(held, old);
    }
    if others.is_empty() { Step::Done(held) } else { Step::Remove(others) }
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
        let mut was_done = true;
        if held == ReplicaId(0) {
            was_done = false;
            let id = in_time(replica.reserve_id()).await?;
            failpoint::hit("replace.after-reserve");
            held = self.held(node, id).await?;
        }
        for _ in 0..CHANGES_MAX {
            let members = replica.members();
            let step = next_step(&members, node, held);
            if !matches!(step, Step::Done(_)) {
                was_done = false;
                tracing::info!(range = %self.range, %node, ?step, "a replica is replaced");
            }
            match step {
                Step::EndChange => in_time(replica.end_change(&members)).await?,
                Step::Add(new) => in_time(replica.add_learner(&members, new, node)).await?,
                Step::PutInPlace(new, old) => {
                    catch_up(replica, new, until).await?;
                    in_time(replica.put_in_place(&members, new, &old)).await?;
                }
                Step::Remove(old) => in_time(replica.remove_learners(&members, &old)).await?,
                Step::Done(new) => {
                    catch_up(replica, new, until).await?;
                    return Ok(was_done);
                }
            }
        }
        Err("its replicas change again and again".to_owned())
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
        let peers = self.node_state.peers();
        if node == peers.me() {
            return self.node_state.hold(self.range, offer).await;
        }
        let asked = peers.question(node, Some(self.range), ask::HoldReplica(offer));
        match timeout(STEP_TIMEOUT, asked).await {
            Ok(Ok(Ok(held))) => Ok(held),
            Ok(Ok(Err(refusal))) => Err(format!("node {} refuses: {refusal}", node.0)),
            _ => Err(format!("node {} does not answer", node.0)),
        }
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let done = timeout(STEP_TIMEOUT, step).await;
    done.unwrap_or_else(|_| Err("too few of its replicas answer".to_owned()))
}

/// Waits until a replica has most of the log.
async fn catch_up(replica: &Replica, new: ReplicaId, until: Instant) -> Result<(), String> {
    loop {
        if !replica.is_leader() {
            return Err("its leader has changed".to_owned());
        }
        let lag = replica.lag_of(new);
        // The leader itself has all of it.
        if new == replica.id || lag.is_some_and(|lag| lag <= LAG_MAX) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(match lag {
                Some(lag) => format!("its new replica catches up, {lag} entries are left"),
                None => "its new replica catches up".to_owned(),
            });
        }
        sleep(CATCH_UP_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas 1 to 3 on the nodes 1 to 3, and more.
    fn members(is_joint: bool, voters: &[u64], more: &[(u64, u64)]) -> Members {
        Members::of(is_joint, voters, &[&[(1, 1), (2, 2), (3, 3)], more].concat())
    }

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().map(|id| ReplicaId(*id)).collect()
    }

    #[test]
    fn the_next_step_follows_from_what_is_there() {
        let (node, held) = (NodeId(3), ReplicaId(4));
        let cases = [
            (members(false, &[1, 2, 3], &[]), Step::Add(held)),
            (members(false, &[1, 2, 3], &[(4, 3)]), Step::PutInPlace(held, ids(&[3]))),
            // The leader died in the middle of it: another ends it, which keeps the old one.
            (members(true, &[1, 2, 3, 4], &[(4, 3)]), Step::EndChange),
            (members(false, &[1, 2, 4], &[(4, 3)]), Step::Remove(ids(&[3]))),
            (Members::of(false, &[1, 2, 4], &[(1, 1), (2, 2), (4, 3)]), Step::Done(held)),
            // The disk was lost again, before the first new replica voted and after it.
            (members(false, &[1, 2, 3], &[(5, 3), (4, 3)]), Step::PutInPlace(held, ids(&[3]))),
            (members(false, &[1, 2, 5], &[(5, 3)]), Step::Add(held)),
            (members(false, &[1, 2, 5], &[(5, 3), (4, 3)]), Step::PutInPlace(held, ids(&[5]))),
            (members(false, &[1, 2, 4], &[(5, 3), (4, 3)]), Step::Remove(ids(&[3, 5]))),
        ];
        for (members, step) in cases {
            assert_eq!(next_step(&members, node, held), step, "{members:?}");
        }
        // A node that never lost anything.
        assert_eq!(
            next_step(&members(false, &[1, 2, 3], &[]), node, ReplicaId(3)),
            Step::Done(ReplicaId(3))
        );
    }
}
