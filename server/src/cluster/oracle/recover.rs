//! Time begun anew where a majority of the time servers is lost for good.
//!
//! Without a majority no round decides, and no other set can take the place of theirs: nobody left can say what they
//! have issued. So an operator says who is lost, in two steps: asked without names a node shows which servers answer;
//! with the names of all that do not, the leader of the system range begins another set. The rest is a change like any
//! other (`change.rs`), but all servers that are left are fenced, and the new set begins above all that the nodes know.
//!
//! # Invariants
//!
//! * Nobody is taken for lost whose node is heard by any other, and nobody is left out who may be there: *all* nodes
//!   but those whose data directories are lost say what they know, or time does not begin anew. A node that is down and
//!   has its disk comes back first, or is named too.
//! * What they know counts when it can't become more: no node issues a block of an earlier epoch after it has said it
//!   ([`Oracle::issue_from`]), none still hears a node that is lost, every range has a leader that has applied what its
//!   log held before, and that knows the timestamps of what it proposes.
//! * A data directory that was declared lost is never met again ([`Handler::is_lost`]): its time server would decide
//!   rounds of its epoch with others like it, and its node may know later timestamps than all others.
//!
//! # What it can't know
//!
//! What those that are lost have issued, and nobody else has heard of. No write is among that: it stands in the logs of
//! a majority. A moment may be, which a client got for a read. So time begins half a second above what is known.
//! What is above that was issued by servers that were cut off from all others for longer, or by a round that moved time
//! far, the last before the loss; clocks on walls have passed it by then, if they are right.
//!
//! # On a crash
//!
//! Who is lost, and the set that was begun, stand in the system range: its next leader brings it to an end.
//!
//! [`Oracle::issue_from`]: crate::time::oracle::handle::Oracle::issue_from
//! [`Handler::is_lost`]: crate::peer::Handler::is_lost

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use quintet_proto::v1;

use super::placement::candidates;
use crate::{
    cluster::{orders, state::NodeState},
    error::OpError,
    ids::{NodeId, RangeId, SYSTEM_RANGE, TimeDomain},
    peer::ask::{self, Known},
    planted::{self, Bug},
    range::command::outcome::Applied,
    storage::format::command::Command,
    time::oracle::{AHEAD, Block, Config, Epoch, ServerId, membership::Epochs},
};

