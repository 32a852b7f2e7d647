//! The leader's write path of one range: latch, look into dedup, evaluate, propose, answer.
//!
//! One task a replica. Requests that arrive while proposals are under way gather, and go into one
//! log entry together (edge batching). Requests on one key that wait behind a latch run back to
//! back under one latch when it is released: one entry, N results.
//!
//! # Invariants
//!
//! * A key is in at most one proposal in flight (its latch); requests on it are served in order.
//! * A proposal is tied to the term it was evaluated in: appended with `with_leader`, checked again
//!   when applied. Latches and waiting requests die with the term.
//! * The range is evaluated only when everything that was in the leader's log when it was elected,
//!   its own first entry included, is applied.
//! * What was done is answered as done, whatever would refuse the request now: dedup is looked at before
//!   its threshold and the disk's space.
//! * A refusal is answered only from a state that was confirmed afterwards (`reads`), or from an
//!   applied entry. It is stored, so that neither a delayed first attempt nor a repetition acts
//!   afterwards; but for that of a first attempt whose caller ignores it once it has sent a later one
//!   (`refusal_not_remembered`).
//! * Whether a key has expired is decided by the timestamp of the write, and answered only from a
//!   range whose time has passed the expiry: a refusal that rests on it is proposed, which moves the
//!   time.
//! * A request whose proposal was handed to Raft is answered with a result or as ambiguous, never as
//!   failed.
//!
//! # A disk that does not answer
//!
//! What was proposed may then wait for ever, in a group that can't even follow another leader. So its callers
//! are told at once that its outcome is unknown, and who waits behind it that nothing was begun: both ask
//! the next leader, which knows by the request id what was done. The latches stay until the proposals end:
//! they may come to be still, in this very term.
//!
//! # Batches
//!
//! A batch ([`PutMany`](super::request::PutMany)) is one request on several keys of the range: one
//! id, one timestamp, one record in dedup, under its first key, the anchor. It latches all its keys or
//! none:
//!
//! ```text
//!   a key is latched          it waits behind that latch, holding none, and is looked at again when it
//!                             is released: batches that wait for each other can't be
//!   a key is in the entry     the same; the latch is the one that the entry is about to take
//!   neither                   it goes into the entry, and its keys are latched at once: what comes
//!                             after it, of this entry too, waits behind them
//! ```
//!
//! So the first invariant holds for each of its keys, and nothing of a batch depends on another request of
//! its entry: it is unconditional. A repetition finds its anchor latched while the original is under way,
//! and the record in dedup afterwards; whichever is applied second is refused by apply. *Exactly once*
//! needs the same record to be asked each time: the anchor is the first key in every copy, and a copy is
//! served by the range that holds it.
//!
//! Where another key is outside the range, the refusal (`several ranges`) says more than that this copy does
//! nothing: no copy ever will, so that the caller may group the items anew. That is so because the
//! descriptor is taken first, dedup and its threshold are looked at afterwards, and spans only shrink: an
//! entry that did the request stands in the log before the change that took the key away, so it was
//! applied, and remembered, by the time at which that descriptor was; and no entry behind the change
//! passes apply. No leadership needs to be confirmed for it. (A merge, which is not built, would have to
//! store such refusals, as those of a later attempt are.)

mod entry;
mod removal;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use self::entry::{
    ENTRY_OPERATIONS_MAX, Evaluated, Pending, PendingBatch, PendingGroup, PendingRemoval,
};
use super::{
    answer::answer,
    cadence::{Cadence, Turn, Wait},
    command::{evaluate::evaluate, outcome::Applied},
    dedup,
    faults::Doing,
    held::Current,
    raft::group::Group,
    reads::queue::ReadQueue,
    request::{Answer, OpResult, Read, ReadKind, Write},
    shared::Shared,
};
use crate::{
    error::OpError,
    planted::{self, Bug},
    storage::{
        engine::Error,
        format::{codec, command::Effect, descriptor::Descriptor},
    },
    time::{Timestamp, local::Instant},
};

/// Proposals under way at once. While they are, requests gather into the next one.
const PROPOSALS_IN_FLIGHT_MAX: usize = 2;
/// Requests that wait in the executor, behind latches included.
const WAITING_MAX: usize = 16_384;
/// How long a new leader's first entry may take before requests are turned away.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

struct Finished {
    epoch: u64,
    proposal: u64,
    applied: Option<Applied>,
}

