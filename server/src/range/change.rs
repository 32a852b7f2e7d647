//! Changing the replicas of a range, as its leader.
//!
//! Each step is one of Raft's own protocol: a replica joins as a learner, catches up, and is a voter by joint
//! consensus in the place of another. Which step comes next follows from the membership and from what the node
//! holds, so that nothing has to be remembered ([`Replica::move_in`]). Which node is to hold a replica is decided
//! elsewhere (`cluster/replace/mod.rs`).
//!
//! # Invariants
//!
//! * An id that was reserved ([`Replica::reserve_id`]) is nobody else's, ever: the counter is a part of the
//!   range's applied state.
//! * A change is proposed only on the membership that it was decided on: otherwise Raft refuses it.
//!
//! # On a crash
//!
//! A change may be left half done: then the membership is joint ([`Members::is_joint`]), which is safe and
//! needs majorities of both sets. Whoever leads next ends it with [`Step::EndChange`], which keeps
//! those that were to go as learners: whoever began the change wanted something that is not known here.

use std::{collections::BTreeSet, time::Duration};

use super::{command::outcome::Applied, members::Members, replica::Replica};
use crate::{
    ids::{NodeId, ReplicaId},
    storage::format::command::Command,
    time::local::{Instant, sleep, timeout},
};

/// A new replica this far behind may vote.
const LAG_MAX: u64 = 200;
/// Between two looks at a replica that catches up.
const CATCH_UP_POLL: Duration = Duration::from_millis(50);
/// Changes of the membership that one call makes at most: none is needed twice.
const CHANGES_MAX: usize = 8;
/// For each change of the membership.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

impl Replica {
    /// The replicas of the range as this one knows them.
    pub fn members(&self) -> Members {
        self.raft.members()
    }

    /// How many entries another replica is known to lack. Nothing is known of it at first.
    pub fn lag_of(&self, replica: ReplicaId) -> Option<u64> {
        let progress = self.raft.progress();
        progress.matched(replica).map(|matched| progress.last_index.saturating_sub(matched))
    }

    /// Reserves a replica id of the range. `Err`: perhaps one was reserved; nobody will have it.
    pub async fn reserve_id(&self) -> Result<ReplicaId, String> {
        let term = self.raft.leads().ok_or("this replica leads no more")?;
        let command = Command::ReserveReplica { evaluated_under: term };
        let applied = async {
            let applied = async { self.raft.propose_command(term, &command).await?.await };
            match applied.await {
                Some(Applied::Replica(id)) => Ok(id),
                _ => Err("leadership changed".to_owned()),
            }
        };
        in_time(applied).await
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

impl Replica {
    /// Makes the replica that a node holds the only one of the range there, and a voter; whether it was before.
    /// `Err` says what it waits for: it goes on where it is when it is called again.
    pub async fn move_in(
        &self,
        node: NodeId,
        held: ReplicaId,
        until: Instant,
    ) -> Result<bool, String> {
        let mut was_in_place = true;
        for _ in 0..CHANGES_MAX {
            let members = self.members();
            let step = next_step(&members, node, held);
            if !matches!(step, Step::Done(_)) {
                was_in_place = false;
                tracing::info!(range = %self.range, %node, ?step, "a replica is replaced");
            }
            match step {
                Step::EndChange => in_time(self.raft.end_change(&members)).await?,
                Step::Add(new) => in_time(self.raft.add_learner(&members, new, node)).await?,
                Step::PutInPlace(new, old) => {
                    catch_up(self, new, until).await?;
                    let new = BTreeSet::from([new]);
                    in_time(self.raft.replace_voters(&members, &new, &old)).await?;
                }
                Step::Remove(old) => in_time(self.raft.remove_learners(&members, &old)).await?,
                Step::Done(new) => {
                    catch_up(self, new, until).await?;
                    return Ok(was_in_place);
                }
            }
        }
        Err("its replicas change again and again".to_owned())
    }
}

/// A step of a change, in time.
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
