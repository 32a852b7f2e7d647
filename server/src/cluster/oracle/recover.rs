//! Time begun anew where a majority of the time servers is lost for good.
//!
//! Without a majority no round decides, and no other set can take the place of theirs: nobody left can say what they
//! have issued. So an operator says who is lost, in two steps: asked without names a node shows which servers answer;
//! with the names of all that do not, the leader of the system range begins another set. The rest is a change like any
//! other (`change.rs`), but all servers that are left are fenced, and the new set begins above all that the nodes know
//! which can be heard: what they have heard of, what their ranges hold, what stands in their logs.
//!
//! # Invariants
//!
//! * Nobody is taken for lost who answers, and nobody is left out who may: whoever does not answer has to be named.
//! * A data directory that was declared lost is never met again ([`Handler::is_lost`]): its time server would decide
//!   rounds of its epoch with others like it.
//!
//! # What it can't know
//!
//! What those that are lost have issued, and no node knows that is heard. No write is among that: whoever proposed it
//! knew its timestamp, and it stands in the logs of a majority. A moment may be, which a client got for a read; clocks
//! on walls have passed it by then, if they are right.
//!
//! # On a crash
//!
//! Who is lost, and the set that was begun, stand in the system range: its next leader brings it to an end.
//!
//! [`Handler::is_lost`]: crate::peer::Handler::is_lost

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use quintet_proto::v1;

use super::change::{candidates, newest};
use crate::{
    cluster::{orders, state::NodeState},
    error::OpError,
    ids::{NodeId, SYSTEM_RANGE, TimeDomain},
    peer::ask,
    range::command::outcome::Applied,
    storage::format::command::Command,
    time::oracle::{Block, Config, ServerId, membership::Epochs},
};

/// How long a node may take to say what it knows.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node knows of time, where it can say that, and its time server.
pub(super) type Known = (Option<Block>, ServerId);

impl NodeState {
    /// Begins time anew without servers that are lost, or says what is lost.
    pub async fn recover_time(
        self: &Arc<Self>,
        request: v1::RecoverTimeRequest,
    ) -> Result<v1::RecoverTimeResponse, OpError> {
        if self.cluster().is_none() {
            return Err(self.peers().no_cluster());
        }
        let question = || ask::RecoverTime(request.clone());
        let here = || self.recover_time_here(request.clone());
        self.order_of_leader(orders::until(request.timeout_ms), question, here).await
    }

    /// The same, by the leader of the system range, which this node is to be.
    pub(in crate::cluster) async fn recover_time_here(
        self: &Arc<Self>,
        request: v1::RecoverTimeRequest,
    ) -> Result<v1::RecoverTimeResponse, OpError> {
        let leads = self.router().replica(SYSTEM_RANGE);
        let leads = leads.and_then(|replica| Some((replica.raft.leads()?, replica)));
        let (term, replica) = leads.ok_or_else(|| OpError::not_leader(None))?;
        let epochs = replica.shared.state.time_servers();
        let heard = gather(self).await;
        let lost: BTreeSet<_> = request.lost.iter().copied().map(ServerId).collect();
        let mut found = self.found(&epochs, &heard);
        if lost.is_subset(&epochs.lost) {
            // The first step, or the second one asked once more.
            let members = (!lost.is_empty()).then_some(&epochs.newest().members);
            found.node_ids = self.nodes_of(members.into_iter().flatten());
            return Ok(found);
        }
        check_lost(&epochs, &answering(&heard), &lost)?;
        let candidates = candidates(self, &replica, &(&epochs.lost | &lost));
        let candidates = candidates
            .ok_or_else(|| OpError::unavailable("the voters of the system range are changing"))?;
        let live = candidates.into_iter().filter(|(_, (_, is_live))| *is_live);
        let members: Vec<_> = live.map(|(server, _)| server).collect();
        if members.is_empty() {
            return Err(OpError::unavailable("no node that is to have a time server is heard"));
        }
        tracing::warn!(?lost, ?members, "time servers are lost for good: time begins anew");
        found.node_ids = self.nodes_of(&members);
        let command = Command::RecoverTimeServers {
            evaluated_under: term,
            time_domain: TimeDomain::default(),
            after: epochs.newest().epoch,
            members,
            lost: lost.into_iter().collect(),
        };
        match replica.committed(term, &command).await {
            Some(Applied::Done) => Ok(found),
            Some(_) => Err(OpError::unavailable("another set of time servers was begun meanwhile")),
            None => Err(OpError::ambiguous("nobody knows whether it is noted")),
        }
    }

