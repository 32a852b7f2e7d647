//! The task that takes requests through the stages, one a replica.
//!
//! # Invariants
//!
//! * The range is evaluated only when everything that was in the leader's log when it was elected,
//!   its own first entry included, is applied ([`Executor::lead`]).
//! * Latches and waiting requests die with the term: a proposal of an earlier leadership releases nothing of a later
//!   one ([`Executor::forget`]).
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
    stamped::stamp,
};
use crate::{
    error::OpError,
    planted::{self, Bug},
    range::{
        cadence::{Cadence, Wait},
        faults::Doing,
        raft::group::Group,
        reads::queue::ReadQueue,
        request::{OpResult, Read, ReadKind, Write},
        shared::Shared,
    },
    storage::engine::Error,
    time::local::Instant,
};

/// Requests that wait in the executor, behind latches included.
const WAITING_MAX: usize = 16_384;
/// How long a new leader's first entry may take before requests are turned away.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// A range's write path at its leader.
pub(in crate::range) struct Executor {
    shared: Arc<Shared>,
    raft: Group,
    writes: mpsc::Receiver<Write>,
    reads: ReadQueue,
    gathered: Gathered,
    /// Keys in proposals in flight, and who waits for each.
    latches: Latches<Write>,
    /// Requests of a round, between two stages; empty otherwise, bounded by `latch`.
    asked: Vec<Asked>,
    proposals: Proposals,
    /// The term whose state is ready to be evaluated.
    prepared: Option<u64>,
    /// Raised when latches die, so that proposals of an earlier leadership release nothing.
    epoch: u64,
    /// Only with [`Bug::StaleEvaluationApplied`]: what is proposed again as it was evaluated.
    stale: Vec<Entry>,
}

impl Executor {
    pub(in crate::range) fn new(
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
            gathered: Gathered::default(),
            latches: Latches::new(),
            asked: Vec::new(),
            proposals: Proposals::default(),
            prepared: None,
            epoch: 0,
            stale: Vec::new(),
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
            while self.gathered.may_go(&cadence, self.proposals.count()) {
                self.start().await;
            }
            let (proposals, _) = self.proposals.count();
            shared.waiting.writes.store(self.waiting(), Relaxed);
            shared.waiting.proposals.store(proposals, Relaxed);
        }
    }

    /// Requests that are not proposed yet.
    fn waiting(&self) -> usize {
        self.gathered.len() + self.latches.waiting()
    }

    /// Takes what is gathered through the stages, into a proposal.
    async fn start(&mut self) {
        let Some(term) = self.lead().await else { return };
        if let Some(stale) = self.stale.pop() {
            return self.propose(term, stale).await;
        }
        match self.fill(term) {
            Ok(entry) if entry.is_empty() => {}
            Ok(entry) => self.propose(term, entry).await,
            Err(error) => {
                self.asked.clear();
                tracing::error!(range = %self.shared.range, %error, "state can't be read");
                self.shared.fail(error);
            }
        }
    }

    /// Gathered, latched, stamped, evaluated: the next entry. Where requests need no place in it after all, it is
    /// filled up again.
    fn fill(&mut self, term: u64) -> Result<Entry, Error> {
        let mut draft = Draft::default();
        let now = Instant::now();
        loop {
            let (shared, asked) = (&self.shared, &mut self.asked);
            latch(&mut self.gathered, &mut self.latches, &mut draft, asked, |write| {
                check(shared, write, now)
            })?;
            if asked.is_empty() {
                return Ok(draft.entry);
            }
            stamp(asked, &shared.hlc);
            self.evaluate(term, &mut draft)?;
        }
    }

    /// Evaluates what is latched and stamped, into the draft.
    fn evaluate(&mut self, term: u64, draft: &mut Draft) -> Result<(), Error> {
        let (state, reads) = (&self.shared.state, &self.reads);
        let confirm = |write, result| confirm(reads, write, term, result);
        let asked = self.asked.drain(..);
        let again = evaluated::evaluate(state, &mut self.latches, asked, draft, confirm)?;
        self.gathered.return_to_front(again);
        Ok(())
    }

    async fn propose(&mut self, term: u64, entry: Entry) {
        let of = (term, self.epoch);
        self.proposals.propose(&self.raft, &self.shared, of, entry).await;
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
        let again = applied::finish(of, held, &mut self.gathered, || shared.hlc.peek());
        if again > 0 {
            let why = "another leader's entry, or a clock behind the range's time: evaluated again";
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
        self.gathered.extend(self.latches.release_all());
    }

    fn turn_away(&mut self) {
        let hint = self.shared.leader_hint(&self.raft);
        for write in self.gathered.drain() {
            write.reply.send(Err(OpError::not_leader(hint.clone())));
        }
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
