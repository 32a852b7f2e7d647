//! Linearizable reads of one range (design, section 7): ReadIndex, batched.
//!
//! Reads that arrive while a confirmation round is under way are answered by the next one: a round
//! that began after a read arrived proves that this replica led at that moment; the read then sees
//! at least everything that was committed before (Ongaro's thesis, section 6.4). The first round of a
//! leadership goes through Raft, which also waits for the leader's first entry; further ones are
//! shared with the node's other ranges (`leadership`). Leader leases are not used: they need an
//! assumption on clock rates.
//!
//! # Expiry
//!
//! Whether a key has expired is decided by the range's time, which no clock and no failover takes
//! back. Where only the leader's clock has passed an expiry, the read waits until the time is moved
//! past it (`expiring`), apart from this loop: nobody else waits for that.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use quintet_proto::v1::Code;
use tokio::sync::mpsc;

use super::{
    faults::Doing,
    leadership::{self, Claim, Leaderships},
    raft::{log_store::LogStore, types::Raft},
    replica::Shared,
    request::{Answer, OpResult, Read, ReadKind, Scan, ScanPage},
};
use crate::{
    error::OpError,
    planted::{self, Bug},
    size::Size,
    storage::{
        Direction,
        codec::Descriptor,
        engine::Error,
        keys,
        mvcc::{self, Life},
    },
    time::{Timestamp, local::Instant},
};

/// Reads that may wait for their turn.
const QUEUE_MAX: usize = 16_384;
/// Reads that one round confirms.
const ROUND_READS_MAX: Size = Size::new("round-reads", 4_096, 1);
/// How long the first round of a leadership may take before its reads are turned away.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Only with [`Bug::StaleLeaderRead`]: for so long a confirmation is taken for a new one; longer than
/// followers wait for a leader before they elect another.
const STALE_MAX: Duration = Duration::from_secs(2);

/// Only with [`Bug::ExpiryShownLate`]: so much too late. Clocks of other scenarios differ by as much.
const SHOWN_LATE: Duration = Duration::from_secs(2);

/// A read and when it arrived, in rounds of confirmations.
struct Queued {
    read: Read,
    arrived: u64,
}

/// The way to a range's reads; cheap to clone.
#[derive(Clone)]
pub(super) struct ReadQueue {
    queue: mpsc::Sender<Queued>,
    leaderships: Arc<Leaderships>,
}

