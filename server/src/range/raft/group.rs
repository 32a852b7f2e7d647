//! A range's Raft group on this node: openraft's handle behind a thin method each.
//!
//! What others do with a group is here, what its messages do to it in `receive.rs`, how a leadership is ended in
//! `step_down.rs`; what they may know of it is [`Progress`]. Nothing outside `range/raft/` sees openraft.
//!
//! [`Group::progress`] copies the membership and what is known of every follower: it is for people, and for jobs that
//! run now and then. What requests ask (who leads, in which term, whether this replica votes) has methods of its
//! own, which copy nothing but what they return.
//!
//! # Invariants
//!
//! * A proposal is tied to the term that it belongs to: openraft appends it only where that one still leads.
//! * A change of the membership is proposed only on the membership that it was decided on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    ChangeMembers, LinearizerOption, async_runtime::watch::WatchReceiver, impls::OneshotResponder,
    raft::Precondition,
};

use super::{
    config::config,
    log_store::LogStore,
    network::Network,
    progress::{Progress, Vote},
    state_machine::StateMachine,
    types::{self, Holder, Proposal, RaftMetrics, TypeConfig},
};
use crate::{
    ids::{NodeId, ReplicaId},
    planted::{self, Bug},
    range::{command::outcome::Applied, elections::RaftTimes, members::Members},
    storage::format::{codec, command::Command, raft::Position},
    time::local::{Instant, timeout},
};

/// How long openraft may take to note what is durable.
const DURABLE_POINT_TIMEOUT: Duration = Duration::from_secs(2);

/// A replica's Raft group; cheap to clone.
#[derive(Clone)]
pub struct Group {
    pub(super) raft: openraft::Raft<TypeConfig, StateMachine>,
}

/// What a replica is in its group: see [`Group::seat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The term of its vote.
    pub term: u64,
    /// The node that leads the range, as far as the replica knows; it may be gone by now.
    pub leader: Option<NodeId>,
    /// Whether it leads itself, as far as it knows.
    pub leads: bool,
    /// Whether it votes; not while it catches up, nor once another one has its place.
    pub votes: bool,
}

/// What a leader can say of its leadership: see [`Group::leadership`].
pub struct Leadership {
    /// Whose it is.
    pub leader: ReplicaId,
    /// The term.
    pub term: u64,
    /// One set of voters, or two while a change is half done.
    pub configs: Vec<Vec<ReplicaId>>,
    /// Every replica and the node that holds it.
    pub holders: Vec<(ReplicaId, NodeId)>,
}

/// Whether a leader is answered: see [`Group::quorum`].
pub struct Quorum {
    /// The term that it leads in.
    pub term: u64,
    /// When that was sent which a majority answered last.
    pub answered_at: Option<Instant>,
    /// It is the only voter.
    pub is_alone: bool,
}

impl Group {
    /// Starts the group of a replica, which stands for election by `standing`.
    pub(in crate::range) async fn start(
        (times, standing): (RaftTimes, RaftTimes),
        network: Network,
        log: LogStore,
        machine: StateMachine,
    ) -> Result<Group, String> {
        let id = network.me.0;
        let config = config(network.range, times, standing).validate();
        let config = Arc::new(config.map_err(|error| error.to_string())?);
        let raft = openraft::Raft::new(id, config, network, log, machine).await;
        Ok(Group { raft: raft.map_err(|error| error.to_string())? })
    }

