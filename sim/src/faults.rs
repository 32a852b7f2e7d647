//! What goes wrong: one task a fault of the scenario.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, random, seconds_between},
    scenario::Fault,
};

/// How often each kind of fault happened.
pub type Fired = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Injects a fault again and again until `stop`.
pub async fn inject(cluster: Arc<Cluster>, fault: Fault, fired: Fired, stop: Arc<AtomicBool>) {
    loop {
        let (least, most) = fault.every_s();
        sleep(seconds_between(least, most)).await;
        if stop.load(Ordering::Acquire) {
            return;
        }
        let (down_least, down_most) = fault.down_s();
        let victims = match &fault {
            Fault::NodeKill { .. } => {
                let up = cluster.up();
                // A majority stays up: this fault is about single nodes.
                let may_fall = up.len() > cluster.nodes().len() / 2 + 1;
                let chosen = usize::try_from(random() % up.len().max(1) as u64).unwrap_or(0);
                up.get(chosen).copied().filter(|_| may_fall).into_iter().collect()
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
