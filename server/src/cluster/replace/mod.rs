//! Taking a node back that lost its disk: `quintet replace NODE`.
//!
//! The node is started under its old id with an empty directory. What it had voted for and acknowledged is
//! gone, so it must never be again who it was: each of its replicas is replaced by one with an id that
//! nobody had (`docs/decisions/2026-11-29-replica-ids-are-used-once.md`).
//!
//! ```text
//!   any node (this file)            the empty node (member.rs)       each range's leader (leader.rs)
//!   1  Enlist: the plan     ->      stores the plan without its
//!                                   old replicas: a member again
//!   2  ReplaceReplica       ------------------------------------>    a  an id is reserved, by consensus
//!      to every leader              holds the new replica,      <-   b  HoldReplica
//!                                   durably                     ->
//!                                                                    c  it is added as a learner
//!                                   catches up, by log or raft  <-   d  and waited for
//!                                   snapshot
//!                                                                    e  joint change: it votes, the old
//!                                                                       one is gone, its id is dead
//! ```
//!
//! Nothing is remembered of a replacement that is under way. What is left to do follows from what is
//! there: a range is done where the membership has one replica on the node, which votes, and the node
//! holds that one and no other. So the command can be given again after anything, at any node, by two
//! operators at once.
//!
//! # Invariants
//!
//! * A replica id is used on one disk only: it is reserved by a committed command (step a) for one message
//!   (step b), and a node that holds a replica of the range already answers which, and takes no other. An
//!   id whose message was lost is dead.
//! * A node never starts a replica that is not on its disk: not one of the plan that it is enlisted with
//!   (`member.rs`). Messages for a replica that it does not hold are answered so (`answers/mod.rs`).
//! * A node that has not lost its disk is refused: it is asked, and says what it has.
//! * The old replica counts as a voter that is down until the change is committed, so a majority of the old
//!   set must be up: a replacement can't make a majority of nodes that know less than was acknowledged.
//!
//! # On a crash
//!
//! | who, when | what is left | the command, given again |
//! |---|---|---|
//! | the node, before 1 is stored | it is empty | begins |
//! | the node, after 1 | a member without replicas, or with those that it holds | goes on |
//! | the leader, after a | a dead id | reserves another |
//! | the leader, after b | a replica that nobody knows | finds it on the node and adds it |
//! | the leader, after c or in d | a learner | waits for it |
//! | the leader, in e, the change joint | a joint membership, the new replica in one set, the old in the other | ends it, then removes the old one, a learner by then |
//! | the disk again, at any time | a node that holds nothing | begins; ids that it was given are not given again |
//! | the asked node or the client | all of the above | goes on |

pub(super) mod leader;
pub(super) mod member;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use quintet_proto::{internal::v1 as wire, v1};

use super::{plan, state::NodeState};
use crate::{
    error::OpError,
    ids::{NodeId, RangeId},
    peer::ask::{self, NoAnswer},
    storage::format::cluster::ClusterRecord,
    time::{
        local::{Instant, sleep},
        ms_u32, patience,
    },
};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Ranges that are worked on at a time.
const RANGES_AT_ONCE: usize = 4;
/// How long an answer may take beyond what its question allows.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// Between two questions for one range.
const PAUSE: Duration = Duration::from_millis(200);

/// How one range stands.
enum Standing {
    Replaced { before: bool },
    Waits(String),
}

