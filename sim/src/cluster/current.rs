//! The cluster of this thread's run, for what is called from within a simulated node.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use quintet_server::ids::NodeId;

use super::Cluster;

thread_local! {
    // One run a thread.
    static CURRENT: RefCell<Weak<Cluster>> = const { RefCell::new(Weak::new()) };
}

pub(super) fn set(cluster: &Arc<Cluster>) {
    CURRENT.set(Arc::downgrade(cluster));
}

pub(super) fn cluster() -> Option<Arc<Cluster>> {
    CURRENT.with_borrow(Weak::upgrade)
}

/// The node whose task runs; none where it is a client's or the run's own. Only from within a task.
pub(crate) fn node() -> Option<NodeId> {
    cluster()?.this_node()
}
