//! What operators do: drain, undrain, replace a node that lost its disk, place time servers, begin time anew.

use std::sync::{Arc, atomic::Ordering};

use quintet_client::v1;
use quintet_server::{
    cluster::{state::NodeState, status},
    error::OpError,
    ids::NodeId,
};

use super::{Cluster, observe};
use crate::trace;

impl Cluster {
    /// Drains a node, as an operator does, or undoes it; whether that was done.
    pub async fn drain(&self, node: NodeId, undo: bool) -> bool {
        let request = v1::DrainRequest { node_id: node.0, undo, timeout_ms: 5_000 };
        trace::event("fault", format_args!("drain {node}, undo {undo}"));
        let done = self.ask(node, async move |it| it.drain(request).await).await;
        tracing::debug!(%node, undo, ?done, "drained");
        matches!(done, Ok(done) if done.leaders_left == 0)
    }

    /// Asks a node for something that operators ask for. `Err`: it is down, or was stopped meanwhile, or refuses.
    async fn ask<T, F>(
        &self,
        node: NodeId,
        call: impl FnOnce(Arc<NodeState>) -> F + Send + 'static,
    ) -> Result<T, OpError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OpError>> + Send + 'static,
    {
        let gone = |why: &str| OpError::unavailable(why);
        let machine = self.machines.get(&node).ok_or_else(|| gone("no such node"))?;
        let running = machine.lock().running.lock().clone();
        let node_state = running.ok_or_else(|| gone("it is down"))?;
        // On the node's own machine, so that it ends with it; as it is now, for a handle from before a
        // restart spawns nothing any more.
        let id = machine.lock().handle.id();
        let now = self.handle.get_node(id).ok_or_else(|| gone("it is gone"))?;
        let done = now.spawn(call(node_state)).await;
        done.unwrap_or_else(|error| Err(gone(&error.to_string())))
    }

    /// Has time servers on some nodes alone, or on all that belong there; whether that is noted.
    pub async fn place_time_servers(&self, nodes: &[NodeId], asked: NodeId) -> bool {
        let node_ids = nodes.iter().map(|node| node.0).collect();
        let request = v1::PlaceTimeServersRequest { node_ids, timeout_ms: 1_000 };
        let placed = self.ask(asked, async move |it| it.place_time_servers(request).await).await;
        tracing::debug!(?nodes, %asked, ?placed, "time servers placed");
        placed.is_ok()
    }

    /// What a node says of the time servers.
    pub async fn time_servers(&self, asked: NodeId) -> Option<v1::TimeStatus> {
        self.ask(asked, async move |it| Ok(status::of(&it).time)).await.ok().flatten()
    }

    /// Time servers are lost, with the disks of these nodes: no majority is left.
    pub fn lose_time(&self, servers: &[u64], nodes: &[NodeId]) {
        nodes.iter().zip(servers).for_each(|(node, server)| observe::loses_disk(*node, *server));
        *self.lost_time_servers.lock() = servers.to_vec();
    }

    /// Whether time is to be begun anew.
    pub fn is_time_lost(&self) -> bool {
        !self.lost_time_servers.lock().is_empty()
    }

    /// Begins time anew without the servers that are lost; whether that is noted.
    pub async fn recover_time(&self, asked: NodeId) -> bool {
        let lost = self.lost_time_servers.lock().clone();
        let is_done = self.declare_lost(lost, asked).await;
        if is_done {
            self.lost_time_servers.lock().clear();
        }
        is_done
    }

    /// Declares time servers lost for good, which they need not be; whether that is noted.
    pub async fn declare_lost(&self, servers: Vec<u64>, asked: NodeId) -> bool {
        let request = v1::RecoverTimeRequest { lost: servers, timeout_ms: 1_000 };
        let done = self.ask(asked, async move |it| it.recover_time(request).await).await;
        tracing::debug!(%asked, ?done, "time servers declared lost");
        done.is_ok_and(|done| !done.node_ids.is_empty())
    }

    /// Takes a killed node's disk away: it comes back with an empty one.
    pub fn wipe(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let machine = machine.lock();
        if machine.is_up {
            return;
        }
        trace::event("fault", format_args!("wipe {node}"));
        machine.disk.wipe();
        self.damaged.lock().remove(&node);
        self.wiped.lock().insert(node);
    }

    /// Nodes that lost their disks and are not replaced yet.
    pub fn wiped(&self) -> Vec<NodeId> {
        self.wiped.lock().iter().copied().collect()
    }

    /// How often a node was replaced that had lost its disk.
    pub fn replacements(&self) -> u64 {
        self.replacements.load(Ordering::Relaxed)
    }

    /// Asks a node to replace another one, as an operator does; `Err` says what is left to do.
    pub async fn replace(&self, node: NodeId, asked: NodeId) -> Result<(), String> {
        let request = v1::ReplaceNodeRequest { node_id: node.0, timeout_ms: 1_000 };
        let done = self.ask(asked, async move |it| it.replace(request, true).await).await;
        tracing::debug!(%node, %asked, ?done, "replaced");
        let is_done = match &done {
            Ok(done) => done.replaced == done.ranges,
            // What is wrong then the judges must see by themselves.
            Err(error) => error.code == v1::Code::NodeNotEmpty,
        };
        if is_done {
            if self.wiped.lock().remove(&node) {
                trace::event("fault", format_args!("{node} is replaced"));
                self.replacements.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        match done {
            Ok(done) => {
                Err(format!("{} of {} ranges: {}", done.replaced, done.ranges, done.waits_for))
            }
            Err(error) => Err(error.message),
        }
    }
}
