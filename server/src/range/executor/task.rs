//! The task that takes requests through the stages, one a replica.
//!
//! # Invariants
//!
//! * The range is evaluated only when everything that was in the leader's log when it was elected,
//!   its own first entry included, is applied ([`Executor::lead`]).
//! * Latches and waiting requests die with the term: a proposal of an earlier leadership releases nothing of a later
//!   one ([`Executor::forget`]).
//! * Requests are evaluated in the term in which they got their keys: a round that comes in another one is of no use
//!   ([`Executor::stamped`]).
//!
//! # A disk that does not answer
//!
//! What was proposed may then wait for ever, in a group that can't even follow another leader. So its callers
//! are told at once that its outcome is unknown, and who waits behind it that nothing was begun: both ask
//! the next leader, which knows by the request id what was done. The latches stay until the proposals end:
//! they may come to be still, in this very term.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::mpsc;

use super::{
    applied,
    checked::check,
    entry::{Asked, ENTRY_OPERATIONS_MAX, Entry},
    evaluated,
    gathered::Gathered,
    latched::{Draft, latch},
    latches::Latches,
    proposed::{Finished, Proposals},
    stamped::{Round, Stamping, stamp},
};
use crate::{
    error::OpError,
    observe::{self, TimeSeen},
    planted::{self, Bug},
    range::{
        cadence::{Cadence, Wait},
        faults::Doing,
        guards::Raised,
        raft::{group::Group, log_store::LogStore},
        reads::queue::ReadQueue,
        request::{OpResult, Read, ReadKind, Write},
        shared::Shared,
    },
    storage::engine::Error,
    time::{local::Instant, oracle::Block},
};

/// Requests that wait in the executor, behind latches included.
const WAITING_MAX: usize = 16_384;
/// How long a new leader's first entry may take before requests are turned away.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// A range's write path at its leader.
pub(in crate::range) struct Executor {
    shared: Arc<Shared>,
    raft: Group,
    log: LogStore,
    writes: mpsc::Receiver<Write>,
    reads: ReadQueue,
    gathered: Gathered,
    /// Keys in proposals in flight, and who waits for each.
    latches: Latches<Write>,
    proposals: Proposals,
    /// An entry that waits for its timestamps.
    stamping: Option<Stamping>,
    /// The term whose state is ready to be evaluated.
    prepared: Option<u64>,
    /// Raised when latches die, so that proposals of an earlier leadership release nothing.
    epoch: u64,
    /// Only with [`Bug::StaleEvaluationApplied`]: what is proposed again as it was evaluated.
    stale: Vec<Entry>,
    /// Only with [`Bug::TimestampBeforeLatch`]: a round for the next entry.
    early: Option<Round>,
}

impl Executor {
    pub(in crate::range) fn new(
        shared: Arc<Shared>,
        raft: Group,
        log: LogStore,
        writes: mpsc::Receiver<Write>,
        reads: ReadQueue,
    ) -> Executor {
        Executor {
            shared,
            raft,
            log,
            writes,
            reads,
            gathered: Gathered::default(),
            latches: Latches::new(),
            proposals: Proposals::default(),
            stamping: None,
            prepared: None,
            epoch: 0,
            stale: Vec::new(),
            early: None,
        }
    }

    pub(in crate::range) async fn run(mut self) {
        let mut incoming = Vec::new();
        let (shared, cadence) = (self.shared.clone(), self.shared.cadence.clone());
        let mut gave_up = false;
        loop {
            let has_room = self.waiting() < WAITING_MAX;
            let waits = self.gathered.waits();
            tokio::select! {
                biased;
                Some(finished) = self.proposals.next(), if !self.proposals.is_empty() => {
                    self.finish(finished);
                }
                block = round(&mut self.stamping), if self.stamping.is_some() => {
                    self.stamped(block).await;
                }
                received = self.writes.recv_many(&mut incoming, ENTRY_OPERATIONS_MAX.get()), if has_room => {
                    if received == 0 {
                        return;
                    }
                    self.gathered.extend(incoming.drain(..));
                }
                () = wait(&cadence, waits), if waits.is_some() => {}
                () = hangs(&shared), if !gave_up => {}
            }
            gave_up = shared.disk_hangs();
            if gave_up {
                self.give_up();
            }
            while self.stamping.is_none()
                && self.gathered.may_go(&cadence, self.proposals.count())
                && self.start().await
            {}
            let (proposals, _) = self.proposals.count();
            shared.waiting.writes.store(self.waiting(), Relaxed);
            shared.waiting.proposals.store(proposals, Relaxed);
        }
    }

    /// Requests that are not proposed yet.
    fn waiting(&self) -> usize {
        let stamping = self.stamping.as_ref().map_or(0, |stamping| stamping.asked.len());
        self.gathered.len() + self.latches.waiting() + stamping
    }

