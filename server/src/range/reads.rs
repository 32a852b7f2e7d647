//! Linearizable reads of one range (design, section 7): ReadIndex, batched.
//!
//! Reads that arrive while a confirmation round is under way are answered by the next one. A round
//! that began after a read arrived proves that this replica led at that moment; the read then sees
//! at least everything that was committed before (Ongaro's thesis, section 6.4). Leader leases are
//! not used: they need an assumption on clock rates.

use std::{sync::Arc, time::Duration};

use openraft::LinearizerOption;
use tokio::{sync::mpsc, time::Instant};

use super::{
    raft::types::Raft,
    replica::Shared,
    request::{Answer, OpResult, Read, ReadKind, ScanPage},
};
use crate::{
    error::OpError,
    planted::{self, Bug},
    storage::{Direction, engine::Error, keys, mvcc},
    time::Timestamp,
};

/// Reads that one round confirms.
const ROUND_READS_MAX: usize = 4_096;
/// How long a round may take before its reads are turned away.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Arc<Shared>, raft: Raft, mut queue: mpsc::Receiver<Read>) {
    let mut batch = Vec::new();
    loop {
        if queue.recv_many(&mut batch, ROUND_READS_MAX).await == 0 {
            return;
        }
        shared.metrics.read_confirmations.inc();
        let confirmed = confirm(&raft).await;
        let now = Instant::now();
        for read in batch.drain(..) {
            let result = if read.deadline <= now {
                Err(OpError::deadline())
            } else if let Some(term) = confirmed {
                serve(&shared, read.kind, term)
                    .unwrap_or_else(|| Err(OpError::not_leader(shared.leader_hint(&raft))))
            } else {
                Err(OpError::not_leader(shared.leader_hint(&raft)))
            };
            read.reply.send(result);
        }
    }
}

/// The term in which this replica leads, if it led at some moment after the call and has applied what
/// was committed then.
async fn confirm(raft: &Raft) -> Option<u64> {
    let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(ROUND_TIMEOUT);
    let linearizer = raft.get_read_linearizer(option).await.ok()?;
    linearizer.await_ready(raft).await.ok()?;
    raft.as_leader().ok().map(|leader| leader.term())
}

/// The answer; none where it rests on an earlier leadership.
fn serve(shared: &Shared, kind: ReadKind, confirmed: u64) -> Option<OpResult> {
    let result = match kind {
        // Terms only rise: the same term afterwards means that no other leader was in between.
        ReadKind::Confirm { term, result } => return (term == confirmed).then_some(*result),
        ReadKind::Get(key) if !in_range(shared, &key) => return Some(Err(stale())),
        ReadKind::Get(key) => {
            mvcc::read(&**shared.state.engine(), &key, Timestamp::MAX).map(Answer::Get)
        }
        ReadKind::Scan { start, end, at: None, .. } if !holds(shared, &start, &end) => {
            return Some(Err(stale()));
        }
        ReadKind::Scan { start, end, direction, at, limit, keys_only } => {
            scan(shared, (&start, &end), direction, at, limit, keys_only).map(Answer::Scan)
        }
    };
    Some(result.map_err(|error| {
        tracing::error!(range = %shared.range, %error, "state can't be read");
        shared.fail(error.clone());
        OpError::new(quintet_proto::v1::Code::Storage, error.to_string())
    }))
}

fn stale() -> OpError {
    let message = "the key has moved to another range; try again";
    OpError::new(quintet_proto::v1::Code::StaleRoute, message)
}

fn in_range(shared: &Shared, key: &[u8]) -> bool {
    shared.state.descriptor().contains(key) || planted::active(Bug::StaleRouteAccepted)
}

/// Whether the range holds all of a span. Only then may it choose the version of a scan by itself.
fn holds(shared: &Shared, start: &[u8], end: &[u8]) -> bool {
    let range = shared.state.descriptor();
    let ends = range.end.is_empty() || (!end.is_empty() && end <= range.end.as_slice());
    (range.start.as_slice() <= start && ends) || planted::active(Bug::StaleRouteAccepted)
}

/// A page; it ends with the range at the latest, and goes on behind it.
fn scan(
    shared: &Shared,
    (start, end): (&[u8], &[u8]),
    direction: Direction,
    at: Option<Timestamp>,
    limit: mvcc::PageLimit,
    keys_only: bool,
) -> Result<ScanPage, Error> {
    let at = at.unwrap_or_else(|| shared.state.newest());
    let range = shared.state.descriptor();
    let from = start.max(&range.start);
    let upto = match (range.end.as_slice(), end) {
        ([], end) => end,
        (border, []) => border,
        (border, end) => border.min(end),
    };
    let mut page = mvcc::scan(&**shared.state.engine(), (from, upto), at, direction, limit)?;
    if page.next.is_none() {
        page.next = match direction {
            Direction::Forward if upto != end => Some(upto.to_vec()),
            Direction::Reverse if from != start => Some(from.to_vec()),
            _ => None,
        };
    }
    let mut out = ScanPage { at, ..ScanPage::default() };
    for (stored, mut version) in page.records {
        if keys_only {
            version.value = Vec::new();
        }
        out.records.push((user_key(&stored)?, version));
    }
    out.next = page.next.map(|stored| user_key(&stored)).transpose()?;
    Ok(out)
}

fn user_key(stored: &[u8]) -> Result<Vec<u8>, Error> {
    match keys::decode(stored) {
        Some((_, key, [])) => Ok(key),
        _ => Err(Error::Corrupt(format!("data key of {} bytes", stored.len()))),
    }
}
