//! Disks that fail, are slow, full or damaged.

use std::time::Duration;

use quintet_server::{ids::NodeId, storage::memory::Room};
use tokio::time::{Instant, sleep};

use super::{disk_loss, striking::Striking};
use crate::cluster::Engine;

/// How long a failure waits for a sync.
const ARMED_FOR: Duration = Duration::from_secs(5);
/// How long a node may take to stop, after that.
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at whether a node has stopped.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Waits until a node has stopped by itself; whether it has, in time.
async fn stops(striking: &Striking, node: NodeId, within: Duration) -> bool {
    let until = Instant::now() + within;
    while striking.cluster.stop_reason(node).is_none() {
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK_PAUSE).await;
    }
    true
}

/// A node that may be stopped alone, and at whose disk no other strike is.
fn victim(striking: &mut Striking) -> Option<NodeId> {
    striking.single().filter(|node| !striking.cluster.is_excused(*node))
}

/// A sync of one node fails.
pub(super) async fn fail_sync(striking: &mut Striking) {
    let Some(node) = victim(striking) else { return };
    let engine = if striking.dice.one_in(2) { Engine::Log } else { Engine::Data };
    let ever_killed = striking.cluster.downs(node);
    striking.cluster.fail_next_sync(node, engine);
    if !stops(striking, node, ARMED_FOR).await {
        let is_unmet = striking.cluster.let_syncs_work(node);
        // Whatever killed it meanwhile took the failure with it.
        if is_unmet || striking.cluster.downs(node) > ever_killed {
            return;
        }
        // It was met in this very moment, or the node goes on although it was.
        striking.cluster.excuse(node, Some(crate::cluster::Excuse::SyncFails));
        if !stops(striking, node, STOP_WITHIN).await {
            striking.cluster.breaks(format!("{node} goes on although a sync has failed"));
            return;
        }
    }
    striking.begins(&[node], &format!("has stopped, since a sync of its {engine:?} engine failed"));
    striking.cluster.excuse(node, None);
    striking.last().await;
    striking.cluster.restart(node);
    striking.ends();
}

/// Syncs of one node are slow for a while.
pub(super) async fn slow(striking: &mut Striking) {
    let nodes = striking.cluster.nodes();
    let Some(node) = striking.victim(&nodes) else { return };
    let factor = striking.strike.fault.factor.unwrap_or(1);
    striking.begins(&[node], &format!("has a disk that is {factor} times as slow"));
    striking.cluster.slow_disk(node, factor);
    striking.last().await;
    striking.cluster.slow_disk(node, 1);
    striking.ends();
}

/// The disk of one node is full, or nearly, for a while.
pub(super) async fn fill(striking: &mut Striking) {
    let Some(node) = victim(striking) else { return };
    let (room, words) = if striking.dice.one_in(2) {
        (Room::Little, "has a disk that is nearly full")
    } else {
        (Room::None, "has a full disk")
    };
    striking.begins(&[node], words);
    striking.cluster.set_room(node, room);
    striking.last().await;
    let has_stopped = striking.cluster.stop_reason(node).is_some();
    striking.cluster.set_room(node, Room::Plenty);
    if has_stopped {
        striking.cluster.restart(node);
    }
    striking.ends();
}

/// The disk of one node is nearly full for a while.
pub(super) async fn nearly_fill(striking: &mut Striking) {
    let Some(node) = victim(striking) else { return };
    striking.begins(&[node], "has a disk that is nearly full");
    striking.cluster.set_room(node, Room::Little);
    striking.last().await;
    striking.cluster.set_room(node, Room::Plenty);
    striking.ends();
}

/// The disk of one node does not answer for a while.
pub(super) async fn hang(striking: &mut Striking) {
    let Some(node) = victim(striking) else { return };
    striking.begins(&[node], "has a disk that does not answer");
    striking.cluster.hang_disk(node, true);
    striking.last().await;
    striking.cluster.hang_disk(node, false);
    striking.ends();
}

/// A bit flips on the disk of one node.
pub(super) async fn rot(striking: &mut Striking) {
    let cluster = striking.cluster.clone();
    let up = cluster.up();
    if !cluster.disks_are_whole() || up.len() < cluster.nodes().len() {
        return;
    }
    let Some(node) = victim(striking) else { return };
    let Some(what) = cluster.damage(node, &mut striking.dice) else { return };
    striking.begins(&[node], &format!("has a damaged {what}"));
    if striking.dice.one_in(2) {
        cluster.kill(node);
        cluster.restart(node);
    }
    if stops(striking, node, striking.strike.lasts).await {
        striking.begins_as("bit-rot noticed", &[node], "has noticed it and stopped");
    }
    cluster.kill(node);
    cluster.wipe(node);
    cluster.excuse(node, None);
    sleep(Duration::from_secs_f64(striking.dice.real(0.2, 1.0))).await;
    cluster.restart(node);
    disk_loss::replace(striking, node).await;
    striking.ends();
}
