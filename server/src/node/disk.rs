//! Looks at the node's disk again and again, and tells whom it concerns when it is another one.
//!
//! What is seen and what that means is decided in [`crate::storage::disk`]. Here is who learns of it:
//!
//! * the leaders of this node, which move to voters whose disks are well (`leaders.rs`): the disk is one of
//!   the things that make a voter fit;
//! * the other nodes, with the next ping, which is sent at once, so that nobody hands a leader to a node that
//!   could not use it;
//! * executors, when the disk stops answering: what they have handed to Raft may wait for ever, so its
//!   callers are told that its outcome is unknown, and repeat it at the next leader;
//! * people: one line in the log for each change, `quintet status`, `/readyz`, metrics.

use std::sync::Arc;

use quintet_proto::v1;

use super::{bootstrap::Bootstrap, upkeep};
use crate::{
    ids::NodeId,
    ops::metrics::Metrics,
    storage::disk::{Condition, Disk, LOOK_INTERVAL},
    time::local::{Instant, sleep},
};

/// What a node said last of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskNews {
    pub(super) condition: Condition,
    pub(super) free_bytes: u64,
}

impl DiskNews {
    fn of(disk: &Disk) -> DiskNews {
        DiskNews { condition: disk.condition(), free_bytes: disk.free_bytes() }
    }

    /// As a ping tells it. What a later version calls by another number is well: it does not say no.
    pub(super) fn from_wire(condition: v1::DiskCondition, free_bytes: u64) -> DiskNews {
        let condition = match condition {
            v1::DiskCondition::NearlyFull => Condition::NearlyFull,
            v1::DiskCondition::Hung => Condition::Hung,
            v1::DiskCondition::Unspecified | v1::DiskCondition::Well => Condition::Well,
        };
        DiskNews { condition, free_bytes }
    }

    pub(super) fn condition_to_wire(self) -> v1::DiskCondition {
        match self.condition {
            Condition::Well => v1::DiskCondition::Well,
            Condition::NearlyFull => v1::DiskCondition::NearlyFull,
            Condition::Hung => v1::DiskCondition::Hung,
        }
    }
}

impl Bootstrap {
    /// What is known of a node's disk; of one that was not heard of, nothing bad.
    pub(super) fn disk_of(&self, node: NodeId) -> Option<DiskNews> {
        if node == self.peers().me() {
            return Some(DiskNews::of(&self.host().disk));
        }
        self.disks.lock().get(&node).copied()
    }
}

/// Looks for as long as the node runs.
pub(super) async fn watch(bootstrap: Arc<Bootstrap>) {
    let mut last = Instant::now();
    let mut hung = false;
    loop {
        sleep(LOOK_INTERVAL).await;
        let host = bootstrap.host();
        let now = Instant::now();
        let (before, after) = host.disk.look(now.saturating_duration_since(last), || {
            host.log.free_space().tighter(host.data.free_space())
        });
        last = now;
        let hangs = host.disk.hangs();
        if hangs && !hung {
            bootstrap.replicas().iter().for_each(|replica| replica.shared.stir());
        }
        hung = hangs;
        if before != after {
            tell(&bootstrap, before, after);
        }
    }
}

fn tell(bootstrap: &Arc<Bootstrap>, before: Condition, after: Condition) {
    let node = bootstrap.peers().me();
    let free_mib = bootstrap.host().disk.free_bytes() >> 20;
    match after {
        Condition::Hung => tracing::warn!(
            %node,
            "the disk does not answer: a write of the log waits for it; leaders move to other nodes"
        ),
        Condition::NearlyFull => tracing::warn!(
            %node,
            free_mib,
            "the disk is nearly full: leaders move to nodes with space; add disk space"
        ),
        Condition::Well => {
            tracing::info!(%node, free_mib, was = before.name(), "the disk is well again");
        }
    }
    bootstrap.leaders_look.notify_one();
    let bootstrap = bootstrap.clone();
    tokio::spawn(async move { upkeep::ping_once(&bootstrap).await });
}

/// Copies it into the metrics.
pub(super) fn figures(disk: &Disk, metrics: &Metrics) {
    let condition = disk.condition();
    metrics.disk_nearly_full.set(u64::from(condition == Condition::NearlyFull));
    metrics.disk_hung.set(u64::from(condition == Condition::Hung));
}

/// What is wrong with this node's disk, in words; none where it is well.
pub(super) fn trouble(disk: &Disk) -> Option<String> {
    match disk.condition() {
        Condition::Well => None,
        Condition::NearlyFull => Some(format!(
            "the disk is nearly full, {} MiB are free: the node leads only what no node with space can; \
             add disk space",
            disk.free_bytes() >> 20
        )),
        Condition::Hung if disk.hangs() => {
            Some("the disk does not answer: nothing can be written on this node".to_owned())
        }
        Condition::Hung => Some(
            "the disk did not answer until a moment ago: the node takes no leaders yet".to_owned(),
        ),
    }
}
