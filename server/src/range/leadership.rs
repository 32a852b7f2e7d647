//! Confirmations of leadership for reads, for all ranges that a node leads in one round of messages.
//!
//! A leader proves that nobody has succeeded it by asking a majority of its voters (ReadIndex: Ongaro's
//! thesis, section 6.4). Raft asks with heartbeats, one set a group; here one message to each node
//! carries the claims of all groups, and the node answers from what its replicas have voted, without
//! waking a group: what a round costs does not grow with the ranges.
//!
//! # Why that is enough
//!
//! * A claim "replica L leads range R in term T" holds at a voter whose durable vote is for L in T at
//!   that moment. A vote only rises, and a grant leaves its voter after it is durable. So whoever leads in a
//!   later term was elected by a majority that one of these voters joined *after* it confirmed: when the
//!   round began there was no later leader, and nothing was acknowledged that L does not have.
//! * L's own replica is asked as the others are, after the round began: it may have granted its vote since
//!   the claim was made.
//! * L acknowledges what it has applied. Once the first entry of its own term is applied (`reads` waits
//!   for that once a term, through Raft), everything that earlier leaders acknowledged is applied too.
//! * Majorities are those of the membership in L's log, committed or not; of both halves where it is
//!   joint. What L knows of it may be one change behind what its log holds, never two, as a change is
//!   proposed only when the one before it is committed: majorities of neighbours intersect.
//! * A replica is asked by its id: one that took the place of a lost one has voted for nobody.
//!
//! # Rounds
//!
//! A claim that comes while a round is under way waits for the next one. As many voters are asked as
//! make a majority, those that answered fastest before; where they do not confirm, or take longer than
//! they used to, all are, and now and then to know how quick they are. A round is over once all of its claims are
//! decided: those that are still to answer then, as from another city, keep nobody waiting. Rounds are numbered: what
//! arrived before a round began is confirmed by it, also where it arrived after the claim was made.
//!
//! # On a crash
//!
//! Nothing is kept. A restarted leader leads nothing until it is elected again in a later term.

pub mod claim;
mod expected;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel},
    },
};

use parking_lot::Mutex;
use quintet_proto::internal::v1 as wire;
use tokio::sync::oneshot;

use self::{
    claim::Claim,
    expected::{CONFIRM_TIMEOUT, Expected},
};
use super::raft::{log_store::LogStore, progress::Vote};
use crate::{
    ids::{NodeId, ReplicaId},
    ops::metrics::Metrics,
    peer::{Kind, Lane, LinkDown, Peers},
    planted::{self, Bug},
    size::Size,
    time::local::{Instant, timeout},
};

/// In one round of this many all voters are asked at once, so that it is known how quick they are now: one that was
/// slow for a moment would be asked last for very long, and one in another city in its place.
const ASK_ALL_EVERY: u64 = 64;
/// Claims of one message; more take several.
const MESSAGE_CLAIMS_MAX: Size = Size::new("message-claims", 4_096, 1);

/// Whether a replica's durable vote is for a leader.
pub fn follows(log: &LogStore, leader: ReplicaId, term: u64) -> bool {
    log.vote().is_some_and(|vote| is_for(&vote, leader, term))
}

fn is_for(vote: &Vote, leader: ReplicaId, term: u64) -> bool {
    // A higher term may have a leader already; with a lower one, it has not heard of this one yet.
    vote.term == term && vote.replica == leader
}

/// A claim that waits for its majority.
struct Open {
    claim: Claim,
    /// Whether the leader's own replica votes for it; asked like the others, once a round has begun: it
    /// may have voted for somebody else since the claim was made.
    follows_itself: Box<dyn Fn() -> bool + Send + Sync>,
    state: Mutex<OpenState>,
}

struct OpenState {
    holds_at: Vec<ReplicaId>,
    /// The first round in which it was asked; 0: none yet.
    round: u64,
    /// Who was asked first.
    asked: Vec<(ReplicaId, NodeId)>,
    /// Everybody was asked, or will be.
    asks_all: bool,
    /// Gone once it is decided.
    decided: Option<oneshot::Sender<u64>>,
}

impl Open {
    /// A claim that was not asked yet, and who is told the number of its round.
    fn new(
        claim: Claim,
        follows_itself: impl Fn() -> bool + Send + Sync + 'static,
    ) -> (Open, oneshot::Receiver<u64>) {
        let (tx, decided) = oneshot::channel();
        let state = Mutex::new(OpenState {
            holds_at: Vec::new(),
            round: 0,
            asked: Vec::new(),
            asks_all: false,
            decided: Some(tx),
        });
        (Open { claim, follows_itself: Box::new(follows_itself), state }, decided)
    }

