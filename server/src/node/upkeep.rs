//! What a node does on the side: pings, log truncation, the address book.

use std::{sync::Arc, time::Duration};

use quintet_proto::internal::v1 as wire;

use super::{bootstrap::Bootstrap, clock, leaders, readiness, records, status};
use crate::{
    peer::{Kind, Lane},
    placement::policy,
    range::{faults::Doing, replica::Replica},
    storage::{self, Engine},
    time::local::sleep,
    trace,
};

const PING_INTERVAL: Duration = Duration::from_millis(1_000);
/// A node that has met only strangers after so many pings stops.
const ASTRAY_PINGS: u32 = 3;
const BOOK_RETRY: Duration = Duration::from_secs(2);
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) async fn pause(bootstrap: &Bootstrap, what: &str, how_long: Duration) {
    trace::event("timer", format_args!("{} {what} in {how_long:?}", bootstrap.peers().me()));
    sleep(how_long).await;
}

/// Tells every peer what this node's leaders know.
pub(super) async fn ping(bootstrap: Arc<Bootstrap>) {
    let mut pings = 0_u32;
    let mut was_ready = None;
    loop {
        pause(&bootstrap, "pings", PING_INTERVAL).await;
        clock::look(&bootstrap);
        ping_once(&bootstrap).await;
        bootstrap.router().refresh_routes();
        pings = pings.saturating_add(1);
        // By then its own cluster has had time to answer.
        if let Some(why) = bootstrap.peers().astray().filter(|_| pings >= ASTRAY_PINGS) {
            (bootstrap.host().failed)(storage::Error::Open(why));
        }
        status::refresh(&bootstrap);
        let ready = readiness::ready(&bootstrap);
        if was_ready != Some(ready.is_ok()) {
            match &ready {
                Ok(()) => tracing::info!("the node can serve clients"),
                Err(why) => tracing::warn!(why, "the node can't serve clients"),
            }
            was_ready = Some(ready.is_ok());
        }
    }
}

pub(super) async fn ping_once(bootstrap: &Bootstrap) {
    let me = bootstrap.peers().me();
    let draining = bootstrap.draining.lock().get(&me).copied().unwrap_or(false);
    let clock_wrong_by_us = bootstrap.host().hlc.wrong_by_us();
    let leading = bootstrap.leading().into_iter();
    let ranges: Vec<_> = leading.map(|replica| news(bootstrap, &replica)).collect();
    {
        let mut known = bootstrap.news.lock();
        for range in &ranges {
            known.insert(crate::ids::RangeId(range.range_id), range.clone());
        }
    }
    let disk = bootstrap.disk_of(me);
    let ping = wire::Ping {
        ranges,
        draining,
        disk: disk.map_or(0, |disk| disk.condition_to_wire().into()),
        disk_free_bytes: disk.map_or(0, |disk| disk.free_bytes),
        clock_wrong_by_us,
        reaches: bootstrap.reaches(),
    };
    let answers = bootstrap.peers().book().nodes().into_iter().map(|node| {
        let message = wire::PeerMessage {
            kind: Some(Kind::Ping(ping.clone())),
            ..wire::PeerMessage::default()
        };
        bootstrap.peers().ask(node, Lane::Urgent, message)
    });
    futures::future::join_all(answers).await;
}

/// What a leader knows of its range.
pub(super) fn news(bootstrap: &Bootstrap, replica: &Replica) -> wire::RangeNews {
    let voters = leaders::candidates(bootstrap, replica);
    let leader_reason = policy::reason(&voters, replica.range, bootstrap.peers().me());
    let progress = replica.raft.progress();
    let (last, members) = (progress.last_index, &progress.members);
    let matched = |replica| progress.matched(replica);
    let patience = bootstrap.host().times.patience();
    let replicas: Vec<_> = members
        .holders
        .iter()
        .map(|(id, node)| {
            let heard = match *id == replica.id {
                true => Some(Duration::ZERO),
                false => progress.answered_ago(*id),
            };
            let answers = heard.is_some_and(|ago| ago <= patience);
            quintet_proto::v1::ReplicaStatus {
                replica_id: id.0,
                node_id: node.0,
                role: if members.is_voter(*id) { "voter" } else { "learner" }.to_owned(),
                lag_entries: last.saturating_sub(matched(*id).unwrap_or(0)),
                lag_known: answers && matched(*id).is_some(),
                heard_ms_ago: heard.map_or(0, status::ms),
                heard_known: heard.is_some(),
            }
        })
        .collect();
    let held_by_all = members.holders.keys().map(|id| matched(*id).unwrap_or(0)).min();
    wire::RangeNews {
        range_id: replica.range.0,
        term: progress.term,
        leader_replica: replica.id.0,
        leader_node: bootstrap.peers().me().0,
        held_by_all: held_by_all.unwrap_or(0),
        last_index: last,
        applied_index: progress.applied_index(),
        replicas,
        leader_reason,
    }
}

/// Truncates logs, see [`Replica::truncate_log`], and lets go of raft snapshots that nobody wants.
pub(super) async fn truncate_logs(bootstrap: Arc<Bootstrap>) {
    loop {
        pause(&bootstrap, "truncates logs", TRUNCATE_INTERVAL).await;
        for replica in bootstrap.replicas() {
            let held = bootstrap.news.lock().get(&replica.range).map_or(0, |news| news.held_by_all);
            let retention_bytes = bootstrap.host().transfers.log_retention_bytes;
            if let Err(error) = replica.truncate_log(held, retention_bytes).await {
                replica.shared.faults.note(Doing::Truncate, None, &error.to_string());
                tracing::warn!(range = %replica.range, %error, "log not truncated");
            }
            if let Err(error) = replica.collect_snapshots() {
                tracing::warn!(range = %replica.range, %error, "raft snapshots not collected");
            }
        }
    }
}

/// Keeps a copy of the address book on disk.
pub(super) async fn keep_addresses(bootstrap: Arc<Bootstrap>, log: Arc<dyn Engine>) {
    let mut kept = records::addresses(&*log).unwrap_or_default();
    loop {
        let known = bootstrap.peers().book().all();
        if known != kept {
            match records::keep(&bootstrap.host().writer, &known).await {
                Ok(()) => kept = known,
                Err(error) => {
                    tracing::warn!(%error, "address book not kept");
                    pause(&bootstrap, "keeps its address book again", BOOK_RETRY).await;
                    continue;
                }
            }
        }
        // At once: a node that dies now, and whose peers have all moved, finds them only by this.
        bootstrap.peers().book().changed().await;
    }
}
