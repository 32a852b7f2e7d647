//! Reads that wait for the range's time: the leader's clock has passed the expiry of what they would
//! show, and the range has not. They are answered when an entry has moved the range's time past it,
//! so that the key stays absent whoever leads next.
//!
//! All reads that wait at a moment share one entry. It moves the time as far as they need and no
//! further: writes that are evaluated already have later timestamps and need not be evaluated again.
//! Whoever comes meanwhile goes into the next one.
//!
//! A read was confirmed (`reads`) before it came here; what is applied since can only be newer.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    advance::advance_time,
    raft::types::Raft,
    reads::{self, Expiring, Expiry, Served},
    replica::Shared,
    request::{OpResult, ReadKind},
};
use crate::{error::OpError, time::local::Instant};

/// Reads that may wait; more are refused as overloaded.
pub(super) const WAITING_MAX: usize = 4_096;
/// How long an advance may take before its reads are turned away.
const ADVANCE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run(shared: Arc<Shared>, raft: Raft, mut queue: mpsc::Receiver<Expiring>) {
    let mut batch = Vec::new();
    loop {
        if queue.recv_many(&mut batch, WAITING_MAX).await == 0 {
            return;
        }
        let begun = Instant::now();
        let alive = batch.iter().filter(|waiting| waiting.read.deadline > begun);
        let moved = match alive.map(|waiting| waiting.to).max() {
            Some(to) => advance_time(&shared, &raft, to, begun + ADVANCE_TIMEOUT).await,
            None => Ok(()),
        };
        for Expiring { read, .. } in batch.drain(..) {
            let result = match &moved {
                _ if read.deadline <= begun => Err(OpError::deadline()),
                Ok(()) => settled(&shared, read.kind),
                Err(error) => Err(error.clone()),
            };
            read.reply.send(result);
        }
    }
}

/// The answer to a read for which the time was moved.
fn settled(shared: &Shared, kind: ReadKind) -> OpResult {
    // Only gets and scans wait, and those do not ask for a term.
    match reads::serve(shared, kind, 0, Expiry::ByTime) {
        Served::Answer(result) => result,
        Served::Later { .. } | Served::Stale => {
            Err(OpError::unavailable("the range moved on meanwhile; try again"))
        }
    }
}