/// How long a node may take to say what it knows.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);

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
        let there = self.servers_there();
        let lost: BTreeSet<_> = request.lost.iter().copied().map(ServerId).collect();
        let mut found = self.found(&epochs, &there);
        if lost.is_subset(&epochs.lost) {
            // The first step, or the second one asked once more.
            let members = (!lost.is_empty()).then_some(&epochs.newest().members);
            found.node_ids = self.nodes_of(members.into_iter().flatten());
            return Ok(found);
        }
        check_lost(&epochs, &there, &lost)?;
        // The careless hand: "I would hear them".
        if !planted::active(Bug::LostByOneWord) {
            self.is_heard_by_nobody(&there, &lost).await?;
        }
        let candidates = candidates(self, &replica, &(&epochs.lost | &lost));
        let candidates = candidates
            .ok_or_else(|| OpError::unavailable("the voters of the system range are changing"))?;
        let live = candidates.into_iter().filter(|(_, (_, is_live))| *is_live);
        let members: Vec<_> = live.map(|(server, _)| server).collect();
        let voters = replica.members().voters().len();
        if members.len() <= voters / 2 {
            return Err(OpError::invalid(format!(
                "{} of {voters} nodes with a voter of range {SYSTEM_RANGE} are heard and not lost, a majority is \
                 needed: bring back more of them",
                members.len()
            )));
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

    /// Whether no other node hears those of these servers: the links of this one alone may be down.
    async fn is_heard_by_nobody(
        &self,
        there: &There,
        lost: &BTreeSet<ServerId>,
    ) -> Result<(), OpError> {
        let nodes = lost.iter().filter_map(|server| there.get(server)).map(|(node, _)| *node);
        match self.reached_by_another(&nodes.collect()).await {
            Ok(None) => Ok(()),
            Ok(Some((by, reached))) => Err(OpError::invalid(format!(
                "node {} hears node {}: it is not lost, mend the network between them and the others",
                by.0, reached.0
            ))),
            Err(silent) => Err(OpError::unavailable(format!(
                "node {} does not say whom it hears; try again",
                silent.0
            ))),
        }
    }

    /// By the time servers of their directories: the nodes of the cluster, and whether each is heard. A lost one's may
    /// have another directory by now.
    fn servers_there(&self) -> BTreeMap<ServerId, (NodeId, bool)> {
        let nodes = self.cluster().map(|cluster| cluster.nodes).unwrap_or_default();
        let book = self.peers().book().all().into_iter().filter(|at| nodes.contains(&at.node));
        book.map(|at| (ServerId(at.directory), (at.node, self.peers().is_live(at.node)))).collect()
    }

    /// What there is: the first step.
    fn found(&self, epochs: &Epochs, there: &There) -> v1::RecoverTimeResponse {
        let members = open_members(epochs);
        let silent = there.iter().filter(|(server, (_, is_heard))| {
            !is_heard && !members.contains(server) && !epochs.lost.contains(server)
        });
        let silent: Vec<_> = silent.map(|(server, _)| *server).collect();
        let servers = members.iter().chain(&silent).map(|server| {
            let at = there.get(server);
            v1::TimeServerStatus {
                server_id: server.0,
                node_id: at.map_or(0, |(node, _)| node.0),
                live: at.is_some_and(|(_, is_heard)| *is_heard),
            }
        });
        let unheard = there.values().filter(|(_, is_heard)| !is_heard).map(|(node, _)| node.0);
        let unheard: BTreeSet<_> = unheard.collect();
        v1::RecoverTimeResponse {
            servers: servers.collect(),
            is_stuck: is_stuck(epochs, there),
            unheard_nodes: unheard.into_iter().collect(),
            node_ids: Vec::new(),
            is_under_way: is_under_way(epochs),
        }
    }

    fn nodes_of<'a>(&self, servers: impl IntoIterator<Item = &'a ServerId>) -> Vec<u64> {
        let book = self.peers().book().all();
        let node = |server: &ServerId| book.iter().find(|at| at.directory == server.0);
        let mut nodes: Vec<_> = servers.into_iter().filter_map(node).map(|at| at.node.0).collect();
        nodes.sort_unstable();
        nodes
    }

    /// What this node knows of time, and issues no block of an epoch before this one any more; these servers are lost.
    pub(in crate::cluster) async fn time_known(
        &self,
        epoch: Epoch,
        lost: &BTreeSet<ServerId>,
    ) -> Known {
        let oracle = &self.host().oracle;
        oracle.issue_from(epoch);
        let (server, mut led) = (ServerId(self.peers().book().me().directory), Vec::new());
        let mut can_say = true;
        // From then on nobody is met here any more that is lost.
        if let Some(system) = self.router().replica(SYSTEM_RANGE) {
            can_say &= lost.iter().all(|it| system.shared.state.is_time_server_lost(*it));
        }
        let replicas = self.replicas();
        let leads =
            replicas.iter().map(|replica| async move { (replica, replica.leads_prepared().await) });
        for (replica, leads) in join_all(leads).await {
            match leads {
                Some(true) => led.push(replica.range),
                Some(false) => can_say = false,
                None => {}
            }
        }
        // What one that is lost has issued may be on its way here.
        let there = self.servers_there();
        can_say &= !lost.iter().any(|it| there.get(it).is_some_and(|(_, is_heard)| *is_heard));
        Known { block: can_say.then(|| newest(self)), server, led }
    }
}

/// The nodes of a cluster by their time servers.
type There = BTreeMap<ServerId, (NodeId, bool)>;