    /// A replica has confirmed it.
    fn holds_at(&self, replica: ReplicaId) {
        let mut state = self.state.lock();
        if !state.holds_at.contains(&replica) {
            state.holds_at.push(replica);
        }
        if self.claim.electorate.is_quorum(&state.holds_at)
            && let Some(decided) = state.decided.take()
        {
            // Whoever asked may have given up.
            decided.send(state.round).ok();
        }
    }

    /// Whether nobody waits for it any more.
    fn is_decided(&self) -> bool {
        self.state.lock().decided.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// The nodes that were asked first and have not confirmed it.
    fn silent(&self) -> Vec<NodeId> {
        let state = self.state.lock();
        let silent = state.asked.iter().filter(|(replica, _)| !state.holds_at.contains(replica));
        silent.map(|(_, node)| *node).collect()
    }

    /// Whether everybody has to be asked, which is said once.
    fn has_to_ask_all(&self) -> bool {
        let mut state = self.state.lock();
        state.decided.is_some() && !std::mem::replace(&mut state.asks_all, true)
    }

    /// Whom to ask in a round that has begun. The leader itself is asked here.
    fn ask(&self, round: u64, expected: &Expected) -> Vec<(ReplicaId, NodeId)> {
        {
            let mut state = self.state.lock();
            if state.round == 0 {
                state.round = round;
            }
        }
        if (self.follows_itself)() {
            self.holds_at(self.claim.leader);
        }
        let mut state = self.state.lock();
        let electorate = &self.claim.electorate;
        if state.asks_all {
            return electorate.others.clone();
        }
        state.asked = electorate.needed(state.holds_at.clone(), expected);
        if round.is_multiple_of(ASK_ALL_EVERY) {
            return electorate.others.clone();
        }
        state.asked.clone()
    }
}

/// Claims that are asked together.
struct Round {
    number: u64,
    begun: Instant,
    claims: Vec<Arc<Open>>,
    /// Messages without an answer.
    unanswered: AtomicUsize,
    is_over: AtomicBool,
}

/// What is asked of one node.
type Part = Vec<(Arc<Open>, ReplicaId)>;

#[derive(Default)]
struct Gathering {
    waiting: Vec<Arc<Open>>,
    /// A round is under way, or about to begin.
    busy: bool,
    /// How long nodes take to answer.
    expected: Expected,
}

/// Takes what a node answers, or that it does not.
type TakeAnswer = Box<dyn FnOnce(Result<Kind, LinkDown>) + Send>;
/// Asks a node something.
type AskNode = Box<dyn Fn(NodeId, wire::PeerMessage, TakeAnswer) + Send + Sync>;

/// The confirmations of a node.
pub struct Leaderships {
    ask_node: AskNode,
    metrics: Arc<Metrics>,
    gathering: Mutex<Gathering>,
    /// The newest round's number.
    rounds: AtomicU64,
}

impl Leaderships {
    /// Of the node that these are the peers of.
    pub fn new(peers: Arc<Peers>, metrics: Arc<Metrics>) -> Arc<Leaderships> {
        let ask = move |node, message, answer: TakeAnswer| {
            peers.send(node, Lane::Urgent, message, answer);
        };
        Leaderships::asking(Box::new(ask), metrics)
    }

    fn asking(ask_node: AskNode, metrics: Arc<Metrics>) -> Arc<Leaderships> {
        let (gathering, rounds) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Leaderships { ask_node, metrics, gathering, rounds })
    }

    /// Stamps what arrives: rounds of higher numbers than this begin after it.
    pub fn arrived(&self) -> u64 {
        // Not a mere load, which might see an earlier number than the newest.
        self.rounds.fetch_add(0, AcqRel)
    }

    /// The number of a round that shows that a claim was true at some moment after the round began; it
    /// begins after the call. `None`: nobody knows.
    pub async fn confirm(self: &Arc<Self>, claim: Claim, log: LogStore) -> Option<u64> {
        let (leader, term) = (claim.leader, claim.term);
        // The careless hand: "I know my own vote".
        let early = planted::active(Bug::OwnVoteCountedEarly) && follows(&log, leader, term);
        self.decide(claim, move || early || follows(&log, leader, term)).await
    }

