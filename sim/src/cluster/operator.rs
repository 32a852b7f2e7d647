//! What operators do: drain, undrain, replace a node that lost its disk.

use std::sync::atomic::Ordering;

use quintet_client::v1;
use quintet_server::ids::NodeId;

use super::Cluster;
use crate::trace;

impl Cluster {
    /// Drains a node, as an operator does, or undoes it; whether that was done.
    pub async fn drain(&self, node: NodeId, undo: bool) -> bool {
        let Some(machine) = self.machines.get(&node) else { return false };
        let running = machine.lock().running.lock().clone();
        let Some(node_state) = running else { return false };
        trace::event("fault", format_args!("drain {node}, undo {undo}"));
        let request = v1::DrainRequest { node_id: node.0, undo, timeout_ms: 5_000 };
        // On the node's own machine, so that it ends with it; as it is now, for a handle from before a
        // restart spawns nothing any more.
        let id = machine.lock().handle.id();
        let Some(now) = self.handle.get_node(id) else { return false };
        let done = now.spawn(async move { node_state.drain(request).await }).await;
        tracing::debug!(%node, undo, ?done, "drained");
        matches!(done, Ok(Ok(done)) if done.leaders_left == 0)
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
        let machine = self.machines.get(&asked).ok_or("no such node")?;
        let running = machine.lock().running.lock().clone();
        let node_state = running.ok_or("it is down")?;
        let request = v1::ReplaceNodeRequest { node_id: node.0, timeout_ms: 1_000 };
        // As in `drain`.
        let id = machine.lock().handle.id();
        let now = self.handle.get_node(id).ok_or("it is gone")?;
        let done = now.spawn(async move { node_state.replace(request, true).await }).await;
        tracing::debug!(%node, %asked, ?done, "replaced");
        let is_done = match &done {
            Ok(Ok(done)) => done.replaced == done.ranges,
            // What is wrong then the judges must see by themselves.
            Ok(Err(error)) => error.code == v1::Code::NodeNotEmpty,
            Err(_) => false,
        };
        if is_done {
            if self.wiped.lock().remove(&node) {
                trace::event("fault", format_args!("{node} is replaced"));
                self.replacements.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        match done {
            Ok(Ok(done)) => {
                Err(format!("{} of {} ranges: {}", done.replaced, done.ranges, done.waits_for))
            }
            Ok(Err(error)) => Err(error.message),
            Err(error) => Err(error.to_string()),
        }
    }
}
