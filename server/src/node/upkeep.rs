//! What a node does on the side: pings, log truncation, the dedup threshold, the address book.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{async_runtime::watch::WatchReceiver, impls::OneshotResponder};
use quintet_proto::internal::v1 as wire;
use tokio::time::sleep;

use super::{bootstrap::Bootstrap, leaders, records, status};
use crate::{
    ids::RangeId,
    peer::{Kind, Lane},
    placement::policy,
    range::{raft::types::Proposal, replica::Replica},
    storage::{
        self, Batch, Direction, Engine, Family,
        codec::{self, Command, DedupRecord},
    },
    trace,
};

const PING_INTERVAL: Duration = Duration::from_millis(1_000);
/// A node that has met only strangers after so many pings stops.
const ASTRAY_PINGS: u32 = 3;
const BOOK_RETRY: Duration = Duration::from_secs(2);
const TRUNCATE_INTERVAL: Duration = Duration::from_secs(5);
const COLLECT_INTERVAL: Duration = Duration::from_secs(5);
/// Records that one step looks at: a few milliseconds.
const COLLECT_RECORDS_MAX: usize = 5_000;

async fn pause(bootstrap: &Bootstrap, what: &str, how_long: Duration) {
    trace::event("timer", format_args!("{} {what} in {how_long:?}", bootstrap.peers().me()));
    sleep(how_long).await;
}

/// Tells every peer what this node's leaders know.
pub(super) async fn ping(bootstrap: Arc<Bootstrap>) {
    let mut pings = 0_u32;
    loop {
        pause(&bootstrap, "pings", PING_INTERVAL).await;
        ping_once(&bootstrap).await;
        pings = pings.saturating_add(1);
        // By then its own cluster has had time to answer.
        if let Some(why) = bootstrap.peers().astray().filter(|_| pings >= ASTRAY_PINGS) {
            (bootstrap.host().failed)(storage::Error::Open(why));
        }
        status::refresh(&bootstrap);
    }
}

pub(super) async fn ping_once(bootstrap: &Bootstrap) {
    let me = bootstrap.peers().me();
    let draining = bootstrap.draining.lock().get(&me).copied().unwrap_or(false);
    let leading = bootstrap.replicas().into_iter().filter(Replica::is_leader);
    let ranges: Vec<_> = leading.map(|replica| news(bootstrap, &replica)).collect();
    {
        let mut known = bootstrap.news.lock();
        for range in &ranges {
            known.insert(crate::ids::RangeId(range.range_id), range.clone());
        }
    }
    let answers = bootstrap.peers().book().nodes().into_iter().map(|node| {
        let message = wire::PeerMessage {
            kind: Some(Kind::Ping(wire::Ping { ranges: ranges.clone(), draining })),
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
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let membership = metrics.membership_config.membership();
    let matched = |id: u64| {
        let replication = metrics.replication.as_ref()?;
        replication.get(&id).copied().flatten().map(|at| at.index())
    };
    let replicas: Vec<_> = membership
        .nodes()
        .map(|(id, holder)| quintet_proto::v1::ReplicaStatus {
            replica_id: *id,
            node_id: holder.node.0,
            role: if membership.voter_ids().any(|voter| voter == *id) {
                "voter"
            } else {
                "learner"
            }
            .to_owned(),
            lag_entries: last.saturating_sub(matched(*id).unwrap_or(0)),
            lag_known: matched(*id).is_some(),
        })
        .collect();
    let held_by_all = membership.nodes().map(|(id, _)| matched(*id).unwrap_or(0)).min();
    wire::RangeNews {
        range_id: replica.range.0,
        term: metrics.current_term,
        leader_replica: replica.id.0,
        leader_node: bootstrap.peers().me().0,
        held_by_all: held_by_all.unwrap_or(0),
        last_index: last,
        applied_index: metrics.last_applied.map_or(0, |at| at.index()),
        replicas,
        leader_reason,
    }
}

/// Truncates logs below what every replica holds and this node has made durable.
pub(super) async fn truncate_logs(bootstrap: Arc<Bootstrap>) {
    loop {
        pause(&bootstrap, "truncates logs", TRUNCATE_INTERVAL).await;
        for replica in bootstrap.replicas() {
            let held = bootstrap.news.lock().get(&replica.range).map_or(0, |news| news.held_by_all);
            if let Err(error) = replica.truncate_log(held).await {
                tracing::warn!(range = %replica.range, %error, "log not truncated");
            }
        }
    }
}

/// Moves the dedup threshold of the ranges that this node leads: what is older than the window is
/// refused from then on, so its records can go (design, section 6).
pub(super) async fn move_dedup_threshold(bootstrap: Arc<Bootstrap>, window: Duration) {
    let every = (window / 10).max(Duration::from_secs(1));
    loop {
        pause(&bootstrap, "moves dedup thresholds", every).await;
        for replica in bootstrap.replicas() {
            let Ok(leader) = replica.raft.as_leader() else { continue };
            let threshold = bootstrap.router().hlc().peek().saturating_sub(window);
            let command = Command::MoveDedupThreshold { evaluated_under: leader.term(), threshold };
            let (responder, _applied) = OneshotResponder::new_pair();
            let proposal = Proposal(Bytes::from(codec::encode(&command)));
            let write = replica.raft.write(proposal).responder(responder);
            // A lost proposal is made up for by the next one.
            write.with_leader(leader.term()).await.ok();
        }
    }
}

/// Removes what is remembered of requests that are refused by now: by the time of their first
/// attempt, the same that apply refuses by. Each node does so by itself: what is removed can't be
/// asked for any more.
pub(super) async fn collect_dedup(bootstrap: Arc<Bootstrap>) {
    let mut cursors: BTreeMap<RangeId, Vec<u8>> = BTreeMap::new();
    loop {
        pause(&bootstrap, "collects dedup records", COLLECT_INTERVAL).await;
        for replica in bootstrap.replicas() {
            let cursor = cursors.entry(replica.range).or_default();
            loop {
                match collect_step(&replica, cursor) {
                    // Much was old: go on at once, or the family grows faster than it shrinks.
                    Ok(collected) if collected >= COLLECT_RECORDS_MAX / 2 => {
                        tokio::task::yield_now().await;
                    }
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(range = %replica.range, %error, "dedup not collected");
                        break;
                    }
                }
            }
        }
    }
}

/// Looks at a bounded number of records from the cursor on; how many were removed.
fn collect_step(replica: &Replica, cursor: &mut Vec<u8>) -> Result<usize, crate::storage::Error> {
    let state = &replica.shared.state;
    let threshold = state.dedup_threshold();
    let descriptor = state.descriptor();
    let start = cursor.as_slice().max(&descriptor.start).to_vec();
    let (mut batch, mut visited) = (Batch::new(), 0);
    let mut next = Vec::new();
    let mut failed = None;
    state.engine().scan(
        Family::Dedup,
        &start,
        &descriptor.end,
        Direction::Forward,
        &mut |key, record| {
            visited += 1;
            if visited > COLLECT_RECORDS_MAX {
                next = key.to_vec();
                return ControlFlow::Break(());
            }
            match codec::decode::<DedupRecord>(record) {
                Ok(record) if record.first_attempt < threshold => {
                    batch.delete(Family::Dedup, key.to_vec());
                }
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    if let Some(error) = failed {
        return Err(error);
    }
    *cursor = next;
    let collected = batch.changes.len();
    if collected > 0 {
        state.engine().write(batch)?;
    }
    Ok(collected)
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