impl ReadQueue {
    /// Queues a read. It is answered at once where the queue is full.
    pub(super) fn send(&self, read: Read) {
        use mpsc::error::TrySendError::{Closed, Full};
        let arrived = self.leaderships.arrived();
        match self.queue.try_send(Queued { read, arrived }) {
            Ok(()) => {}
            Err(Full(Queued { read, .. })) => {
                let why = "too many reads are waiting; slow down";
                read.reply.send(Err(OpError::overloaded(why)));
            }
            Err(Closed(Queued { read, .. })) => {
                read.reply.send(Err(OpError::unavailable("the node is stopping")));
            }
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// Starts the task that serves a range's reads.
pub(super) fn start(
    shared: Arc<Shared>,
    raft: Raft,
    log: LogStore,
    expiring: mpsc::Sender<Expiring>,
) -> ReadQueue {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let leaderships = shared.leaderships.clone();
    let confirming = Confirming { shared, raft, log, prepared: None, stale: None };
    tokio::spawn(run(confirming, queue, expiring));
    ReadQueue { queue: sender, leaderships }
}

async fn run(
    mut confirming: Confirming,
    mut queue: mpsc::Receiver<Queued>,
    expiring: mpsc::Sender<Expiring>,
) {
    let shared = confirming.shared.clone();
    // In the order of arrival.
    let mut batch: VecDeque<Queued> = VecDeque::new();
    loop {
        if batch.is_empty() {
            let Some(first) = queue.recv().await else { return };
            batch.push_back(first);
        }
        gather(&mut batch, &mut queue);
        if shared.disk_hangs() {
            // Another node is about to lead, and this one's group could not take notice.
            for Queued { read, .. } in batch.drain(..) {
                read.reply.send(Err(OpError::hung_leader()));
            }
            continue;
        }
        shared.metrics.read_confirmations.inc();
        shared.waiting.reads.store(batch.len(), Relaxed);
        let confirmed = confirming.confirm().await;
        let raft = &confirming.raft;
        if confirmed.is_none() && raft.as_leader().is_ok() {
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
        for Queued { read: Read { kind, deadline, reply }, .. } in batch.drain(..served) {
            if deadline <= now {
                reply.send(Err(OpError::deadline()));
                continue;
            }
            let term = confirmed.as_ref().map(|confirmed| confirmed.term);
            let served = term.map(|term| serve(&shared, kind, term, Expiry::ByClock));
            match served {
                Some(Served::Answer(result)) => reply.send(result),
                Some(Served::Later { kind, to }) => {
                    let read = Expiring { read: Read { kind, deadline, reply }, to };
                    wait_for_time(&expiring, read);
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
    while batch.len() < ROUND_READS_MAX.get() {
        let Ok(queued) = queue.try_recv() else { break };
        batch.push_back(queued);
    }
}

fn wait_for_time(expiring: &mpsc::Sender<Expiring>, read: Expiring) {
    use mpsc::error::TrySendError::{Closed, Full};
    match expiring.try_send(read) {
        Ok(()) => {}
        Err(Full(Expiring { read, .. })) => {
            let why = "too many reads wait for keys to expire; slow down";
            read.reply.send(Err(OpError::overloaded(why)));
        }
        Err(Closed(Expiring { read, .. })) => {
            read.reply.send(Err(OpError::unavailable("the node is stopping")));
        }
    }
}

/// Confirms that a replica leads.
struct Confirming {
    shared: Arc<Shared>,
    raft: Raft,
    log: LogStore,
    /// The term of this replica's leadership whose first entry is applied.
    prepared: Option<u64>,
    /// Only with [`Bug::StaleLeaderRead`]: the term that was confirmed last, and when.
    stale: Option<(u64, Instant)>,
}

/// That this replica led in a term, and had applied what was committed before.
struct Confirmed {
    term: u64,
    /// It did so when this round began, see [`Leaderships::arrived`]; without one, after it was asked.
    round: Option<u64>,
}

impl Confirming {
    /// `None`: it does not lead, or nobody knows.
    async fn confirm(&mut self) -> Option<Confirmed> {
        let claim = Claim::of(self.shared.range, &self.raft)?;
        let term = claim.term();
        if planted::active(Bug::ReadUnconfirmed) {
            // The careless hand: "who else".
            return Some(Confirmed { term, round: None });
        }
        if planted::active(Bug::StaleLeaderRead)
            && self.stale.is_some_and(|(of, at)| of == term && at.elapsed() < STALE_MAX)
        {
            // The careless hand: "I have just asked".
            return Some(Confirmed { term, round: None });
        }
        if self.prepared == Some(term) {
            let asked = planted::active(Bug::StaleLeaderRead).then(Instant::now);
            let round = self.shared.leaderships.confirm(claim, self.log.clone()).await?;
            self.stale = asked.map(|at| (term, at));
            return Some(Confirmed { term, round: Some(round) });
        }
        self.prepared = None;
        if !leadership::prepare(&self.raft, term, ROUND_TIMEOUT).await {
            return None;
        }
        self.prepared = Some(term);
        Some(Confirmed { term, round: None })
    }
}

fn in_range(shared: &Shared, key: &[u8]) -> bool {
    shared.state.descriptor().contains(key) || planted::active(Bug::StaleRouteAccepted)
}

/// Whether the range holds all of a span. Only then may it choose the version of a scan by itself.
fn holds(shared: &Shared, wanted: &Scan) -> bool {
    let holds = shared.state.descriptor().covers(&wanted.start, &wanted.end);
    holds || planted::active(Bug::StaleRouteAccepted)
}

/// What a read waits for that nothing but the range's time keeps from its answer.
pub(super) struct Expiring {
    pub(super) read: Read,
    /// Where the time has to be.
    pub(super) to: Timestamp,
}

/// How a read decides what has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// By the leader's clock: what that has passed and the range's time has not makes it wait.
    ByClock,
    /// By the range's time, which was moved since the read arrived.
    ByTime,
}

/// What became of a read.
pub(super) enum Served {
    Answer(OpResult),
    /// The range's time has to be at `to` first.
    Later {
        kind: ReadKind,
        to: Timestamp,
    },
    /// It rests on an earlier leadership.
    Stale,
}

/// Serves a read of a range that is led in the term `confirmed`.
pub(super) fn serve(shared: &Shared, kind: ReadKind, confirmed: u64, expiry: Expiry) -> Served {
    let served = match kind {
        // Terms only rise: the same term afterwards means that no other leader was in between.
        ReadKind::Confirm { term, result } if term == confirmed => {
            return Served::Answer(*result);
        }
        ReadKind::Confirm { .. } => return Served::Stale,
        ReadKind::Get(key) if !in_range(shared, &key) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Get(key) => get(shared, key, expiry),
        ReadKind::Scan(wanted) if wanted.at.is_none() && !holds(shared, &wanted) => {
            return Served::Answer(Err(OpError::stale_route()));
        }
        ReadKind::Scan(wanted) => scan(shared, wanted, expiry),
    };
    served.unwrap_or_else(|error| {
        tracing::error!(range = %shared.range, %error, "state can't be read");
        shared.fail(error.clone());
        Served::Answer(Err(OpError::new(Code::Storage, error.to_string())))
    })
}

fn get(shared: &Shared, key: Bytes, expiry: Expiry) -> Result<Served, Error> {
    let (time, now) = (shared.state.time(), shared.hlc.peek());
    let (time, clock) = match expiry {
        // The careless hand: "everybody has a clock".
        _ if planted::active(Bug::ExpiryByReplicaClock) => (shared.hlc.wall(), shared.hlc.wall()),
        // The careless hand: "a little later does no harm".
        Expiry::ByClock if planted::active(Bug::ExpiryShownLate) => {
            (time.min(now.saturating_sub(SHOWN_LATE)), now.saturating_sub(SHOWN_LATE))
        }
        Expiry::ByClock => (time, now),
        Expiry::ByTime => (time, time),
    };
    let found = mvcc::read(&**shared.state.engine(), &key, Timestamp::MAX)?;
    let found = match found.as_ref().map(|version| version.life(time, clock)) {
        Some(Life::Expiring(to)) => {
            return Ok(Served::Later { kind: ReadKind::Get(key), to });
        }
        Some(Life::Expired) => None,
        Some(Life::Alive) | None => found,
    };
    Ok(Served::Answer(Ok(Answer::Get { found, now })))
}

/// What of a scan lies in a range.
fn clip<'a>(wanted: &'a Scan, range: &'a Descriptor) -> (&'a [u8], &'a [u8]) {
    let upto = match (range.end.as_slice(), wanted.end.as_slice()) {
        ([], end) => end,
        (border, []) => border,
        (border, end) => border.min(end),
    };
    (wanted.start.as_slice().max(&range.start), upto)
}

/// Where a scan goes on behind the part of it that was read; none where that was all.
fn behind<'a>(wanted: &Scan, (from, upto): (&'a [u8], &'a [u8])) -> Option<&'a [u8]> {
    match wanted.direction {
        Direction::Forward => (upto != wanted.end).then_some(upto),
        Direction::Reverse => (from != wanted.start).then_some(from),
    }
}

/// A page; it ends with the range at the latest, and goes on behind it.
fn scan(shared: &Shared, wanted: Scan, expiry: Expiry) -> Result<Served, Error> {
    let state = &shared.state;
    let (time, now) = (state.time(), shared.hlc.peek());
    let at = wanted.at.unwrap_or(time);
    if at > now {
        return Ok(Served::Answer(Err(OpError::invalid(
            "the scan asks for a moment that is yet to come; take the 'at' of a first page",
        ))));
    }
    let later = |wanted, to| Ok(Served::Later { kind: ReadKind::Scan(wanted), to });
    if at > time {
        // It may change until then.
        return later(wanted, at);
    }
    let is_first = wanted.at.is_none();
    let clock = if is_first && expiry == Expiry::ByClock { now } else { at };
    let range = state.descriptor();
    let span = clip(&wanted, &range);
    let mut page =
        mvcc::scan(&**state.engine(), span, (at, clock), wanted.direction, wanted.limit)?;
    // The careless hand: "the limit is reached, so that was all".
    let is_full = page.records.len() >= wanted.limit.records;
    if page.next.is_none() && !(is_full && planted::active(Bug::ScanEndsWithRange)) {
        page.next = behind(&wanted, span).map(<[u8]>::to_vec);
    }
    // What was removed while this was read is below the threshold by now.
    let is_collected = at < state.gc_threshold();
    // The careless hand: "the moment was good when the scan began".
    if is_collected && !planted::active(Bug::CollectedReadable) {
        if is_first {
            return later(wanted, now);
        }
        return Ok(Served::Answer(Err(OpError::new(
            Code::VersionCollected,
            "the moment that the scan shows is further back than versions are kept; begin again",
        ))));
    }
    // Nobody knows what further pages hold that has expired since the range's time: the moment is not
    // before the scan began for them either, nor out of reach soon.
    let goes_on = page.next.is_some() && !planted::active(Bug::LaterPagesOutlived);
    // A range that nobody has written to yet has no version to show.
    let is_before = at < now && (goes_on || at == Timestamp::ZERO);
    if is_first && expiry == Expiry::ByClock && (page.is_outlived || is_before) {
        return later(wanted, now);
    }
    let mut out = ScanPage { at, now, ..ScanPage::default() };
    for (stored, mut version) in page.records {
        if wanted.keys_only {
            version.value = Vec::new();
        }
        out.records.push((user_key(&stored)?, version));
    }
    out.next = page.next.map(|stored| user_key(&stored)).transpose()?;
    Ok(Served::Answer(Ok(Answer::Scan(out))))
}

fn user_key(stored: &[u8]) -> Result<Vec<u8>, Error> {
    match keys::decode(stored) {
        Some((_, key, [])) => Ok(key),
        _ => Err(Error::Corrupt(format!("data key of {} bytes", stored.len()))),
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
