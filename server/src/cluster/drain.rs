//! Draining: all leaders move off a node, by planned switches, and stay away until it is undone.
//!
//! What an operator drains is noted on the node's disk, so that a restart for maintenance does not
//! call leaders back before the operator does. The answer says where that could not be done in time, because
//! the disk does not answer; leaders move all the same. A node that is about to stop drains itself without a
//! note.
//!
//! A node that can't be reached leads nothing for longer than an election takes, and is drained in the
//! registry (`registry.rs`): no leader moves to it when it comes back, and the leader of the system range
//! tells it as soon as it can, until the node has noted the drain. Undoing takes both back.

use std::{sync::Arc, time::Duration};

use quintet_proto::v1;

use super::{
    leaders, news, records,
    registry::{self, Registry},
    state::NodeState,
};
use crate::{
    error::OpError,
    ids::{NodeId, SYSTEM_RANGE},
    peer::ask::{self, NoAnswer},
    range::replica::Replica,
    time::{
        local::{Instant, sleep, timeout},
        patience,
    },
};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long the disk may take for the note.
const NOTE_WITHIN: Duration = Duration::from_secs(2);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// How long an answer may take beyond what its question allows.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// What a node that is told late is given for its leaders at once; it goes on by itself.
const TOLD_TIMEOUT_MS: u32 = 1;
const POLL: Duration = Duration::from_millis(50);

