//! Nodes that are killed at named points of their own code: see the server's `failpoint.rs`.

use quintet_server::{failpoint, ids::NodeId};
use tokio::sync::oneshot;

use super::{Cluster, current};
use crate::trace;

/// A point at which a node is to be killed, once.
#[derive(Debug)]
pub(super) struct Armed {
    point: String,
    /// Only this one; otherwise the first that passes it.
    node: Option<NodeId>,
    /// Told who was killed.
    fired: oneshot::Sender<NodeId>,
}

/// Lets nodes be killed at armed points.
pub(super) fn watch() {
    failpoint::set_hook(passed);
}

fn passed(point: &'static str) {
    if let Some(cluster) = current::cluster() {
        cluster.passed(point);
    }
}

impl Cluster {
    /// Kills a node, or the first one, when it passes a point; who that was is said then.
    pub fn arm(&self, point: &str, node: Option<NodeId>) -> oneshot::Receiver<NodeId> {
        trace::event("fault", format_args!("arm {point} at {node:?}"));
        let (fired, receiver) = oneshot::channel();
        self.armed.lock().push(Armed { point: point.to_owned(), node, fired });
        receiver
    }

    /// Calls off every point for which nobody waits any more.
    pub fn disarm_abandoned(&self) {
        self.armed.lock().retain(|armed| !armed.fired.is_closed());
    }

    /// Calls off all points.
    pub fn disarm_all(&self) {
        self.armed.lock().clear();
    }

    /// A task is at a point of its code. Is it one of a node that is to be killed there?
    fn passed(&self, point: &'static str) {
        if self.armed.lock().is_empty() {
            return;
        }
        let Some(node) = self.this_node() else { return };
        let up = self.up();
        // A task of a killed node ends its poll, and may come by here.
        let may_go = up.contains(&node) && up.len() > self.nodes().len() / 2 + 1;
        if !may_go {
            return;
        }
        let fired = {
            let mut armed = self.armed.lock();
            let wanted = |armed: &Armed| {
                armed.point == point
                    && armed.node.is_none_or(|wanted| wanted == node)
                    && !armed.fired.is_closed()
            };
            let Some(position) = armed.iter().position(wanted) else { return };
            armed.remove(position).fired
        };
        trace::event("fault", format_args!("{node} is at {point}"));
        self.kill(node);
        // The fault may have been ended in this very moment.
        fired.send(node).ok();
    }
}
