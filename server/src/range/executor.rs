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
//! * A refusal is answered only from a state that was confirmed afterwards (`reads`), or from an
//!   applied entry. A refusal of a later attempt is stored, so that a delayed first attempt cannot
//!   act afterwards.
//! * Whether a key has expired is decided by the timestamp of the write, and answered only from a
//!   range whose time has passed the expiry: a refusal that rests on it is proposed, which moves the
//!   time.
//! * A request whose proposal was handed to Raft is answered with a result or as ambiguous, never as
//!   failed.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use openraft::{LinearizerOption, impls::OneshotResponder};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    cadence::{Cadence, Turn, Wait},
    command::evaluate::{Current, Held, WriteKind, evaluate, expiry},
    faults::Doing,
    raft::types::{Applied, Proposal, Raft},
    reads::ReadQueue,
    replica::Shared,
    request::{Answer, OpResult, Read, ReadKind, Write},
};
use crate::{
    error::{OpError, Standing},
    planted::{self, Bug},
    storage::{
        Family,
        codec::{self, Command, DedupRecord, Effect, Group, Operation, Outcome, WriteCommand},
        engine::Error,
        keys, mvcc,
    },
    time::Timestamp,
};

/// Proposals under way at once. While they are, requests gather into the next one.
const PROPOSALS_IN_FLIGHT_MAX: usize = 2;
/// Requests of one entry, below the 4,096 that share a block of timestamps.
const ENTRY_OPERATIONS_MAX: usize = 1_024;
/// Bytes after which an entry takes no more requests.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Requests that wait in the executor, behind latches included.
const WAITING_MAX: usize = 16_384;
/// How long a new leader's first entry may take before requests are turned away.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// One request of a proposal in flight.
struct Pending {
    write: Write,
    effect: Effect,
    outcome: Outcome,
    at: Timestamp,
    /// The state that a refusal rests on.
    refused_by: Current,
}

impl Pending {
    /// Bytes that it takes in an entry, roughly.
    fn size(&self) -> usize {
        let value = match &self.effect {
            Effect::Put { value, .. } => value.len(),
            Effect::Nothing | Effect::Delete => 0,
        };
        self.write.key.len() + value + 64
    }

    fn record(&self) -> Operation {
        Operation {
            request: self.write.request,
            first_attempt: self.write.first_attempt,
            hash: self.write.hash,
            at: self.at,
            effect: self.effect.clone(),
            outcome: self.outcome,
        }
    }
}

struct PendingGroup {
    key: Bytes,
    members: Vec<Pending>,
    /// The key's state after the members.
    after: Current,
}

struct Finished {
    epoch: u64,
    groups: Vec<PendingGroup>,
    applied: Option<Applied>,
}

type InFlight = Pin<Box<dyn Future<Output = Finished> + Send>>;

pub(super) struct Executor {
    shared: Arc<Shared>,
    raft: Raft,
    writes: mpsc::Receiver<Write>,
    reads: ReadQueue,
    ready: VecDeque<Write>,
    /// Keys in proposals in flight, and who waits for each.
    latches: HashMap<Bytes, VecDeque<Write>>,
    waiting: usize,
    in_flight: FuturesUnordered<InFlight>,
    /// What is ready waits for the node's next turn.
    waits: Option<Wait>,
    operations_in_flight: usize,
    /// The term whose state is ready to be evaluated.
    prepared: Option<u64>,
    /// Raised when latches die, so that proposals of an earlier leadership release nothing.
    epoch: u64,
    /// Only with [`Bug::StaleEvaluationApplied`]: what is proposed again as it was evaluated.
    stale: Vec<Vec<PendingGroup>>,
}

