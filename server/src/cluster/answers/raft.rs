//! Raft's messages to a replica of this node.

use futures::{FutureExt, future::BoxFuture};

use crate::{ids::NodeId, peer::Kind, range::replica::Replica};

/// Hands a message to the replica's group.
pub(super) fn hand_over(
    replica: Replica,
    from: NodeId,
    kind: Kind,
) -> BoxFuture<'static, Option<Kind>> {
    async move {
        let heard = || replica.shared.leader_heard.note(from);
        Some(replica.raft.receive(kind, heard).await)
    }
    .boxed()
}