    async fn decide(
        self: &Arc<Self>,
        claim: Claim,
        follows_itself: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Option<u64> {
        let (open, mut decided) = Open::new(claim, follows_itself);
        let open = Arc::new(open);
        let (begins, patience) = {
            let mut gathering = self.gathering.lock();
            gathering.waiting.push(open.clone());
            let begins = !std::mem::replace(&mut gathering.busy, true);
            (begins, gathering.expected.patience(open.claim.voters_asked()))
        };
        if begins {
            // Claims of other ranges that are ready by now go into the same round.
            tokio::task::yield_now().await;
            self.begin();
        }
        if let Ok(decided) = timeout(patience, &mut decided).await {
            return decided.ok();
        }
        // Either its own round hangs, or the one that it waits for.
        for node in open.silent() {
            self.gathering.lock().expected.took(node, patience, true);
        }
        self.ask_all(open);
        self.begin();
        timeout(CONFIRM_TIMEOUT, decided).await.ok()?.ok()
    }

    /// Asks everybody in the next round, where that was not done yet.
    fn ask_all(&self, open: Arc<Open>) {
        if open.has_to_ask_all() {
            let mut gathering = self.gathering.lock();
            if !gathering.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, &open)) {
                gathering.waiting.push(open);
            }
        }
    }

    /// Asks for all claims that wait.
    fn begin(self: &Arc<Self>) {
        let (asked, claims, number) = {
            let mut gathering = self.gathering.lock();
            let claims = std::mem::take(&mut gathering.waiting);
            gathering.busy = !claims.is_empty();
            if claims.is_empty() {
                return;
            }
            let number = self.rounds.fetch_add(1, AcqRel) + 1;
            let mut asked: BTreeMap<NodeId, Part> = BTreeMap::new();
            for open in &claims {
                for (replica, node) in open.ask(number, &gathering.expected) {
                    asked.entry(node).or_default().push((open.clone(), replica));
                }
            }
            (asked, claims, number)
        };
        self.metrics.leadership_rounds.inc();
        let parts: Vec<_> = asked.into_iter().flat_map(messages).collect();
        let round = Arc::new(Round {
            number,
            begun: Instant::now(),
            claims,
            unanswered: AtomicUsize::new(parts.len()),
            is_over: AtomicBool::new(false),
        });
        if parts.is_empty() {
            return self.over(&round);
        }
        for (node, message, part) in parts {
            let (leaderships, round) = (self.clone(), round.clone());
            let answer: TakeAnswer = Box::new(move |answer| match answer {
                Ok(Kind::ClaimsAnswer(answer)) => {
                    leaderships.take(&round, node, part, &answer.holds);
                }
                Ok(_) | Err(_) => leaderships.take(&round, node, part, &[]),
            });
            (self.ask_node)(node, message, answer);
        }
    }

    /// Takes a node's answer to its part of a round; nothing holds where it is empty.
    fn take(self: &Arc<Self>, round: &Round, node: NodeId, part: Part, holds: &[bool]) {
        self.gathering.lock().expected.took(node, round.begun.elapsed(), holds.is_empty());
        let holds = holds.iter().copied().chain(std::iter::repeat(false));
        for ((open, replica), holds) in part.into_iter().zip(holds) {
            match holds {
                true => open.holds_at(replica),
                false => self.ask_all(open),
            }
        }
        let all_answered = round.unanswered.fetch_sub(1, AcqRel) == 1;
        let is_over = all_answered || round.claims.iter().all(|open| open.is_decided());
        if is_over && !round.is_over.swap(true, AcqRel) {
            self.over(round);
        }
    }

    /// The next round may begin.
    fn over(self: &Arc<Self>, round: &Round) {
        if self.arrived() != round.number {
            return;
        }
        if self.gathering.lock().waiting.is_empty() {
            return self.begin();
        }
        let leaderships = self.clone();
        tokio::spawn(async move {
            // Reads that are on their way to ranges that have none yet go into it too.
            tokio::task::yield_now().await;
            leaderships.begin();
        });
    }
}

/// The messages that ask a node for its part of a round.
fn messages(
    (node, part): (NodeId, Part),
) -> impl Iterator<Item = (NodeId, wire::PeerMessage, Part)> {
    let parts: Vec<Part> = part.chunks(MESSAGE_CLAIMS_MAX.get()).map(<[_]>::to_vec).collect();
    parts.into_iter().map(move |part| {
        let claims = part.iter().map(|(open, replica)| wire::Claim {
            range_id: open.claim.range.0,
            to_replica: replica.0,
            leader_replica: open.claim.leader.0,
            term: open.claim.term,
        });
        let kind = Some(Kind::Claims(wire::Claims { claims: claims.collect() }));
        (node, wire::PeerMessage { kind, ..wire::PeerMessage::default() }, part)
    })
}

#[cfg(test)]
mod tests;
