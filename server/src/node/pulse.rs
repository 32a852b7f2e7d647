//! Heartbeats of all groups of a node at one moment.
//!
//! Every group could keep its own time; then a node with a hundred ranges would wake a hundred times
//! between two heartbeats, and so would each of its peers. Here one task wakes and every leader of the
//! node sends: what goes to one peer is queued together and leaves in one frame, and what the peer
//! answers comes back in one.

use std::{sync::Arc, time::Duration};

use super::bootstrap::Bootstrap;
use crate::{range::replica::Replica, trace};

/// Sends heartbeats for as long as the node runs.
pub(super) async fn run(bootstrap: Arc<Bootstrap>, every: Duration) {
    loop {
        trace::event("timer", format_args!("{} pulses", bootstrap.peers().me()));
        crate::time::local::sleep(every).await;
        let leading = bootstrap.replicas().into_iter().filter(Replica::is_leader);
        // At once: a group that has much to do must not hold up the others'. One that has failed stops
        // the node by itself.
        let beats = leading.map(|replica| async move { replica.raft.trigger().heartbeat().await });
        drop(futures::future::join_all(beats).await);
    }
}