    /// Takes what is gathered to where it waits for its timestamps. Whether something of it has moved.
    async fn start(&mut self) -> bool {
        let Some(term) = self.lead().await else { return false };
        if let Some(stale) = self.stale.pop() {
            let guard = self.guard(term, Some(&stale.keys()));
            self.propose(term, stale, guard).await;
            return true;
        }
        let before = self.gathered.len();
        let (mut draft, mut asked) = (Draft::default(), Vec::new());
        let (shared, now) = (&self.shared, Instant::now());
        let latched = latch(
            &mut self.gathered,
            &mut self.latches,
            &mut draft,
            &mut asked,
            (&shared.guards, shared.looks(term)),
            |write| check(shared, write, now),
        );
        if let Err(error) = latched {
            self.fail(error);
            return false;
        }
        let has_moved = self.gathered.len() < before;
        let keys: Vec<_> = asked
            .iter()
            .filter(|one| one.answer.is_none())
            .flat_map(|one| one.write.keys().cloned())
            .collect();
        if keys.is_empty() {
            // Whoever is answered here needs no timestamp.
            asked.into_iter().for_each(Asked::send_answer);
            return has_moved;
        }
        let is_page = asked.iter().any(|one| one.write.kind.range().is_some());
        // Before the round is asked for.
        let guard = self.guard(term, (!is_page).then_some(&keys));
        let round = match self.early.take() {
            // The careless hand: "a timestamp in time saves nine".
            Some(early) if planted::active(Bug::TimestampBeforeLatch) => early,
            _ => round_of(&self.shared, asked.iter().map(|one| one.write.deadline).max()),
        };
        self.stamping = Some(Stamping { term, draft, asked, guard, round });
        has_moved
    }

    /// The careless hand: "there is nothing to guard before the timestamp is known".
    fn late_guard(&self, term: u64, asked: &[Asked], early: Raised) -> Raised {
        early.settle();
        let keys: Vec<_> = asked.iter().flat_map(|one| one.write.keys().cloned()).collect();
        self.shared.guards.raise(term, Some(keys.iter().map(|key| &key[..])), Block::default())
    }

    /// A guard over keys, or over all of the range.
    fn guard(&self, term: u64, keys: Option<&[Bytes]>) -> Raised {
        // See `late_guard`.
        let keys = if planted::active(Bug::GuardAfterRound) { Some(&[][..]) } else { keys };
        let keys = keys.map(|keys| keys.iter().map(|key| &key[..]));
        self.shared.guards.raise(term, keys, self.shared.oracle.known().block())
    }