type InFlight = Pin<Box<dyn Future<Output = Finished> + Send>>;

pub(super) struct Executor {
    shared: Arc<Shared>,
    raft: Group,
    writes: mpsc::Receiver<Write>,
    reads: ReadQueue,
    ready: VecDeque<Write>,
    /// Keys in proposals in flight, and who waits for each.
    latches: HashMap<Bytes, VecDeque<Write>>,
    waiting: usize,
    in_flight: FuturesUnordered<InFlight>,
    /// What these ask, by number.
    proposed: BTreeMap<u64, Evaluated>,
    proposals_made: u64,
    /// What is ready waits for the node's next turn.
    waits: Option<Wait>,
    /// Requests of the proposals in flight; a batch is one.
    requests_in_flight: usize,
    /// The term whose state is ready to be evaluated.
    prepared: Option<u64>,
    /// Raised when latches die, so that proposals of an earlier leadership release nothing.
    epoch: u64,
    /// Only with [`Bug::StaleEvaluationApplied`]: what is proposed again as it was evaluated.
    stale: Vec<Evaluated>,
}

impl Executor {
    pub(super) fn new(
        shared: Arc<Shared>,
        raft: Group,
        writes: mpsc::Receiver<Write>,
        reads: ReadQueue,
    ) -> Executor {
        Executor {
            shared,
            raft,
            writes,
            reads,
            ready: VecDeque::new(),
            latches: HashMap::new(),
            waiting: 0,
            in_flight: FuturesUnordered::new(),
            proposed: BTreeMap::new(),
            proposals_made: 0,
            waits: None,
            requests_in_flight: 0,
            prepared: None,
            epoch: 0,
            stale: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut incoming = Vec::new();
        let (shared, cadence) = (self.shared.clone(), self.shared.cadence.clone());
        let mut gave_up = false;
        loop {
            let room = self.ready.len() + self.waiting < WAITING_MAX;
            tokio::select! {
                biased;
                Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.finish(finished);
                }
                received = self.writes.recv_many(&mut incoming, ENTRY_OPERATIONS_MAX.get()), if room => {
                    if received == 0 {
                        return;
                    }
                    self.ready.extend(incoming.drain(..));
                }
                () = wait(&cadence, self.waits), if self.waits.is_some() => {}
                () = hangs(&shared), if !gave_up => {}
            }
            gave_up = shared.disk_hangs();
            if gave_up {
                self.give_up();
            }
            while self.may_start() {
                self.start().await;
            }
            let waiting = &self.shared.waiting;
            waiting.writes.store(self.ready.len() + self.waiting, Relaxed);
            waiting.proposals.store(self.in_flight.len(), Relaxed);
        }
    }

    /// Tells whoever waits that the disk does not answer.
    fn give_up(&mut self) {
        for reply in self.proposed.values_mut().flat_map(Evaluated::replies) {
            reply.give_up(OpError::ambiguous(
                "the disk of the range's leader does not answer; ask again with the same id",
            ));
        }
        let mut latched: Vec<_> = self.latches.iter_mut().collect();
        latched.sort_by(|a, b| a.0.cmp(b.0));
        let latched = latched.into_iter().flat_map(|(_, queue)| queue.drain(..));
        for write in latched.chain(self.ready.drain(..)) {
            write.reply.send(Err(OpError::hung_leader()));
        }
        self.waiting = 0;
    }

    /// Whether what is ready goes into a proposal now, or gathers. A second proposal beside one under
    /// way must be as large as that: a log entry costs every node about as much as ten requests, so
    /// two half-full ones are better than a full one and a sliver, again and again.
    fn may_start(&mut self) -> bool {
        self.waits = None;
        match self.in_flight.len() {
            _ if self.ready.is_empty() => false,
            0 => match self.shared.cadence.turn() {
                Turn::Now => true,
                Turn::Later(wait) => {
                    self.waits = Some(wait);
                    false
                }
            },
            under_way => {
                under_way < PROPOSALS_IN_FLIGHT_MAX
                    && self.ready.len() >= self.requests_in_flight
                    && self.shared.cadence.allows_second()
            }
        }
    }