/// What time begins anew above, where this is the highest block that is known. Every message between nodes says what
/// its sender knows, so what is issued is heard of by all within a tenth of a second or two. What was issued just
/// before the loss may not be, and may be ahead of that by as much as a proposer's clock may carry it.
pub(super) fn begins_above(known: Block) -> Block {
    known.plus(2 * AHEAD)
}

/// The highest block that any node knows but those that are lost. `Err`: it can't be said yet, and why.
pub(super) async fn highest(
    node_state: &Arc<NodeState>,
    epoch: Epoch,
    lost: &BTreeSet<ServerId>,
) -> Result<Block, String> {
    let there = node_state.servers_there();
    let nodes = node_state.cluster().map(|cluster| cluster.nodes).unwrap_or_default();
    if let Some(unmet) = nodes.iter().find(|node| !there.values().any(|(at, _)| at == *node)) {
        return Err(format!("node {} was never met", unmet.0));
    }
    let wanted: Vec<_> = there.iter().filter(|(server, _)| !lost.contains(server)).collect();
    let told = wanted.into_iter().map(|(server, (node, _))| async move {
        let here = Box::pin(node_state.time_known(epoch, lost));
        let question = ask::TimeKnown(epoch, lost.clone());
        (*server, *node, node_state.at(*node, None, question, GATHER_TIMEOUT, here).await.ok())
    });
    let (mut highest, mut led) = (Block::default(), BTreeSet::<RangeId>::new());
    for (server, node, known) in join_all(told).await {
        let known = known.ok_or_else(|| format!("node {} does not answer", node.0))?;
        if known.server != server {
            return Err(format!("node {} has another data directory than it had", node.0));
        }
        let block = known.block.ok_or_else(|| {
            format!(
                "node {} can't say yet what it knows: it is catching up, or hears a lost one",
                node.0
            )
        })?;
        highest = highest.max(block);
        led.extend(known.led);
    }
    let ranges = node_state.router().routes().all();
    match ranges.iter().find(|range| !led.contains(&range.range)) {
        Some(range) => Err(format!("range {} has no leader", range.range.0)),
        None => Ok(highest),
    }
}

/// The newest version that any range of this node holds.
pub(super) fn newest(node_state: &NodeState) -> Block {
    let replicas = node_state.replicas();
    let newest = replicas.iter().map(|replica| Block::of(replica.shared.state.newest()));
    newest.fold(node_state.host().oracle.known().block(), Block::max)
}

/// The servers of all sets that may have issued blocks.
fn open_members(epochs: &Epochs) -> BTreeSet<ServerId> {
    epochs.open().flat_map(|set| set.members.iter().copied()).collect()
}

/// How many more servers of a set have to be heard so that it can be fenced, where these are lost.
fn missing(set: &Config, lost: &BTreeSet<ServerId>, there: &There) -> usize {
    let heard = set.members.difference(lost).filter(|member| is_heard(there, member)).count();
    set.majority().min(set.left(lost)).saturating_sub(heard)
}

/// Whether rounds or a change of the set want more servers than are heard.
fn is_stuck(epochs: &Epochs, there: &There) -> bool {
    epochs.open().any(|set| missing(set, &epochs.lost, there) > 0)
}

/// Whether servers of an open set were declared lost: a set without them is begun, and not active yet.
fn is_under_way(epochs: &Epochs) -> bool {
    !open_members(epochs).is_disjoint(&epochs.lost)
}

fn is_heard(there: &There, server: &ServerId) -> bool {
    there.get(server).is_some_and(|(_, is_heard)| *is_heard)
}