    /// A round has come, or none will: what waited for it is evaluated and proposed, or told so.
    async fn stamped(&mut self, block: Result<Block, OpError>) {
        let Some(stamping) = self.stamping.take() else { return };
        if !self.raft.leads_in(stamping.term) {
            self.stamping = Some(stamping);
            self.forget();
            return;
        }
        let Stamping { term, mut draft, mut asked, guard, .. } = stamping;
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                self.turn_back(asked, &error);
                return guard.settle();
            }
        };
        if planted::active(Bug::TimestampBeforeLatch) {
            self.early = Some(Box::pin(tokio::spawn(round_of(&self.shared, None)).map(flattened)));
        }
        let guard = match planted::active(Bug::GuardAfterRound) {
            true => self.late_guard(term, &asked, guard),
            false => guard,
        };
        if !guard.stamp(block) && !planted::active(Bug::NaiveTimeServer) {
            self.not_fresh(block, asked);
            return guard.settle();
        }
        stamp(&mut asked, block);
        if let Err(error) = self.evaluate(term, asked, &mut draft) {
            return self.fail(error);
        }
        match draft.entry.is_empty() {
            true => guard.settle(),
            false => self.propose(term, draft.entry, guard).await,
        }
    }

    /// Tells requests that have their keys, and of which nothing was begun, that they are not done.
    fn turn_back(&mut self, asked: Vec<Asked>, error: &OpError) {
        for mut one in asked {
            let keys: Vec<_> = match one.answer.is_some() || one.write.kind.range().is_some() {
                true => Vec::new(),
                false => one.write.keys().cloned().collect(),
            };
            one.answer.get_or_insert_with(|| Box::new(Err(error.clone())));
            one.send_answer();
            keys.iter().for_each(|key| self.gathered.extend(self.latches.release(key)));
        }
    }

    /// A round's block is not above what this node had been told to be published before: a peer said something that no
    /// round bears out, or the oracle is broken.
    fn not_fresh(&mut self, block: Block, asked: Vec<Asked>) {
        observe::tell_time(|| TimeSeen::NotFresh { block });
        let known = self.shared.oracle.known();
        tracing::error!(
            range = %self.shared.range,
            block = block.0,
            known = known.block().0,
            "a timestamp is not above what was known before; what was known is forgotten"
        );
        known.forget_above(block);
        self.turn_back(asked, &OpError::unavailable("cluster time is being found out; try again"));
    }

    fn fail(&self, error: Error) {
        tracing::error!(range = %self.shared.range, %error, "state can't be read");
        self.shared.fail(error);
    }

    /// Evaluates what is latched and stamped, into the draft.
    fn evaluate(&mut self, term: u64, asked: Vec<Asked>, draft: &mut Draft) -> Result<(), Error> {
        let (state, reads) = (&self.shared.state, &self.reads);
        let confirm = |write, result| confirm(reads, write, term, result);
        let asked = asked.into_iter();
        let again = evaluated::evaluate(state, &mut self.latches, asked, draft, confirm)?;
        self.gathered.return_to_front(again);
        Ok(())
    }

    async fn propose(&mut self, term: u64, entry: Entry, guard: Raised) {
        let of = (term, self.epoch);
        self.proposals.propose((&self.raft, &self.log), &self.shared, of, entry, guard).await;
    }

    fn finish(&mut self, finished: Finished) {
        let Some(entry) = self.proposals.take(&finished) else { return };
        if finished.applied.is_none() && planted::active(Bug::StaleEvaluationApplied) {
            // The careless hand: "it was evaluated already, just propose it again".
            self.stale.push(entry);
            return;
        }
        let held = (finished.epoch == self.epoch).then_some(&mut self.latches);
        let (shared, of) = (&self.shared, (entry, finished.applied));
        let again = applied::finish(of, held, &mut self.gathered, || shared.oracle.now());
        if again > 0 {
            let why = "another leader's entry, or of a time that has passed: evaluated again";
            shared.faults.note(Doing::Apply, None, why);
            shared.metrics.reevaluations.inc_by(again);
        }
    }

    /// Tells whoever waits that the disk does not answer.
    fn give_up(&mut self) {
        for reply in self.proposals.replies() {
            reply.give_up(OpError::ambiguous(
                "the disk of the range's leader does not answer; ask again with the same id",
            ));
        }
        if let Some(Stamping { asked, guard, .. }) = self.stamping.take() {
            self.turn_back(asked, &OpError::hung_leader());
            guard.settle();
        }
        // Reads that wait for these writes.
        self.shared.guards.lose_all();
        let latched = self.latches.send_away().into_iter();
        for write in latched.chain(self.gathered.drain()) {
            write.reply.send(Err(OpError::hung_leader()));
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
        // The careless hand: "elected is elected".
        let is_hasty = planted::active(Bug::LeaderServesUnprepared);
        if !is_hasty && !self.shared.prepare(&self.raft, term, PREPARE_TIMEOUT).await {
            if self.raft.leads_in(term) {
                let why =
                    "the new leader has not applied its log in time; requests are turned away";
                self.shared.faults.note(Doing::Lead, None, why);
            }
            self.turn_away();
            return None;
        }
        self.prepared = Some(term);
        Some(term)
    }

    /// Latches and what waits behind them die with the leadership.
    fn forget(&mut self) {
        self.prepared = None;
        self.epoch += 1;
        let stamping = self.stamping.take();
        self.gathered.extend(self.latches.release_all());
        if let Some(Stamping { asked, guard, .. }) = stamping {
            // Nothing of it was proposed.
            guard.settle();
            let (answered, others): (Vec<_>, Vec<_>) =
                asked.into_iter().partition(|one| one.answer.is_some());
            answered.into_iter().for_each(Asked::send_answer);
            self.gathered.return_to_front(others.into_iter().map(|one| one.write));
        }
    }

    fn turn_away(&mut self) {
        let hint = self.shared.leader_hint(&self.raft);
        for write in self.gathered.drain() {
            write.reply.send(Err(OpError::not_leader(hint.clone())));
        }
    }
}

/// A round of the oracle, which begins after this. Nobody waits for it any more from a moment on: they are told before
/// they go away.
fn round_of(shared: &Arc<Shared>, until: Option<Instant>) -> Round {
    let shared = shared.clone();
    if planted::active(Bug::LeaderLocalTimestamp) {
        // The careless hand: "the leader is the only one who writes here".
        return Box::pin(async move { Ok(shared.oracle.by_own_clock()) });
    }
    if planted::active(Bug::NaiveTimeServer) {
        // The careless hand: "they brought their timestamps with them" (`stamped.rs`).
        return Box::pin(async move { Ok(shared.oracle.known().block()) });
    }
    Box::pin(async move { Ok(shared.oracle.round_until(until).await?) })
}

/// What became of a round that runs by itself.
fn flattened(
    round: Result<Result<Block, OpError>, tokio::task::JoinError>,
) -> Result<Block, OpError> {
    round.unwrap_or_else(|_| Err(OpError::unavailable("the node is stopping")))
}

/// The round that an entry waits for.
async fn round(stamping: &mut Option<Stamping>) -> Result<Block, OpError> {
    match stamping {
        Some(stamping) => (&mut stamping.round).await,
        None => std::future::pending().await,
    }
}

/// Answers once leadership in the term of the evaluation is confirmed.
fn confirm(reads: &ReadQueue, write: Write, term: u64, result: OpResult) {
    let kind = ReadKind::Confirm { term, result: Box::new(result) };
    reads.send(Read { kind, deadline: write.deadline, reply: write.reply });
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