    /// Evaluates what is ready and proposes it.
    async fn start(&mut self) {
        let Some(term) = self.lead().await else { return };
        if let Some(stale) = self.stale.pop() {
            return self.propose(term, stale).await;
        }
        let mut asked = Evaluated::default();
        let mut by_key: HashMap<Bytes, usize> = HashMap::new();
        // Those that wait for a group of this entry, and for which.
        let mut later = Vec::new();
        let now = Instant::now();
        while !asked.is_full() {
            let Some(write) = self.ready.pop_front() else { break };
            let latched = write.keys().find(|key| self.latches.contains_key(*key)).cloned();
            if let Some(key) = latched {
                self.wait_behind(&key, write);
                continue;
            }
            if write.kind.range().is_some() && !asked.is_empty() {
                // An entry of its own, the next one.
                self.ready.push_front(write);
                break;
            }
            let added = if write.kind.range().is_some() {
                self.add_removal(write, term, now, &mut asked)
            } else if write.kind.many().is_some() {
                let added = write.keys().find(|key| by_key.contains_key(*key)).cloned();
                if let Some(key) = added {
                    later.push((key, write));
                    continue;
                }
                self.add_batch(write, now, &mut asked)
            } else {
                let group = by_key.get(&write.key).and_then(|at| asked.groups.get(*at));
                let twice = !planted::active(Bug::RequestTwiceInEntry)
                    && group.is_some_and(|group| group.holds(&write));
                if twice {
                    // The second occurrence of a request waits for the first's result.
                    later.push((write.key.clone(), write));
                    continue;
                }
                let evaluated = self.evaluate(write, group, term, now);
                evaluated.map(|evaluated| asked.add(evaluated, &mut by_key))
            };
            if let Err(error) = added {
                tracing::error!(range = %self.shared.range, %error, "state can't be read");
                self.shared.fail(error);
                return;
            }
        }
        for group in &asked.groups {
            self.latches.insert(group.key.clone(), VecDeque::new());
        }
        for (key, write) in later {
            self.wait_behind(&key, write);
        }
        if !asked.is_empty() {
            self.propose(term, asked).await;
        }
    }

    /// Behind the latch of a key, which is there.
    fn wait_behind(&mut self, key: &Bytes, write: Write) {
        match self.latches.get_mut(key) {
            Some(queue) => {
                queue.push_back(write);
                self.waiting += 1;
            }
            None => self.ready.push_back(write),
        }
    }

    /// A request on several keys, none of which is latched or in the entry: into the entry, unless it is
    /// answered.
    fn add_batch(
        &mut self,
        write: Write,
        now: Instant,
        asked: &mut Evaluated,
    ) -> Result<(), Error> {
        // Before dedup is looked at: see above.
        let descriptor = self.shared.state.descriptor();
        if let Some(result) = self.answered(&write, &descriptor, now)? {
            write.reply.send(result);
            return Ok(());
        }
        let stays_out = !planted::active(Bug::StaleRouteAccepted);
        if stays_out && !write.keys().all(|key| descriptor.contains(key)) {
            self.shared.metrics.stale_routes.inc();
            write.reply.send(Err(OpError::several_ranges()));
            return Ok(());
        }
        let batch = PendingBatch { at: self.shared.hlc.now(), write };
        self.latches.extend(batch.write.keys().map(|key| (key.clone(), VecDeque::new())));
        asked.writes += batch.items().len();
        asked.bytes += batch.size();
        asked.batches.push(batch);
        Ok(())
    }

    /// What a request is answered before it is evaluated, if anything: for its deadline, its anchor's place,
    /// what is remembered of it, its age, the disk's space, in this order. What was done is answered as done
    /// before anything refuses it that is no concern of a done request.
    fn answered(
        &self,
        write: &Write,
        descriptor: &Descriptor,
        now: Instant,
    ) -> Result<Option<OpResult>, Error> {
        let state = &self.shared.state;
        let is_full = || self.shared.check_space().err().filter(|_| write.kind.needs_space());
        if write.deadline <= now {
            return Ok(Some(Err(OpError::deadline())));
        }
        if !descriptor.contains(&write.key) && !planted::active(Bug::StaleRouteAccepted) {
            return Ok(Some(Err(OpError::stale_route())));
        }
        // The careless hand: "why look, there is no room".
        let denied = planted::active(Bug::FullDiskDenies).then(is_full).flatten();
        if let (None, Some(result)) = (&denied, self.look_up(write)?) {
            return Ok(Some(result));
        }
        if let Some(too_old) = dedup::is_too_old(write, state.dedup_threshold()) {
            return Ok(Some(Err(too_old)));
        }
        Ok(denied.or_else(is_full).map(Err))
    }

