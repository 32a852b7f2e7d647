//! Reads that wait for something before they can be answered: for writes that are on their way, or for a timestamp.
//!
//! ```text
//!   guards are up over the key, or below the moment    until they are down (`range/guards.rs`), then it is served
//!   what it has found may have expired                 for a round of the oracle, which decides it
//!   the moment that it asks for is not known yet       for a round: then it goes to the other reads, or is refused
//! ```
//!
//! Reads that begin to wait at the same moment wait together: there are two or three guards at a time, and one round
//! serves them all. Nobody else waits for them.
//!
//! A read that waits for guards was confirmed (`confirm.rs`) before it came here; what is applied since can only be
//! newer. None waits longer than its deadline. Bounded by [`QUEUE_MAX`] and [`WAITING_MAX`].

use std::{pin::Pin, sync::Arc};

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    queue::ReadQueue,
    serve::{For, Served, serve},
};
use crate::{
    error::OpError,
    range::{
        expiry::Expiry,
        guards::Guard,
        request::{OpResult, Read, ReadKind, Reply},
        shared::Shared,
    },
    time::local::{Instant, timeout},
};

/// Reads that may wait for their turn here; more are refused as overloaded.
pub(in crate::range) const QUEUE_MAX: usize = 4_096;
/// Reads that may wait here; those in the queue stay there.
const WAITING_MAX: usize = 16_384;

/// A read that waits.
pub(in crate::range) struct Waiting {
    pub(in crate::range) read: Read,
    pub(in crate::range) what: For,
}

/// Lets a read wait. It is answered at once where too many do.
pub(in crate::range) fn send(waiting: &mpsc::Sender<Waiting>, read: Waiting) {
    let too_many = "too many reads wait for writes or for timestamps; slow down";
    Reply::unless_sent(waiting.try_send(read), |waiting| waiting.read.reply, too_many);
}

/// Answers reads that wait, for as long as the replica is there.
pub(in crate::range) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Waiting>) {
    let (mut incoming, mut waiting) = (Vec::new(), 0);
    let mut groups = FuturesUnordered::<Pin<Box<dyn Future<Output = usize> + Send>>>::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = groups.next(), if !groups.is_empty() => waiting -= ended,
            received = queue.recv_many(&mut incoming, QUEUE_MAX), if waiting < WAITING_MAX => {
                if received == 0 {
                    return;
                }
                waiting += received;
                let (mut guarded, mut asking) = (Vec::new(), Vec::new());
                for one in incoming.drain(..) {
                    match one.what {
                        For::Guards(guards, term) => guarded.push((one.read, guards, term)),
                        For::Expiry => asking.push((one.read, None)),
                        For::Moment(reads) => asking.push((one.read, Some(reads))),
                    }
                }
                if !guarded.is_empty() {
                    groups.push(Box::pin(guards_are_down(shared.clone(), guarded)));
                }
                if !asking.is_empty() {
                    groups.push(Box::pin(round_has_come(shared.clone(), asking)));
                }
            }
        }
    }
}

/// Serves reads once the guards that each found are down; how many.
async fn guards_are_down(shared: Arc<Shared>, reads: Vec<(Read, Vec<Arc<Guard>>, u64)>) -> usize {
    let count = reads.len();
    let served = reads.into_iter().map(|(read, guards, term)| {
        let shared = &shared;
        async move {
            if let Err(error) = are_down(guards, read.deadline).await {
                read.refuse(error);
                return None;
            }
            let Read { kind, deadline, reply } = read.unless_in_vain(Instant::now())?;
            match serve(shared, kind, term, Expiry::Known { guarded: true }) {
                Served::Answer(result) => reply.send(result),
                Served::Later { kind, .. } => return Some((Read { kind, deadline, reply }, None)),
                Served::Stale => reply.send(Err(OpError::not_leader(None))),
            }
            None
        }
    });
    let asking: Vec<_> = join_all(served).await.into_iter().flatten().collect();
    if !asking.is_empty() {
        round_has_come(shared, asking).await;
    }
    count
}

/// Waits until the writes are applied, or never will be.
async fn are_down(guards: Vec<Arc<Guard>>, deadline: Instant) -> Result<(), OpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let down = timeout(left, join_all(guards.iter().map(|guard| guard.down()))).await;
    if down.map_err(|_| OpError::deadline())?.into_iter().all(|is_down| is_down) {
        return Ok(());
    }
    Err(OpError::unavailable(
        "nobody knows what became of a write that the read waited for; try again",
    ))
}

/// Runs a round for reads, and serves them; how many. Some go to the other reads first.
async fn round_has_come(shared: Arc<Shared>, reads: Vec<(Read, Option<ReadQueue>)>) -> usize {
    let count = reads.len();
    let block = shared.oracle.round().await;
    let now = Instant::now();
    let mut settling = Vec::new();
    for (read, moment) in reads {
        let Some(Read { kind, deadline, reply }) = read.unless_in_vain(now) else { continue };
        let at = match &block {
            Err(error) => {
                reply.send(Err((*error).into()));
                continue;
            }
            Ok(block) => block.last(),
        };
        match (moment, kind) {
            (Some(_), kind) if kind.moment().is_some_and(|moment| moment > at) => {
                reply.send(Err(OpError::invalid(
                    "the moment that is asked for is yet to come; take one that an answer told",
                )));
            }
            (Some(reads), kind) => reads.send(Read { kind, deadline, reply }),
            (None, kind) => {
                let shared = &shared;
                settling.push(async move {
                    reply.send(settled(shared, kind, deadline, Expiry::At(at)).await);
                });
            }
        }
    }
    join_all(settling).await;
    count
}

/// The answer to a read that knows the moment by which it is decided.
async fn settled(shared: &Shared, kind: ReadKind, deadline: Instant, expiry: Expiry) -> OpResult {
    let mut kind = kind;
    loop {
        // Only gets wait for that, and those do not ask for a term.
        match serve(shared, kind, 0, expiry) {
            Served::Answer(result) => return result,
            Served::Later { kind: again, what: For::Guards(guards, _) } => {
                are_down(guards, deadline).await?;
                kind = again;
            }
            Served::Later { .. } | Served::Stale => {
                return Err(OpError::unavailable("the range moved on meanwhile; try again"));
            }
        }
    }
}