    /// What there is: the first step.
    fn found(&self, epochs: &Epochs, heard: &BTreeMap<NodeId, Known>) -> v1::RecoverTimeResponse {
        let answers = answering(heard);
        let book = self.peers().book().all();
        let members = open_members(epochs);
        let servers = members.iter().map(|server| v1::TimeServerStatus {
            server_id: server.0,
            node_id: book.iter().find(|at| at.directory == server.0).map_or(0, |at| at.node.0),
            live: answers.contains(server),
        });
        let nodes = self.cluster().map(|cluster| cluster.nodes).unwrap_or_default();
        let unheard = nodes.iter().filter(|node| !heard.contains_key(node));
        v1::RecoverTimeResponse {
            servers: servers.collect(),
            is_stuck: epochs.open().any(|set| missing(set, &epochs.lost, &answers) > 0),
            unheard_nodes: unheard.map(|node| node.0).collect(),
            node_ids: Vec::new(),
        }
    }

    fn nodes_of<'a>(&self, servers: impl IntoIterator<Item = &'a ServerId>) -> Vec<u64> {
        let book = self.peers().book().all();
        let node = |server: &ServerId| book.iter().find(|at| at.directory == server.0);
        let mut nodes: Vec<_> = servers.into_iter().filter_map(node).map(|at| at.node.0).collect();
        nodes.sort_unstable();
        nodes
    }

    /// What this node knows of time: the highest block that it has heard of, or that stands in a log of its ranges.
    pub(in crate::cluster) async fn time_known(&self) -> Known {
        let me = ServerId(self.peers().book().me().directory);
        let mut known = newest(self);
        for replica in self.replicas() {
            let next = replica.shared.state.applied_index().map_or(0, |applied| applied + 1);
            match replica.log.newest_from(next).await {
                Ok(newest) => known = known.max(Block::of(newest)),
                Err(error) => {
                    tracing::warn!(range = %replica.range, %error, "a log can't be read");
                    return (None, me);
                }
            }
        }
        (Some(known), me)
    }
}

/// What all nodes know that answer, this one among them.
async fn gather(node_state: &Arc<NodeState>) -> BTreeMap<NodeId, Known> {
    let (peers, me) = (node_state.peers(), node_state.peers().me());
    let nodes = node_state.cluster().map(|cluster| cluster.nodes).unwrap_or_default();
    let heard = nodes.into_iter().filter(|node| *node == me || peers.is_live(*node));
    let told = heard.map(|node| async move {
        let here = node_state.time_known();
        (node, node_state.at(node, None, ask::TimeKnown, GATHER_TIMEOUT, here).await)
    });
    let told = join_all(told).await.into_iter();
    told.filter_map(|(node, told)| Some((node, told.ok()?))).collect()
}

/// The highest block that any node knows which is heard; none where one of them does not say.
pub(super) async fn highest(node_state: &Arc<NodeState>) -> Option<Block> {
    let told = gather(node_state).await;
    let (peers, me) = (node_state.peers(), node_state.peers().me());
    let nodes = node_state.cluster().map(|cluster| cluster.nodes).unwrap_or_default();
    let mut heard = nodes.into_iter().filter(|node| *node == me || peers.is_live(*node));
    let all = heard.all(|node| told.contains_key(&node));
    let known: Option<Vec<_>> = told.values().map(|(known, _)| *known).collect();
    known.filter(|_| all).map(|known| known.into_iter().fold(Block::default(), Block::max))
}

fn answering(heard: &BTreeMap<NodeId, Known>) -> BTreeSet<ServerId> {
    heard.values().map(|(_, server)| *server).collect()
}