    /// One request on the state of its key. `None` if it is answered, or will be by someone else.
    fn evaluate(
        &self,
        write: Write,
        group: Option<&PendingGroup>,
        term: u64,
        now: Instant,
    ) -> Result<Option<(Pending, Current)>, Error> {
        let state = &self.shared.state;
        if let Some(result) = self.answered(&write, &state.descriptor(), now)? {
            write.reply.send(result);
            return Ok(None);
        }
        let current = match group {
            Some(group) => group.after.clone(),
            // What is there does not matter.
            None if write.kind.is_unconditional() => Current(None),
            None => Current::read(&**state.engine(), &write.key)?,
        };
        let at = self.shared.hlc.now();
        let (current, is_news) = current.seen_at(state.time(), at);
        let (effect, outcome) = evaluate(&current, &write.kind, at);
        let changes_nothing = effect == Effect::Nothing;
        // The careless hands: "a refusal is a refusal".
        let rests_on_applied = group.is_none() || planted::active(Bug::RefusalByUncommitted);
        // Nobody is told of it, once a later copy is sent.
        let forgets = write.refusal_not_remembered && !write.later_attempt;
        let forgets = forgets || planted::active(Bug::RefusalNotStored);
        if changes_nothing && rests_on_applied && forgets && !is_news {
            let result = answer(&write.kind, outcome, Timestamp::ZERO, current.0.as_ref(), at);
            self.confirm(write, term, result);
            return Ok(None);
        }
        let after = current.after(&effect, at);
        Ok(Some((Pending { write, effect, outcome, at, refused_by: current }, after)))
    }

    /// Answers once leadership in the term of the evaluation is confirmed.
    fn confirm(&self, write: Write, term: u64, result: OpResult) {
        let kind = ReadKind::Confirm { term, result: Box::new(result) };
        let read = Read { kind, deadline: write.deadline, reply: write.reply };
        self.reads.send(read);
    }

    fn look_up(&self, write: &Write) -> Result<Option<OpResult>, Error> {
        let engine = &**self.shared.state.engine();
        let result = dedup::look_up(engine, write, || self.shared.hlc.peek())?;
        if result.is_some() {
            self.shared.metrics.dedup_hits.inc();
        }
        Ok(result)
    }

    async fn propose(&mut self, term: u64, asked: Evaluated) {
        let command = asked.command(term, self.shared.time_domain);
        let command = Bytes::from(codec::encode_sized(&command, asked.bytes));
        let epoch = self.epoch;
        let counted = self.shared.cadence.begin();
        self.requests_in_flight += asked.requests();
        let accepted = planted::active(Bug::AcknowledgedBeforeCommit).then(|| asked.accepted());
        let careless = planted::active(Bug::StaleEvaluationApplied);
        let sent = self.raft.propose((!careless).then_some(term), command).await;
        if planted::active(Bug::UncommittedReadable) {
            // The careless hand: "it is in the log, readers may have it".
            self.shared.state.engine().write(asked.versions()).ok();
        }
        let faults = self.shared.faults.clone();
        self.proposals_made += 1;
        let proposal = self.proposals_made;
        self.proposed.insert(proposal, asked);
        self.in_flight.push(Box::pin(async move {
            let _counted = counted;
            // Any error may come after the entry was appended: all are ambiguous.
            let applied = match (sent, accepted) {
                // The careless hand: "it is in the log".
                (Ok(_), Some(accepted)) => Ok(accepted),
                (Ok(applied), None) => applied.await,
                (Err(error), _) => Err(error),
            };
            let applied = applied.inspect_err(|why| faults.note(Doing::Propose, None, why)).ok();
            Finished { epoch, proposal, applied }
        }));
    }