/// Whether these may be taken for lost.
fn check_lost(epochs: &Epochs, there: &There, lost: &BTreeSet<ServerId>) -> Result<(), OpError> {
    let members = open_members(epochs);
    let name = |server: &ServerId| format!("{:016x}", server.0);
    let is_known = |server: &&ServerId| members.contains(*server) || there.contains_key(*server);
    if let Some(stranger) = lost.iter().find(|server| !is_known(server)) {
        return Err(OpError::invalid(format!(
            "{} is no time server of a node; 'quintet recover time' lists them",
            name(stranger)
        )));
    }
    if let Some(up) = lost.iter().find(|server| is_heard(there, server)) {
        return Err(OpError::invalid(format!(
            "the node of time server {} is heard: it is not lost",
            name(up)
        )));
    }
    // Where one more is lost meanwhile, the new set waits for it in vain.
    if !is_stuck(epochs, there) && !is_under_way(epochs) {
        return Err(OpError::invalid(
            "enough time servers are there, time is not lost; 'quintet time place' has them elsewhere",
        ));
    }
    let gone = &epochs.lost | lost;
    let silent = |server: &&ServerId| !is_heard(there, server) && !gone.contains(*server);
    match members.iter().chain(there.keys()).find(silent) {
        None => Ok(()),
        Some(silent) => Err(OpError::invalid(format!(
            "time server {} is not heard and not named: bring its node back, or name it too where its disk is lost",
            name(silent)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    fn sets(active: &[u64], begun: &[u64]) -> Epochs {
        let config = |epoch, ids| Config { epoch: Epoch(epoch), members: set(ids) };
        let begun = (!begun.is_empty()).then(|| config(2, begun)).into_iter().collect();
        Epochs { active: config(1, active), begun, lost: BTreeSet::new() }
    }

    #[test]
    fn time_begins_above_what_may_be_on_its_way() {
        let known = Block(10_000_000);
        assert_eq!(begins_above(known), known.plus(Duration::from_millis(500)));
        assert_eq!(begins_above(Block::MAX), Block::MAX);
    }

    #[test]
    fn only_who_is_silent_is_lost_and_only_where_time_is_stuck() {
        // Node n has time server n.
        let check = |epochs: &Epochs, heard: &[u64], lost: &[u64]| {
            let there = (1..=5).map(|id| (ServerId(id), (NodeId(id), heard.contains(&id))));
            check_lost(epochs, &there.collect(), &set(lost)).map_err(|error| error.message)
        };
        let refused = |epochs: &Epochs, heard: &[u64], lost: &[u64], why: &str| {
            let said = check(epochs, heard, lost).expect_err("refused");
            assert!(said.contains(why), "{said}");
        };
        let three = sets(&[1, 2, 3], &[]);
        assert_eq!(check(&three, &[3, 4, 5], &[1, 2]), Ok(()));
        refused(&three, &[3, 4, 5], &[1, 9], "0000000000000009 is no time server");
        refused(&three, &[3, 4, 5], &[1, 2, 3], "0000000000000003 is heard");
        refused(&three, &[2, 3, 4, 5], &[1], "enough time servers are there");
        refused(&three, &[3, 4, 5], &[1], "0000000000000002 is not heard and not named");
        // Also who has no time server that counts may know more than the others.
        refused(&three, &[3, 4], &[1, 2], "0000000000000005 is not heard and not named");
        assert_eq!(check(&three, &[3, 4], &[1, 2, 5]), Ok(()));
        // A server whose directory no node has any more.
        assert_eq!(check(&sets(&[3, 7, 8], &[]), &[1, 2, 3, 4, 5], &[7, 8]), Ok(()));
        // A change that can't end is stuck too.
        let begun = sets(&[3, 4, 5], &[1, 2, 3]);
        refused(&begun, &[3, 4, 5], &[1], "0000000000000002 is not heard");
        assert_eq!(check(&begun, &[3, 4, 5], &[1, 2]), Ok(()));
        // One more is lost before time has begun anew.
        let mut under_way = sets(&[1, 2, 3], &[3, 4, 5]);
        assert!(!is_under_way(&under_way));
        under_way.lost = set(&[1, 2]);
        assert!(is_under_way(&under_way));
        refused(&under_way, &[3, 4], &[4], "0000000000000004 is heard");
        assert_eq!(check(&under_way, &[3, 4], &[5]), Ok(()));
    }
}