impl NodeState {
    /// Replaces what is left to replace of a node's replicas, for as long as the request says. The
    /// answer says what is done. `may_forward` is false where another node sent the request on.
    pub async fn replace(
        self: &Arc<Self>,
        request: v1::ReplaceNodeRequest,
        may_forward: bool,
    ) -> Result<v1::ReplaceNodeResponse, OpError> {
        let allowed = patience(request.timeout_ms, TIMEOUT_DEFAULT, TIMEOUT_MAX);
        let until = Instant::now() + allowed;
        let Some(cluster) = self.cluster() else {
            if self.peers().cluster_around().is_none() || !may_forward {
                return Err(self.peers().no_cluster());
            }
            return self.let_another(request, allowed).await;
        };
        let node = NodeId(request.node_id);
        if !cluster.nodes.contains(&node) {
            let message = format!("node {} is no member; 'quintet status' lists them", node.0);
            return Err(OpError::invalid(message));
        }
        if self.has_never_lost(node, &cluster).await? {
            let message = format!(
                "node {} has not lost its disk: there is nothing to replace. It must be started with an \
                 empty directory first",
                node.0
            );
            return Err(OpError::new(v1::Code::NodeNotEmpty, message));
        }
        let known = self.router().routes().all();
        let ranges: BTreeSet<_> = known.iter().map(|descriptor| descriptor.range).collect();
        let standings: Vec<_> = futures::stream::iter(ranges)
            .map(|range| self.replace_range(range, node, until))
            .buffer_unordered(RANGES_AT_ONCE)
            .collect()
            .await;
        let mut done = v1::ReplaceNodeResponse::default();
        for standing in standings {
            done.ranges += 1;
            match standing {
                Standing::Replaced { before } => {
                    done.replaced += 1;
                    done.replaced_before += u32::from(before);
                }
                Standing::Waits(why) => done.waits_for = why,
            }
        }
        Ok(done)
    }

    /// The node that was asked is the empty one, and knows nothing of the cluster.
    async fn let_another(
        self: &Arc<Self>,
        request: v1::ReplaceNodeRequest,
        allowed: Duration,
    ) -> Result<v1::ReplaceNodeResponse, OpError> {
        let mut refusal = self.peers().no_cluster();
        for node in self.peers().book().nodes() {
            let (question, within) = (ask::Replace(request), allowed + ANSWER_GRACE);
            match self.peers().ask_within(node, None, question, within).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => match error.code {
                    // Another one like this, or one that just can't.
                    v1::Code::EmptyNode | v1::Code::NotInitialized | v1::Code::Unavailable => {
                        refusal = error;
                    }
                    _ => return Err(error),
                },
                Err(NoAnswer) => {}
            }
        }
        Err(refusal)
    }

    /// Makes a node that lost its disk a member; whether it has not lost it.
    async fn has_never_lost(
        self: &Arc<Self>,
        node: NodeId,
        cluster: &ClusterRecord,
    ) -> Result<bool, OpError> {
        let question = ask::Enlist(plan::to_wire(cluster));
        let here = async { Ok(self.has_first_replicas(cluster)) };
        match self.at(node, None, question, TIMEOUT_DEFAULT, here).await {
            Ok(Ok(never_lost)) => Ok(never_lost),
            Ok(Err(refusal)) => {
                let message = format!("node {} refuses: {refusal}", node.0);
                Err(OpError::new(v1::Code::WrongCluster, message))
            }
            Err(NoAnswer) => {
                let message = format!(
                    "node {} can't be reached: start it, with an empty directory, and ask again",
                    node.0
                );
                Err(OpError::unavailable(message))
            }
        }
    }

    /// Asks the leader of a range, whoever that is by then, until it is done or the time is over.
    async fn replace_range(
        self: &Arc<Self>,
        range: RangeId,
        node: NodeId,
        until: Instant,
    ) -> Standing {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let why = match self.router().leader_of(range) {
                None => "it has no leader at the moment".to_owned(),
                Some(leader) => match self.ask_leader(range, node, leader, left).await {
                    Ok(before) => return Standing::Replaced { before },
                    Err(why) => why,
                },
            };
            if Instant::now() + PAUSE >= until {
                return Standing::Waits(format!("range {}: {why}", range.0));
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether it was done before; `Err`: it is not done, what it waits for.
    async fn ask_leader(
        self: &Arc<Self>,
        range: RangeId,
        node: NodeId,
        leader: NodeId,
        allowed: Duration,
    ) -> Result<bool, String> {
        let request = wire::ReplaceReplica { node_id: node.0, timeout_ms: ms_u32(allowed) };
        let (question, within) = (ask::ReplaceReplica(request), allowed + ANSWER_GRACE);
        let here = self.replace_replica(range, node, allowed);
        self.at(leader, Some(range), question, within, here).await.unwrap_or_else(|NoAnswer| {
            Err(format!("its leader, node {}, does not answer", leader.0))
        })
    }
}