/// The servers of all sets that may have issued blocks.
fn open_members(epochs: &Epochs) -> BTreeSet<ServerId> {
    epochs.open().flat_map(|set| set.members.iter().copied()).collect()
}

/// How many more servers of a set have to answer so that it can be fenced, where these are lost.
fn missing(set: &Config, lost: &BTreeSet<ServerId>, answers: &BTreeSet<ServerId>) -> usize {
    let answering = set.members.difference(lost).filter(|member| answers.contains(member)).count();
    set.majority().min(set.left(lost)).saturating_sub(answering)
}

/// Whether these may be taken for lost.
fn check_lost(
    epochs: &Epochs,
    answers: &BTreeSet<ServerId>,
    lost: &BTreeSet<ServerId>,
) -> Result<(), OpError> {
    let members = open_members(epochs);
    let name = |server: &ServerId| format!("{:016x}", server.0);
    if let Some(stranger) = lost.iter().find(|server| !members.contains(server)) {
        return Err(OpError::invalid(format!(
            "{} is none of the time servers; 'quintet recover time' lists them",
            name(stranger)
        )));
    }
    if let Some(there) = lost.iter().find(|server| answers.contains(server)) {
        return Err(OpError::invalid(format!(
            "time server {} answers: it is not lost",
            name(there)
        )));
    }
    if epochs.open().all(|set| missing(set, &epochs.lost, answers) == 0) {
        return Err(OpError::invalid(
            "enough time servers answer, time is not lost; 'quintet time place' has them elsewhere",
        ));
    }
    let gone = &epochs.lost | lost;
    let Some(stuck) = epochs.open().find(|set| missing(set, &gone, answers) > 0) else {
        return Ok(());
    };
    let silent = stuck.members.iter().find(|it| !answers.contains(it) && !gone.contains(it));
    Err(OpError::invalid(format!(
        "time server {} does not answer and is not named: bring its node back, or name it too where its disk is lost",
        silent.map(name).unwrap_or_default()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::oracle::Epoch;

    fn set(ids: &[u64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    fn sets(active: &[u64], begun: &[u64]) -> Epochs {
        let config = |epoch, ids| Config { epoch: Epoch(epoch), members: set(ids) };
        let begun = (!begun.is_empty()).then(|| config(2, begun)).into_iter().collect();
        Epochs { active: config(1, active), begun, lost: BTreeSet::new() }
    }

    #[test]
    fn only_who_is_silent_is_lost_and_only_where_time_is_stuck() {
        let check = |epochs: &Epochs, answers: &[u64], lost: &[u64]| {
            check_lost(epochs, &set(answers), &set(lost)).map_err(|error| error.message)
        };
        let refused = |epochs: &Epochs, answers: &[u64], lost: &[u64], why: &str| {
            let said = check(epochs, answers, lost).expect_err("refused");
            assert!(said.contains(why), "{said}");
        };
        let three = sets(&[1, 2, 3], &[]);
        assert_eq!(check(&three, &[3, 4, 5], &[1, 2]), Ok(()));
        refused(&three, &[3, 4, 5], &[1, 4], "0000000000000004 is none of the time servers");
        refused(&three, &[3, 4, 5], &[1, 2, 3], "0000000000000003 answers");
        refused(&three, &[2, 3, 4], &[1], "enough time servers answer");
        refused(&three, &[3, 4, 5], &[1], "0000000000000002 does not answer and is not named");
        // A majority of five is lost: who is silent of those that are left is missed.
        let five = sets(&[1, 2, 3, 4, 5], &[]);
        refused(&five, &[4], &[1, 2, 3], "0000000000000005 does not answer");
        assert_eq!(check(&five, &[4, 5], &[1, 2, 3]), Ok(()));
        // A change that can't end is stuck too.
        let begun = sets(&[3, 4, 5], &[1, 2, 3]);
        refused(&begun, &[3, 4, 5], &[1], "0000000000000002 does not answer");
        assert_eq!(check(&begun, &[3, 4, 5], &[1, 2]), Ok(()));
    }
}
