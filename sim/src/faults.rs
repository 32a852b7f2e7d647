//! What goes wrong: one task a fault of the scenario.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{Cluster, between, random, seconds_between},
    scenario::Fault,
};

/// For how long after its return a node is watched: does it install a raft snapshot?
const WATCHED: Duration = Duration::from_secs(3);
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Between two calls to replace a node.
const REPLACE_PAUSE: Duration = Duration::from_millis(100);
/// Outages of one node in a row.
const OUTAGES: usize = 2;

/// How often each kind of fault happened.
pub type Fired = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Injects a fault again and again, until it is aborted; that may leave nodes down, cut off, drained or
/// without their disks.
pub async fn inject(cluster: Arc<Cluster>, fault: Fault, fired: Fired) {
    loop {
        let (least, most) = fault.every_s();
        sleep(seconds_between(least, most)).await;
        let (down_least, down_most) = fault.down_s();
        let victims = match &fault {
            Fault::NodeKill { .. } => single(&cluster).into_iter().collect(),
            Fault::LongOutage { .. } => {
                let Some(victim) = single(&cluster) else { continue };
                *fired.lock().entry(fault.kind()).or_default() += 1;
                for outage in 1..=OUTAGES {
                    cluster.kill(victim);
                    sleep(seconds_between(down_least, down_most)).await;
                    cluster.restart(victim);
                    // Not the last one: some must be installed in peace, or none may be counted.
                    watch_installation(&cluster, victim, outage < OUTAGES).await;
                }
                continue;
            }
            Fault::DiskLoss { .. } => {
                // One disk after the other: with two gone acknowledged writes may be, too.
                if cluster.wiped().is_empty() && cluster.up().len() == cluster.nodes().len() {
                    *fired.lock().entry(fault.kind()).or_default() += 1;
                    lose_disk(&cluster, fault.down_s()).await;
                }
                continue;
            }
            Fault::PowerLoss { .. } => cluster.nodes(),
            Fault::RoomLoss { .. } => cluster.first_room(),
            Fault::Drain { .. } => {
                let up = cluster.up();
                let chosen = usize::try_from(random() % up.len().max(1) as u64).unwrap_or(0);
                let Some(node) = up.get(chosen).copied() else { continue };
                if cluster.drain(node, false).await {
                    *fired.lock().entry(fault.kind()).or_default() += 1;
                }
                sleep(seconds_between(down_least, down_most)).await;
                cluster.drain(node, true).await;
                continue;
            }
            Fault::StaleRoutes { .. } => {
                if cluster.forget_routes() {
                    *fired.lock().entry(fault.kind()).or_default() += 1;
                }
                continue;
            }
            Fault::LeaderCut { .. } => {
                let Some(leader) = cluster.data_leader() else { continue };
                *fired.lock().entry(fault.kind()).or_default() += 1;
                cluster.cut_off(leader);
                sleep(seconds_between(down_least, down_most)).await;
                cluster.mend(leader);
                continue;
            }
        };
        if victims.is_empty() {
            continue;
        }
        *fired.lock().entry(fault.kind()).or_default() += 1;
        let together = matches!(fault, Fault::RoomLoss { .. });
        let mut down = seconds_between(down_least, down_most);
        for victim in victims {
            cluster.kill(victim);
            let cluster = cluster.clone();
            if !together {
                down = seconds_between(down_least, down_most);
            }
            tokio::spawn(async move {
                sleep(down).await;
                cluster.restart(victim);
            });
        }
    }
}

/// A node loses its disk and is replaced. Every second time so that its old vote would make a majority of
/// nodes that lack what was acknowledged.
async fn lose_disk(cluster: &Arc<Cluster>, (down_least, down_most): (f64, f64)) {
    let mut nodes = cluster.nodes();
    let chosen = usize::try_from(random() % nodes.len().max(1) as u64).unwrap_or(0);
    let victim = nodes.swap_remove(chosen);
    let down = || seconds_between(down_least, down_most);
    if random().is_multiple_of(2) {
        let behind: Vec<_> = nodes.drain(..nodes.len() / 2).collect();
        for node in &behind {
            cluster.kill(*node);
        }
        sleep(down()).await;
        for node in nodes.iter().chain([&victim]) {
            cluster.kill(*node);
        }
        cluster.wipe(victim);
        for node in behind.iter().chain([&victim]) {
            cluster.restart(*node);
        }
        let cluster = cluster.clone();
        let down = down();
        tokio::spawn(async move {
            sleep(down).await;
            for node in nodes {
                cluster.restart(node);
            }
        });
    } else {
        cluster.kill(victim);
        cluster.wipe(victim);
        sleep(down()).await;
        cluster.restart(victim);
    }
    loop {
        let up = cluster.up();
        let asked = usize::try_from(random() % up.len().max(1) as u64).unwrap_or(0);
        if let Some(asked) = up.get(asked)
            && cluster.replace(victim, *asked).await.is_ok()
        {
            return;
        }
        sleep(REPLACE_PAUSE).await;
    }
}

/// A node that may be killed alone: a majority stays up.
fn single(cluster: &Cluster) -> Option<NodeId> {
    let up = cluster.up();
    let may_fall = up.len() > cluster.nodes().len() / 2 + 1;
    let chosen = usize::try_from(random() % up.len().max(1) as u64).unwrap_or(0);
    up.get(chosen).copied().filter(|_| may_fall)
}

/// Watches a node that is back. While it installs a raft snapshot it may be killed again; otherwise it
/// is left alone for a while.
async fn watch_installation(cluster: &Cluster, node: NodeId, may_kill: bool) {
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        if may_kill && cluster.is_installing(node) {
            if !random().is_multiple_of(4) {
                sleep(Duration::from_micros(between(0, 20_000))).await;
                cluster.kill(node);
                sleep(seconds_between(0.1, 0.5)).await;
                cluster.restart(node);
            }
            return;
        }
        sleep(LOOK_PAUSE).await;
    }
}
