//! The task that serves a range's reads: a round of confirmations for all that wait, then the answers.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::sync::mpsc;

use super::{
    confirm::Confirming,
    queue::{Queued, ReadQueue},
    serve::{Served, serve},
    waiting::{self, Waiting},
};
use crate::{
    error::OpError,
    range::{
        expiry::Expiry,
        faults::Doing,
        raft::{group::Group, log_store::LogStore},
        request::Read,
        shared::Shared,
    },
    size::Size,
    time::local::Instant,
};

/// Reads that one round confirms.
const ROUND_READS_MAX: Size = Size::new("round-reads", 4_096, 1);

/// Starts the task that serves a range's reads.
pub(in crate::range) fn start(
    shared: Arc<Shared>,
    raft: Group,
    log: LogStore,
    waiting: mpsc::Sender<Waiting>,
) -> ReadQueue {
    let (reads, queue) = ReadQueue::new(shared.leaderships.clone());
    tokio::spawn(run(Confirming::new(shared, raft, log), queue, waiting));
    reads
}

async fn run(
    mut confirming: Confirming,
    mut queue: mpsc::Receiver<Queued>,
    waiting: mpsc::Sender<Waiting>,
) {
    let shared = confirming.shared.clone();
    // In the order of arrival.
    let mut batch: VecDeque<Queued> = VecDeque::new();
    loop {
        if batch.is_empty() {
            let Some(first) = queue.recv().await else { return };
            unless_late(&mut batch, first, Instant::now());
        }
        gather(&mut batch, &mut queue);
        if batch.is_empty() {
            continue;
        }
        if shared.disk_hangs() {
            // Another node is about to lead, and this one's group could not take notice.
            for Queued { read, .. } in batch.drain(..) {
                read.refuse(OpError::hung_leader());
            }
            continue;
        }
        shared.metrics.read_confirmations.inc();
        shared.waiting.reads.store(batch.len(), Relaxed);
        let confirmed = confirming.confirm().await;
        let raft = &confirming.raft;
        if confirmed.is_none() && raft.leads().is_some() {
            let why = "no majority confirmed the leadership in time; reads are turned away";
            shared.faults.note(Doing::Confirm, None, why);
        }
        let mut served = batch.len();
        if let Some(round) = confirmed.as_ref().and_then(|confirmed| confirmed.round) {
            gather(&mut batch, &mut queue);
            served = confirmed_by(batch.iter().map(|queued| queued.arrived), round);
        }
        shared.waiting.reads.store(batch.len() - served, Relaxed);
        let now = Instant::now();
        for Queued { read, .. } in batch.drain(..served) {
            let Some(Read { kind, deadline, reply }) = read.unless_in_vain(now) else { continue };
            let term = confirmed.as_ref().map(|confirmed| confirmed.term);
            let served =
                term.map(|term| serve(&shared, kind, term, Expiry::Known { guarded: false }));
            match served {
                Some(Served::Answer(result)) => reply.send(result),
                Some(Served::Later { kind, what }) => {
                    let read = Waiting { read: Read { kind, deadline, reply }, what };
                    waiting::send(&waiting, read);
                }
                Some(Served::Stale) | None => {
                    reply.send(Err(OpError::not_leader(shared.leader_hint(raft))));
                }
            }
        }
    }
}

/// How many of what arrived, in this order, a round confirms: what came before it began. That is more than
/// asked for it: also what came after the claim was made, and before the round could begin.
fn confirmed_by(arrived: impl Iterator<Item = u64>, round: u64) -> usize {
    arrived.take_while(|arrived| *arrived < round).count()
}

/// Takes what waits, as many as a round confirms.
fn gather(batch: &mut VecDeque<Queued>, queue: &mut mpsc::Receiver<Queued>) {
    let now = Instant::now();
    while batch.len() < ROUND_READS_MAX.get() {
        let Ok(queued) = queue.try_recv() else { break };
        unless_late(batch, queued, now);
    }
}

/// Takes a read, or answers it where its time is over: no round is spent on what nobody waits for any more.
fn unless_late(batch: &mut VecDeque<Queued>, queued: Queued, now: Instant) {
    match queued.read.deadline <= now {
        true => queued.read.refuse(OpError::deadline()),
        false => batch.push_back(queued),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_confirms_what_came_before_it_began_and_nothing_later() {
        // Rounds 1 to 3 have begun: what comes while the third is under way is stamped with it.
        let arrived = [1, 2, 2, 3, 3];
        assert_eq!(confirmed_by(arrived.into_iter(), 3), 3);
        assert_eq!(confirmed_by(arrived.into_iter(), 4), 5);
        assert_eq!(confirmed_by(arrived.into_iter(), 1), 0);
        assert_eq!(confirmed_by([].into_iter(), 1), 0);
    }
}