impl Executor {
    pub(super) fn new(
        shared: Arc<Shared>,
        raft: Raft,
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
            waits: None,
            operations_in_flight: 0,
            prepared: None,
            epoch: 0,
            stale: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut incoming = Vec::new();
        let cadence = self.shared.cadence.clone();
        loop {
            let room = self.ready.len() + self.waiting < WAITING_MAX;
            tokio::select! {
                biased;
                Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.finish(finished);
                }
                received = self.writes.recv_many(&mut incoming, ENTRY_OPERATIONS_MAX), if room => {
                    if received == 0 {
                        return;
                    }
                    self.ready.extend(incoming.drain(..));
                }
                () = wait(&cadence, self.waits), if self.waits.is_some() => {}
            }
            while self.may_start() {
                self.start().await;
            }
            let waiting = &self.shared.waiting;
            waiting.writes.store(self.ready.len() + self.waiting, Relaxed);
            waiting.proposals.store(self.in_flight.len(), Relaxed);
        }
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
                    && self.ready.len() >= self.operations_in_flight
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
        let mut groups: Vec<PendingGroup> = Vec::new();
        let mut by_key: HashMap<Bytes, usize> = HashMap::new();
        let mut repeated = Vec::new();
        let (mut operations, mut bytes) = (0, 0);
        let now = Instant::now();
        while operations < ENTRY_OPERATIONS_MAX && bytes < ENTRY_BYTES_MAX {
            let Some(write) = self.ready.pop_front() else { break };
            if let Some(queue) = self.latches.get_mut(&write.key) {
                queue.push_back(write);
                self.waiting += 1;
                continue;
            }
            let group = by_key.get(&write.key).and_then(|at| groups.get(*at));
            if group.is_some_and(|group| group.holds(&write)) {
                // The second occurrence of a request waits for the first's result.
                repeated.push(write);
                continue;
            }
            match self.evaluate(write, group, term, now) {
                Ok(Some((pending, after))) => {
                    operations += 1;
                    bytes += pending.size();
                    let key = pending.write.key.clone();
                    let slot = *by_key.entry(key.clone()).or_insert(groups.len());
                    match groups.get_mut(slot) {
                        Some(group) => {
                            group.after = after;
                            group.members.push(pending);
                        }
                        None => groups.push(PendingGroup { key, members: vec![pending], after }),
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(range = %self.shared.range, %error, "state can't be read");
                    self.shared.fail(error);
                    return;
                }
            }
        }
        if groups.is_empty() {
            self.ready.extend(repeated);
            return;
        }
        for group in &groups {
            self.latches.insert(group.key.clone(), VecDeque::new());
        }
        for write in repeated {
            if let Some(queue) = self.latches.get_mut(&write.key) {
                queue.push_back(write);
                self.waiting += 1;
            }
        }
        self.propose(term, groups).await;
    }

