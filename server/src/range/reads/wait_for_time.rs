//! Reads that wait for the range's time: the leader's clock has passed the expiry of what they would
//! show, or the moment that a scan asks for, and the range has not. They are answered when an entry has moved the
//! range's time past it, so that what they show stays so whoever leads next.
//!
//! All reads that wait at a moment share one entry. It moves the time as far as they need and no
//! further: writes that are evaluated already have later timestamps and need not be evaluated again.
//! Whoever comes meanwhile goes into the next one.
//!
//! A read was confirmed (`confirm.rs`) before it came here; what is applied since can only be newer.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::serve::{Served, serve};
use crate::{
    error::OpError,
    range::{
        advance::advance_time,
        expiry::Expiry,
        raft::group::Group,
        request::{OpResult, Read, ReadKind},
        shared::Shared,
    },
    time::{Timestamp, local::Instant},
};

/// Reads that may wait; more are refused as overloaded.
pub(in crate::range) const WAITING_MAX: usize = 4_096;
/// How long an advance may take before its reads are turned away.
const ADVANCE_TIMEOUT: Duration = Duration::from_secs(1);

/// A read that nothing but the range's time keeps from its answer.
pub(in crate::range) struct Waiting {
    pub(super) read: Read,
    /// Where the time has to be.
    pub(super) to: Timestamp,
}

/// Lets a read wait. It is answered at once where too many do.
pub(super) fn send(waiting: &mpsc::Sender<Waiting>, read: Waiting) {
    use mpsc::error::TrySendError::{Closed, Full};
    match waiting.try_send(read) {
        Ok(()) => {}
        Err(Full(Waiting { read, .. })) => {
            let why = "too many reads wait for keys to expire; slow down";
            read.reply.send(Err(OpError::overloaded(why)));
        }
        Err(Closed(Waiting { read, .. })) => {
            read.reply.send(Err(OpError::unavailable("the node is stopping")));
        }
    }
}

pub(in crate::range) async fn run(
    shared: Arc<Shared>,
    raft: Group,
    mut queue: mpsc::Receiver<Waiting>,
) {
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
        for Waiting { read, .. } in batch.drain(..) {
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
    match serve(shared, kind, 0, Expiry::ByTime) {
        Served::Answer(result) => result,
        Served::Later { .. } | Served::Stale => {
            Err(OpError::unavailable("the range moved on meanwhile; try again"))
        }
    }
}