impl NodeState {
    /// Drains a node or undoes it; waits until its leaders have moved. Where this node does not reach whom
    /// that takes, another one that does is asked to do it.
    pub async fn drain(
        self: &Arc<Self>,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, OpError> {
        let Some(other) = self.better_placed(NodeId(request.node_id)) else {
            return self.drain_here(request).await;
        };
        let until = Instant::now() + allowed(request);
        let within = answer_within(until);
        match self.peers().ask_within(other, None, ask::DrainFor(request), within).await {
            Ok(answer) => answer,
            // It may have done it: doing it twice does no harm.
            Err(NoAnswer) => self.drain_here(request).await,
        }
    }

    /// A node that reaches whom this one does not: the node to be drained, or who leads the system range.
    fn better_placed(&self, node: NodeId) -> Option<NodeId> {
        let (me, members) = (self.peers().me(), self.cluster()?.nodes);
        if node == me {
            return None;
        }
        let needed = [Some(node), self.router().leader_of(SYSTEM_RANGE)];
        needed.into_iter().flatten().filter(|needed| *needed != me).find_map(|needed| {
            self.way_around(needed, members.iter().copied().filter(|other| *other != node))
        })
    }

    /// As [`drain`](Self::drain), by this node.
    pub(super) async fn drain_here(
        self: &Arc<Self>,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, OpError> {
        let node = NodeId(request.node_id);
        let Some(cluster) = self.cluster() else {
            return Err(self.peers().no_cluster());
        };
        if !cluster.nodes.contains(&node) {
            let message = format!("there is no node {}; 'quintet status' lists them", node.0);
            return Err(OpError::invalid(message));
        }
        let until = Instant::now() + allowed(request);
        let was_to_be_told = self.is_to_be_told(node);
        if request.undo && was_to_be_told {
            self.order(node, false, until).await?;
        }
        if node == self.peers().me() || self.peers().is_live(node) {
            let here = self.drain_self(request);
            match self.at(node, None, ask::Drain(request), answer_within(until), here).await {
                Ok(answer) => return answer,
                // It went away, and may have noted it: noting it twice does no harm.
                Err(NoAnswer) if request.undo => {
                    let message = format!("node {} went away; ask again", node.0);
                    return Err(OpError::ambiguous(message));
                }
                Err(NoAnswer) => {}
            }
        }
        let has_noted = self.says_draining(node);
        if request.undo && was_to_be_told && !has_noted {
            // It was drained while it could not be reached, and was not told.
            return Ok(v1::DrainResponse { leaders_left: 0, to_be_told: true, not_noted: false });
        }
        if request.undo {
            let message = format!(
                "node {} can't be reached, and may have noted that it is drained: ask again when it is back",
                node.0
            );
            return Err(OpError::unavailable(message));
        }
        self.order(node, true, until).await?;
        tracing::info!(%node, "drained while it can't be reached: it is told when it is back");
        Ok(v1::DrainResponse {
            leaders_left: self.wait_led_elsewhere(node, until).await,
            to_be_told: true,
            not_noted: false,
        })
    }

    /// Another node asks: to drain this one, or to note in the registry that a third is drained.
    pub(super) async fn drain_asked(
        self: &Arc<Self>,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, OpError> {
        let node = NodeId(request.node_id);
        if node == self.peers().me() {
            return self.drain_self(request).await;
        }
        if !self.cluster().is_some_and(|cluster| cluster.nodes.contains(&node)) {
            let message = format!("there is no node {}; 'quintet status' lists them", node.0);
            return Err(OpError::invalid(message));
        }
        self.order_here(node, !request.undo).await
    }

    /// Has it noted, as the leader of the system range, that a node is drained, or that it is not any more.
    async fn order_here(&self, node: NodeId, drained: bool) -> Result<v1::DrainResponse, OpError> {
        registry::order_drain(self, node, drained).await?;
        Ok(v1::DrainResponse { leaders_left: 0, to_be_told: true, not_noted: false })
    }

    /// Has it noted in the registry, by whoever leads the system range, that a node is drained, or that it
    /// is not any more.
    async fn order(
        self: &Arc<Self>,
        node: NodeId,
        drained: bool,
        until: Instant,
    ) -> Result<(), OpError> {
        let request = v1::DrainRequest { node_id: node.0, undo: !drained, timeout_ms: 0 };
        loop {
            let why = match self.router().leader_of(SYSTEM_RANGE) {
                // To be asked means to drain itself where it is the node itself.
                Some(leader) if leader != node || leader == self.peers().me() => {
                    let (question, within) = (ask::Drain(request), answer_within(until));
                    let here = self.order_here(node, drained);
                    match self.at(leader, None, question, within, here).await {
                        Ok(Ok(_)) => break,
                        Ok(Err(error)) => error.message,
                        Err(NoAnswer) => format!("node {} went away", leader.0),
                    }
                }
                _ => "the system range has no leader".to_owned(),
            };
            if Instant::now() >= until {
                return Err(OpError::unavailable(format!(
                    "not noted that node {} is drained: {why}",
                    node.0
                )));
            }
            sleep(POLL).await;
        }
        // This node's replica shows it in a moment.
        self.expect_told(node, drained);
        Ok(())
    }

    /// Whether the registry, as this node has it, says that a node is to be told that it is drained.
    fn is_to_be_told(&self, node: NodeId) -> bool {
        let system = self.router().replica(SYSTEM_RANGE);
        let registry = system.and_then(|replica| Registry::read(&replica).ok());
        registry.is_some_and(|registry| registry.to_drain().contains(&node))
    }

    /// Tells a node that it is drained, if it can be reached; whether it has noted that.
    pub(crate) async fn tell_drained(self: &Arc<Self>, node: NodeId) -> bool {
        let request =
            v1::DrainRequest { node_id: node.0, undo: false, timeout_ms: TOLD_TIMEOUT_MS };
        if node != self.peers().me() && !self.peers().is_live(node) {
            return false;
        }
        let here = self.drain_self(request);
        let told = self.at(node, None, ask::Drain(request), ANSWER_GRACE, here).await;
        matches!(told, Ok(Ok(_)))
    }

    /// Waits until no range is known to be led by a node; how many still are.
    async fn wait_led_elsewhere(&self, node: NodeId, until: Instant) -> u32 {
        loop {
            let leads = |replica: &Replica| replica.known_leader().leader == Some(node);
            let left = self.replicas().iter().filter(|replica| leads(replica)).count();
            if left == 0 || Instant::now() >= until {
                return u32::try_from(left).unwrap_or(u32::MAX);
            }
            sleep(POLL).await;
        }
    }

    /// Drains this node or undoes it.
    pub(super) async fn drain_self(
        &self,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, OpError> {
        let until = Instant::now() + allowed(request);
        // At once, and noted beside it: a disk that does not answer is a reason to drain.
        self.set_draining(!request.undo);
        let noting = records::set_drained(&self.host().writer, !request.undo);
        let (noted, ()) = futures::join!(timeout(NOTE_WITHIN, noting), async {
            if request.undo {
                return news::tell_all(self).await;
            }
            tracing::info!(node = %self.peers().me(), "leaders move off the node: it is drained");
            leaders::drain(self, until).await;
        });
        let not_noted = match noted {
            Ok(Ok(())) => false,
            Ok(Err(error)) => {
                let error = OpError::new(v1::Code::Storage, format!("not noted: {error}"));
                return Err(error);
            }
            // What waits for the disk is written, in the order in which it was asked for, once it answers.
            Err(_) => true,
        };
        let left = if request.undo { 0 } else { self.leading().len() };
        let leaders_left = u32::try_from(left).unwrap_or(u32::MAX);
        Ok(v1::DrainResponse { leaders_left, to_be_told: false, not_noted })
    }
}

fn allowed(request: v1::DrainRequest) -> Duration {
    patience(request.timeout_ms, TIMEOUT_DEFAULT, TIMEOUT_MAX)
}

/// How long to wait for a node that may take until then.
fn answer_within(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()) + ANSWER_GRACE
}