    /// One request on the state of its key. `None` if it is answered, or will be by someone else.
    fn evaluate(
        &self,
        write: Write,
        group: Option<&PendingGroup>,
        term: u64,
        now: Instant,
    ) -> Result<Option<(Pending, Current)>, Error> {
        if write.deadline <= now {
            write.reply.send(Err(OpError::deadline()));
            return Ok(None);
        }
        let state = &self.shared.state;
        let stays_out = !planted::active(Bug::StaleRouteAccepted);
        if !state.descriptor().contains(&write.key) && stays_out {
            write.reply.send(Err(OpError::stale_route()));
            return Ok(None);
        }
        if write.first_attempt < state.dedup_threshold() {
            write.reply.send(Err(OpError::new(
                quintet_proto::v1::Code::Expired,
                "the request is older than the cluster remembers; ask again under a new id",
            )));
            return Ok(None);
        }
        if !planted::active(Bug::RetryAppliedTwice) {
            let key = keys::dedup(&write.key, write.request);
            if let Some(record) = state.engine().get(Family::Dedup, &key)? {
                self.shared.metrics.dedup_hits.inc();
                let record: DedupRecord = codec::decode(&record)?;
                let result = self.remembered(&write, record)?;
                write.reply.send(result);
                return Ok(None);
            }
        }
        let current = match group {
            Some(group) => group.after.clone(),
            // What is there does not matter.
            None if write.kind.is_unconditional() => Current(None),
            None => read_current(&self.shared, &write.key)?,
        };
        let at = self.shared.hlc.now();
        let expires_at = current.expires_at();
        let current = current.seen_at(at);
        // Expired by the clock, and the range does not know it yet.
        let is_news = current.0.is_none() && expires_at > Some(state.time());
        let (effect, outcome) = evaluate(&current, &write.kind, at);
        let changes_nothing = effect == Effect::Nothing;
        if changes_nothing && group.is_none() && !write.later_attempt && !is_news {
            let result = answer(&write, outcome, Timestamp::ZERO, &current, at);
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

    /// The answer of a request that was done before.
    fn remembered(&self, write: &Write, record: DedupRecord) -> Result<OpResult, Error> {
        if record.hash != write.hash {
            return Ok(Err(OpError::new(
                quintet_proto::v1::Code::RequestIdReused,
                "the request id was used with another request; ids must not be used twice",
            )));
        }
        let current = match record.outcome {
            Outcome::Conflict(version) if version > Timestamp::ZERO => {
                match mvcc::read_exact(&**self.shared.state.engine(), &write.key, version)? {
                    Some(stood) => Current(Some(held(stood))),
                    // Kept for as long as requests are remembered; a clock that leapt may break that.
                    None => {
                        return Ok(Err(OpError::new(
                            quintet_proto::v1::Code::Expired,
                            "the request was refused, by a version that is not kept any more",
                        )));
                    }
                }
            }
            _ => Current(None),
        };
        Ok(answer(write, record.outcome, record.at, &current, self.shared.hlc.peek()))
    }

    async fn propose(&mut self, term: u64, groups: Vec<PendingGroup>) {
        let command = Command::Write(WriteCommand {
            evaluated_under: term,
            time_domain: self.shared.time_domain,
            groups: groups.iter().map(PendingGroup::record).collect(),
        });
        let proposal = Proposal(Bytes::from(codec::encode(&command)));
        let (responder, answer) = OneshotResponder::new_pair();
        let write = self.raft.write(proposal).responder(responder);
        let write = if planted::active(Bug::StaleEvaluationApplied) {
            write
        } else {
            write.with_leader(term)
        };
        let epoch = self.epoch;
        let counted = self.shared.cadence.begin();
        self.operations_in_flight += groups.iter().map(|group| group.members.len()).sum::<usize>();
        let sent = write.await;
        let faults = self.shared.faults.clone();
        self.in_flight.push(Box::pin(async move {
            let _counted = counted;
            // Any error may come after the entry was appended: all are ambiguous.
            let applied = match sent {
                Ok(()) => match answer.await {
                    Ok(Ok(response)) => Ok(response.data),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the Raft group gave a proposal up".to_owned()),
                },
                Err(error) => Err(error.to_string()),
            };
            let applied = applied.inspect_err(|why| faults.note(Doing::Propose, None, why)).ok();
            Finished { epoch, groups, applied }
        }));
    }

    fn finish(&mut self, finished: Finished) {
        let operations = finished.groups.iter().map(|group| group.members.len()).sum::<usize>();
        self.operations_in_flight -= operations;
        if finished.applied.is_none() && planted::active(Bug::StaleEvaluationApplied) {
            // The careless hand: "it was evaluated already, just propose it again".
            self.stale.push(finished.groups);
            return;
        }
        let mut again = Vec::new();
        let flags = match finished.applied {
            Some(Applied::Groups(flags)) => flags.into_iter().map(Some).collect::<Vec<_>>(),
            Some(Applied::ReEvaluate | Applied::Done | Applied::Replica(_)) => {
                vec![Some(false); finished.groups.len()]
            }
            None => vec![None; finished.groups.len()],
        };
        if flags.contains(&Some(false)) {
            let why = "another leader's entry, or a clock behind the range's time: evaluated again";
            self.shared.faults.note(Doing::Apply, None, why);
        }
        for (group, flag) in finished.groups.into_iter().zip(flags) {
            if finished.epoch == self.epoch
                && let Some(queue) = self.latches.remove(&group.key)
            {
                self.waiting -= queue.len();
                self.ready.extend(queue);
            }
            for pending in group.members {
                match flag {
                    Some(true) => {
                        let Pending { write, outcome, at, refused_by, .. } = pending;
                        let now = self.shared.hlc.peek();
                        let result = answer(&write, outcome, at, &refused_by, now);
                        write.reply.send(result);
                    }
                    Some(false) => {
                        self.shared.metrics.reevaluations.inc();
                        again.push(pending.write);
                    }
                    None => pending.write.reply.send(Err(OpError::ambiguous(
                        "leadership changed while the request was under way; ask again with the same id",
                    ))),
                }
            }
        }
        for write in again.into_iter().rev() {
            self.ready.push_front(write);
        }
    }

    /// The term in which this replica leads and may evaluate. Where it does not, everything that
    /// waits is turned away.
    async fn lead(&mut self) -> Option<u64> {
        let term = self.raft.as_leader().ok().map(|leader| leader.term());
        if term.is_some() && term == self.prepared {
            return term;
        }
        self.forget();
        let Some(term) = term else {
            self.turn_away();
            return None;
        };
        let ready = async {
            let option = LinearizerOption::new(Some(Duration::ZERO), true);
            let linearizer = self.raft.get_read_linearizer(option).await.ok()?;
            linearizer.await_ready(&self.raft).await.ok()
        };
        let is_ready = timeout(PREPARE_TIMEOUT, ready).await.ok().flatten().is_some();
        // The wait may have outlived the term that it was for.
        let same = self.raft.as_leader().is_ok_and(|leader| leader.term() == term);
        if !is_ready && same {
            let why = "the new leader has not applied its log in time; requests are turned away";
            self.shared.faults.note(Doing::Lead, None, why);
        }
        if !is_ready || !same {
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

impl PendingGroup {
    fn holds(&self, write: &Write) -> bool {
        self.members.iter().any(|member| member.write.request == write.request)
    }

    fn record(&self) -> Group {
        Group {
            key: self.key.clone(),
            operations: self.members.iter().map(Pending::record).collect(),
        }
    }
}

async fn wait(cadence: &Cadence, wait: Option<Wait>) {
    if let Some(wait) = wait {
        cadence.wait(wait).await;
    }
}

/// The newest version of a key, expired or not.
fn read_current(shared: &Shared, key: &[u8]) -> Result<Current, Error> {
    let found = mvcc::read(&**shared.state.engine(), key, Timestamp::MAX)?;
    Ok(Current(found.map(held)))
}

fn held(version: mvcc::Version) -> Held {
    let mvcc::Version { at, value, expires_at } = version;
    Held { version: at, value: Bytes::from(value), expires_at }
}

/// What a caller is told of an outcome; `now` says what is left of the life of what stands.
fn answer(
    write: &Write,
    outcome: Outcome,
    at: Timestamp,
    current: &Current,
    now: Timestamp,
) -> OpResult {
    match (outcome, &write.kind) {
        (Outcome::Written, WriteKind::Delete { .. }) => Ok(Answer::Delete(Some(at))),
        (Outcome::Written, WriteKind::Expire { ttl, .. }) => {
            Ok(Answer::Expire(Some((at, expiry(at, *ttl)))))
        }
        (Outcome::NoSuchKey, _) => Ok(Answer::Expire(None)),
        (Outcome::Written, _) => Ok(Answer::Put(at)),
        (Outcome::NothingToDelete, _) => Ok(Answer::Delete(None)),
        (Outcome::Number(sum), _) => Ok(Answer::Increment(sum, at)),
        (Outcome::Conflict(_), _) => {
            Err(OpError::conflict(current.0.clone().map(|held| Standing {
                version: held.version,
                value: held.value,
                expires_at: held.expires_at,
                ttl_ms: held.expires_at.map_or(0, |expires_at| expires_at.ms_after(now)),
            })))
        }
        (Outcome::NotANumber, _) => Err(OpError::new(
            quintet_proto::v1::Code::NotANumber,
            "the value is not a decimal number, or the sum does not fit in 64 bits; put a number \
             first",
        )),
    }
}
