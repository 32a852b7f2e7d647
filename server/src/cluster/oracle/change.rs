//! Another set of time servers, begun and brought to its end by whoever leads the system range.
//!
//! The servers belong where the voters of the system range are: one on each of their nodes, or on those that an
//! operator has named (`placement.rs`). A node that lost its disk is another server, and so the set follows by itself
//! when it is taken back. What a change is, and why it is safe, is in `time/oracle/membership.rs`.
//!
//! ```text
//!   look        active set is the wanted one    -> whoever is not seeded yet is, above a fresh round
//!               it is not, most wanted are there -> begin (committed to the system range)
//!               a set was begun                 -> fence, seed, activate (committed)
//!               a majority is lost for good     -> an operator says who (`recover.rs`); then the same, above all
//!                                                  that any node knows
//! ```
//!
//! # Invariants
//!
//! * All servers of an epoch are seeded with one value, or above a round of that epoch: the change of an epoch is
//!   known to the one leader that began it, in one term. Another leader, and the same one in another term, begins a
//!   newer epoch ([`Changes::look`]).
//!
//! # On a crash
//!
//! What was begun is in the system range; its next leader begins anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;

use super::{placement::candidates, recover};
use crate::{
    cluster::state::NodeState,
    ids::{NodeId, SYSTEM_RANGE, TimeDomain},
    peer::ask::{TimeFence, TimeSeed},
    range::replica::Replica,
    storage::format::command::Command,
    time::{
        local::timeout,
        oracle::{
            Block, Config, Epoch, ServerId,
            membership::{Change, Epochs, Step},
            server::{Fenced, Seeded},
        },
    },
};

/// How long one message to a time server may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(1);
/// Steps of one look; what is left comes with the next.
const STEPS_MAX: usize = 8;

/// What the leader of the system range knows of changes.
#[derive(Default)]
pub(crate) struct Changes {
    /// The term in which it began the change that is under way.
    begun_in: u64,
    change: Option<Change>,
    /// Members of the active set that are known to be seeded.
    seeded: (Epoch, BTreeSet<ServerId>),
}

impl Changes {
    /// Looks whether the set of time servers is the wanted one, where this node leads the system range, and brings a
    /// change forward.
    pub(crate) async fn look(&mut self, node_state: &Arc<NodeState>) {
        let replica = node_state.router().replica(SYSTEM_RANGE);
        let led = replica.and_then(|replica| Some((replica.raft.leads()?, replica)));
        let Some((term, replica)) = led else {
            *self = Changes::default();
            return;
        };
        if term != self.begun_in {
            *self = Changes { begun_in: term, ..Changes::default() };
        }
        let epochs = replica.shared.state.time_servers();
        // A recovery begins a newer one than that which waits for servers that are lost.
        self.change.take_if(|change| change.target().epoch != epochs.newest().epoch);
        if let Some(change) = self.change.take() {
            let left = go_on(node_state, &replica, term, change).await;
            // Where others are wanted by now it may never end: the next look begins a newer epoch, which fences this
            // one.
            let wanted = wanted(node_state, &replica);
            self.change =
                left.filter(|it| wanted.is_none_or(|wanted| wanted == it.target().members));
            return;
        }
        let wanted = wanted(node_state, &replica);
        let is_wanted = wanted.as_ref().is_none_or(|wanted| *wanted == epochs.active.members);
        if epochs.begun.is_empty() && is_wanted {
            return self.seed_the_rest(node_state, &epochs.active).await;
        }
        let Some(members) = wanted else { return };
        self.begin(node_state, &replica, &epochs, members).await;
    }

    async fn begin(
        &mut self,
        node_state: &NodeState,
        replica: &Replica,
        epochs: &Epochs,
        members: BTreeSet<ServerId>,
    ) {
        let term = self.begun_in;
        tracing::info!(servers = members.len(), "another set of time servers is begun");
        let command = Command::BeginTimeServers {
            evaluated_under: term,
            time_domain: TimeDomain::default(),
            after: epochs.newest().epoch,
            members: members.iter().copied().collect(),
        };
        if !replica.commit(term, &command).await {
            return;
        }
        let epochs = replica.shared.state.time_servers();
        let is_ours = epochs.begun.last().is_some_and(|begun| begun.members == members);
        if is_ours && replica.raft.leads_in(term) {
            self.change = Change::to_newest(&epochs, recover::newest(node_state));
        }
    }