    /// Founds the group with these replicas. Does nothing where it exists.
    pub async fn found(&self, replicas: &[(ReplicaId, NodeId)]) -> Result<(), String> {
        if self.is_founded().await? {
            return Ok(());
        }
        let members: BTreeMap<u64, Holder> =
            replicas.iter().map(|(replica, node)| (replica.0, Holder { node: *node })).collect();
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            // Another member was faster, and its log is here already.
            Err(_) if self.is_founded().await? => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn is_founded(&self) -> Result<bool, String> {
        self.raft.is_initialized().await.map_err(|error| error.to_string())
    }

    /// Ends the group.
    pub async fn shutdown(&self) {
        // It may have ended by itself.
        self.raft.shutdown().await.ok();
    }

    /// What the group knows of itself now.
    pub fn progress(&self) -> Progress {
        Progress::of(&self.raft.metrics().borrow_watched())
    }

    /// What this replica is in its group now: all that a router asks of it, of one moment.
    pub fn seat(&self) -> Seat {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let holder = |leader: u64| membership.get_node(&leader).map(|holder| holder.node);
        Seat {
            term: metrics.vote.leader_id.term,
            leader: metrics.current_leader.and_then(holder),
            leads: led_in(&metrics.vote, metrics.id).is_some(),
            votes: membership.get_joint_config().iter().any(|config| config.contains(&metrics.id)),
        }
    }

    /// The replicas of the range, be that committed or not.
    pub fn members(&self) -> Members {
        types::members(&self.raft.server_metrics().borrow_watched().membership_config)
    }

    /// The term that this replica leads in, as far as it knows.
    pub fn leads(&self) -> Option<u64> {
        // `openraft::Raft::as_leader` says the same, and copies its handle for it.
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        led_in(&metrics.vote, metrics.id)
    }

    /// Whether this replica leads in a term, as far as it knows.
    pub fn leads_in(&self, term: u64) -> bool {
        self.leads() == Some(term)
    }

    /// The node that leads the range, as far as this replica knows; it may be gone by now.
    pub fn leader_node(&self) -> Option<NodeId> {
        self.seat().leader
    }

    /// The term of this replica's vote.
    pub fn term(&self) -> u64 {
        self.raft.server_metrics().borrow_watched().vote.leader_id.term
    }

    /// This replica's vote.
    pub fn vote(&self) -> Vote {
        types::vote_record(&self.raft.metrics().borrow_watched().vote)
    }

    /// What this replica knows to be committed.
    pub(super) fn committed(&self) -> Option<Position> {
        self.raft.metrics().borrow_watched().local_committed.as_ref().map(types::position)
    }

    /// The leadership of this replica, if it leads as far as it knows.
    pub fn leadership(&self) -> Option<Leadership> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let vote = metrics.vote;
        let leads = metrics.state.is_leader() && vote.is_committed();
        if !leads || vote.leader_id.voted_for != metrics.id {
            return None;
        }
        let membership = metrics.membership_config.membership();
        let configs = membership.get_joint_config().iter();
        let holders = membership.nodes().map(|(id, holder)| (ReplicaId(*id), holder.node));
        Some(Leadership {
            leader: ReplicaId(metrics.id),
            term: vote.leader_id.term,
            configs: configs
                .map(|config| config.iter().copied().map(ReplicaId).collect())
                .collect(),
            holders: holders.collect(),
        })
    }

    /// Whether the voters answer this replica, if it leads as far as it knows.
    pub fn quorum(&self) -> Option<Quorum> {
        let term = self.leads()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids().count();
        let answered_at = metrics.last_quorum_acked.map(|at| at.into_inner().local());
        Some(Quorum { term, answered_at, is_alone: voters <= 1 })
    }

    /// Waits until a replica that leads in a term has applied the first entry of its leadership, and with it
    /// all that was in its log when it was elected. Raft confirms the leadership on the way. `false`: not
    /// within this time, or the leadership ended.
    pub async fn prepare(&self, term: u64, within: Duration) -> bool {
        let ready = async {
            let option = LinearizerOption::new(Some(Duration::ZERO), true);
            let linearizer = self.raft.get_read_linearizer(option).await.ok()?;
            linearizer.await_ready(&self.raft).await.ok()
        };
        // The wait may have outlived the term that it was for.
        timeout(within, ready).await.ok().flatten().is_some() && self.leads_in(term)
    }