    fn finish(&mut self, finished: Finished) {
        let Some(asked) = self.proposed.remove(&finished.proposal) else { return };
        self.requests_in_flight -= asked.requests();
        if finished.applied.is_none() && planted::active(Bug::StaleEvaluationApplied) {
            // The careless hand: "it was evaluated already, just propose it again".
            self.stale.push(asked);
            return;
        }
        let Evaluated { groups, batches, removal, .. } = asked;
        let mut again = Vec::new();
        let mut flags = match finished.applied {
            Some(Applied::Groups(flags)) => flags.into_iter().map(Some).collect::<Vec<_>>(),
            Some(Applied::ReEvaluate | Applied::Done | Applied::Replica(_)) => {
                vec![Some(false); groups.len() + batches.len() + 1]
            }
            None => vec![None; groups.len() + batches.len() + 1],
        };
        if flags.contains(&Some(false)) {
            let why = "another leader's entry, or a clock behind the range's time: evaluated again";
            self.shared.faults.note(Doing::Apply, None, why);
        }
        let of_batches = flags.split_off(groups.len().min(flags.len()));
        let same_epoch = finished.epoch == self.epoch;
        if let Some(removal) = removal {
            self.finish_removal(
                removal,
                of_batches.first().copied().flatten(),
                same_epoch,
                &mut again,
            );
        }
        for (batch, flag) in batches.into_iter().zip(of_batches) {
            let PendingBatch { write, at } = batch;
            if same_epoch {
                // The careless hand: "a request has one key".
                let keys = if planted::active(Bug::BatchReleasesAnchor) { 1 } else { usize::MAX };
                write.keys().take(keys).for_each(|key| self.release(key));
            }
            match flag {
                Some(true) => write.reply.send(Ok(Answer::PutMany(at))),
                Some(false) => {
                    self.shared.metrics.reevaluations.inc();
                    again.push(write);
                }
                None => write.reply.send(Err(lost())),
            }
        }
        for (group, flag) in groups.into_iter().zip(flags) {
            if same_epoch {
                self.release(&group.key);
            }
            for pending in group.members {
                match flag {
                    Some(true) => {
                        let Pending { write, outcome, at, refused_by, .. } = pending;
                        let now = self.shared.hlc.peek();
                        let result = answer(&write.kind, outcome, at, refused_by.0.as_ref(), now);
                        write.reply.send(result);
                    }
                    Some(false) => {
                        self.shared.metrics.reevaluations.inc();
                        again.push(pending.write);
                    }
                    None => {
                        let lost = lost();
                        pending.write.reply.send(Err(lost));
                    }
                }
            }
        }
        for write in again.into_iter().rev() {
            self.ready.push_front(write);
        }
    }

    /// A key's latch ends: who waited behind it is looked at again.
    fn release(&mut self, key: &Bytes) {
        if let Some(queue) = self.latches.remove(key) {
            self.waiting -= queue.len();
            self.ready.extend(queue);
        }
    }

    /// The term in which this replica leads and may evaluate. Where it does not, everything that
    /// waits is turned away.
    async fn lead(&mut self) -> Option<u64> {
        let term = self.raft.leads();
        if term.is_some() && term == self.prepared {
            return term;
        }
        self.forget();
        let Some(term) = term else {
            self.turn_away();
            return None;
        };
        if !self.raft.prepare(term, PREPARE_TIMEOUT).await {
            if self.raft.leads_in(term) {
                let why =
                    "the new leader has not applied its log in time; requests are turned away";
                self.shared.faults.note(Doing::Lead, None, why);
            }
            self.turn_away();
            return None;
        }
        self.shared.hlc.observe(self.shared.state.time());
        self.prepared = Some(term);
        Some(term)
    }

    /// Latches and what waits behind them die with the leadership.
    fn forget(&mut self) {
        self.prepared = None;
        self.epoch += 1;
        let waiting: Vec<_> = {
            let mut latches: Vec<_> = self.latches.drain().collect();
            latches.sort_by(|a, b| a.0.cmp(&b.0));
            latches.into_iter().flat_map(|(_, queue)| queue).collect()
        };
        self.waiting = 0;
        self.ready.extend(waiting);
    }

    fn turn_away(&mut self) {
        let hint = self.shared.leader_hint(&self.raft);
        for write in self.ready.drain(..) {
            write.reply.send(Err(OpError::not_leader(hint.clone())));
        }
    }
}

fn lost() -> OpError {
    OpError::ambiguous(
        "leadership changed while the request was under way; ask again with the same id",
    )
}

/// Waits until the disk does not answer.
async fn hangs(shared: &Shared) {
    std::future::poll_fn(|cx| {
        shared.stirred.register(cx.waker());
        if shared.disk_hangs() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn wait(cadence: &Cadence, wait: Option<Wait>) {
    if let Some(wait) = wait {
        cadence.wait(wait).await;
    }
}