    /// Seeds members of the active set that the change left behind, above a round of their epoch.
    async fn seed_the_rest(&mut self, node_state: &Arc<NodeState>, active: &Config) {
        if self.seeded.0 != active.epoch {
            self.seeded = (active.epoch, BTreeSet::new());
        }
        let left: Vec<_> = active.members.difference(&self.seeded.1).copied().collect();
        if left.is_empty() {
            return;
        }
        // Above all that was issued before, in whatever epoch.
        let Ok(above) = node_state.host().oracle.round().await else { return };
        let told = left
            .into_iter()
            .map(|to| async move { (to, seed(node_state, to, active.clone(), above).await) });
        let told = join_all(told).await.into_iter();
        self.seeded.1.extend(told.filter(|(_, told)| *told == Some(Seeded::Ok)).map(|(to, _)| to));
    }
}

/// Brings a change forward; what is left of it.
async fn go_on(
    node_state: &Arc<NodeState>,
    replica: &Replica,
    term: u64,
    mut change: Change,
) -> Option<Change> {
    for _ in 0..STEPS_MAX {
        let step = change.step();
        match step.clone() {
            Step::Fence(servers) => {
                let target = change.target().clone();
                let told = servers.into_iter().map(|to| {
                    let target = target.clone();
                    async move { (to, fence(node_state, to, target).await) }
                });
                for (from, answer) in join_all(told).await {
                    answer.into_iter().for_each(|answer| change.fenced(from, answer));
                }
            }
            Step::Seed(servers, above) => {
                let target = change.target().clone();
                let told = servers.into_iter().map(|to| {
                    let target = target.clone();
                    async move { (to, seed(node_state, to, target, above).await) }
                });
                for (from, answer) in join_all(told).await {
                    answer.into_iter().for_each(|answer| change.seeded(from, answer));
                }
            }
            Step::Gather => {
                let lost = replica.shared.state.time_servers().lost;
                match recover::highest(node_state, change.target().epoch, &lost).await {
                    Ok(highest) => change.gathered(recover::begins_above(highest)),
                    Err(why) => tracing::warn!(why, "time can't begin anew yet"),
                }
            }
            Step::Activate => {
                let epoch = change.target().epoch;
                let command = Command::ActivateTimeServers {
                    evaluated_under: term,
                    time_domain: TimeDomain::default(),
                    epoch,
                };
                let done = replica.commit(term, &command).await;
                if done {
                    tracing::info!(epoch = epoch.0, "the new set of time servers is active");
                }
                return (!done).then_some(change);
            }
            Step::Superseded => return None,
        }
        if change.step() == step {
            // Nobody has answered: at the next look.
            break;
        }
    }
    Some(change)
}

/// The servers that there should be, where a majority of them can be asked; none where not: a change must not be begun
/// that waits for somebody. Who is away meanwhile is seeded when it is back ([`Changes::seed_the_rest`]).
fn wanted(node_state: &NodeState, replica: &Replica) -> Option<BTreeSet<ServerId>> {
    let servers = candidates(node_state, replica, &replica.shared.state.time_servers().lost)?;
    let live = servers.values().filter(|(_, is_live)| *is_live).count();
    (live > servers.len() / 2).then(|| servers.into_keys().collect())
}

/// The node that a time server is on, where it can be asked: nobody waits for one that is away.
fn node_of(node_state: &NodeState, server: ServerId) -> Option<NodeId> {
    let peers = node_state.peers();
    let book = peers.book().all();
    let node = book.iter().find(|at| at.directory == server.0)?.node;
    (node == peers.me() || peers.is_live(node)).then_some(node)
}

async fn fence(node_state: &Arc<NodeState>, to: ServerId, config: Config) -> Option<Fenced> {
    let node = node_of(node_state, to)?;
    if node == node_state.peers().me() {
        return timeout(STEP_TIMEOUT, node_state.time_server().fence(&config)).await.ok();
    }
    node_state.peers().ask_within(node, None, TimeFence(config), STEP_TIMEOUT).await.ok()
}

async fn seed(
    node_state: &Arc<NodeState>,
    to: ServerId,
    config: Config,
    above: Block,
) -> Option<Seeded> {
    let node = node_of(node_state, to)?;
    if node == node_state.peers().me() {
        return timeout(STEP_TIMEOUT, node_state.time_server().seed(&config, above)).await.ok();
    }
    node_state.peers().ask_within(node, None, TimeSeed(config, above), STEP_TIMEOUT).await.ok()
}