    /// Proposes an encoded command, in the term that it belongs to. Raft has it when this returns; what comes then is
    /// what became of it once it is applied. After any error nobody knows whether it will be.
    pub async fn propose(
        &self,
        term: u64,
        command: Bytes,
    ) -> Result<impl Future<Output = Result<Applied, String>> + Send + use<>, String> {
        let (responder, answer) = OneshotResponder::new_pair();
        let write = self.raft.write(Proposal(command)).responder(responder);
        let write = match planted::active(Bug::StaleEvaluationApplied) {
            // The careless hand: "whoever leads may append it".
            true => write,
            false => write.with_leader(term),
        };
        write.await.map_err(|error| error.to_string())?;
        Ok(async {
            match answer.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the Raft group gave a proposal up".to_owned()),
            }
        })
    }

    /// Proposes a command that is no request of a client. `None`, here and there: nobody knows.
    pub async fn propose_command(
        &self,
        term: u64,
        command: &Command<'_>,
    ) -> Option<impl Future<Output = Option<Applied>> + Send + use<>> {
        let applied = self.propose(term, Bytes::from(codec::encode(command))).await.ok()?;
        Some(async { applied.await.ok() })
    }

    /// Sends a heartbeat, as leader.
    pub async fn heartbeat(&self) {
        // A group that has failed stops the node by itself.
        self.raft.trigger().heartbeat().await.ok();
    }

    /// Asks the others whether they would elect this replica, and stands for election where they would.
    pub async fn stand_for_election(&self) {
        self.raft.trigger().elect(true).await.ok();
    }

    /// Hands the leadership over, as leader; whether that succeeds is seen later.
    pub async fn hand_over_to(&self, replica: ReplicaId) {
        self.raft.trigger().transfer_leader(replica.0).await.ok();
    }

    /// Truncates the log up to an index, which must be durably applied.
    pub async fn truncate(&self, upto: u64) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        // openraft truncates only below a snapshot: this makes it note the durable point.
        self.raft.trigger().snapshot().await.map_err(|error| words(&error))?;
        let is_noted = |metrics: &RaftMetrics| {
            metrics.snapshot.as_ref().is_some_and(|noted| noted.index() >= upto)
        };
        let wait = self.raft.wait(Some(DURABLE_POINT_TIMEOUT));
        wait.metrics(is_noted, "durable").await.map_err(|error| words(&error))?;
        self.raft.trigger().purge_log(upto).await.map_err(|error| words(&error))
    }

    /// Adds a replica that does not vote.
    pub async fn add_learner(
        &self,
        decided_on: &Members,
        replica: ReplicaId,
        node: NodeId,
    ) -> Result<(), String> {
        let learner = BTreeMap::from([(replica.0, Holder { node })]);
        self.change(decided_on, ChangeMembers::AddNodes(learner), true).await
    }

    /// Makes learners voters in the place of others, which are replicas of the range no more.
    pub async fn replace_voters(
        &self,
        decided_on: &Members,
        added: &BTreeSet<ReplicaId>,
        removed: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        let changes = ChangeMembers::Batch(vec![
            ChangeMembers::AddVoterIds(ids(added)),
            ChangeMembers::RemoveVoters(ids(removed)),
        ]);
        self.change(decided_on, changes, false).await
    }

    /// Ends a joint change; those that were to go stay as learners.
    pub async fn end_change(&self, decided_on: &Members) -> Result<(), String> {
        self.change(decided_on, ChangeMembers::AddVoterIds(BTreeSet::new()), true).await
    }

    /// Removes replicas that do not vote.
    pub async fn remove_learners(
        &self,
        decided_on: &Members,
        replicas: &BTreeSet<ReplicaId>,
    ) -> Result<(), String> {
        self.change(decided_on, ChangeMembers::RemoveNodes(ids(replicas)), true).await
    }

    async fn change(
        &self,
        decided_on: &Members,
        changes: ChangeMembers<u64, Holder>,
        retain: bool,
    ) -> Result<(), String> {
        let unchanged: Precondition<TypeConfig> = Precondition::LastMembershipLogId {
            last_membership_log_id: decided_on.at.map(types::log_id),
        };
        let changed = self.raft.change_membership_if(changes, retain, [unchanged]).await;
        changed.map(drop).map_err(|error| error.to_string())
    }
}

/// The term in which a replica leads that has voted so.
fn led_in(vote: &types::Vote, me: u64) -> Option<u64> {
    let leads = vote.committed && vote.leader_id.voted_for == me;
    leads.then_some(vote.leader_id.term)
}

fn ids(replicas: &BTreeSet<ReplicaId>) -> BTreeSet<u64> {
    replicas.iter().map(|replica| replica.0).collect()
}
