//! This node's proposer at work: rounds for its ranges, and for the nodes that delegate to it.
//!
//! ```text
//!   ranges of this node ---.                         .--> another node's proposer (delegate.rs)
//!                           >-- requests, gathered --<
//!   nodes that delegate ---'                         '--> a round of this node's: the quickest servers first,
//!                                                         the others where one of these is late
//! ```
//!
//! A round begins as soon as somebody asks and none is under way; more of them overlap where they come as close as
//! [`ROUNDS_APART`]. Who comes in between shares the next one. Every [`IDLE`] there is one anyway, to all servers: so
//! time moves where nobody writes, and the proposer in use hears every server's clock.
//!
//! # Invariants
//!
//! * A request that was handed to another node, and is not answered in time, is handed to the own proposer as well:
//!   whichever is first counts, as both began after the request had come.
//! * Bounded: requests that are gathered by [`WAITING_MAX`], as the queue and the proposer are, rounds by `ROUNDS_MAX`,
//!   messages of one server by `servers.rs`, requests to another node by [`DELEGATED_MAX`].
//!
//! # On a crash
//!
//! Nothing is kept. Who waited here is told by the end of its link, and asks elsewhere.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use super::{
    delegate::{self, Host},
    naive,
    servers::Servers,
};
use crate::{
    cluster::state::NodeState,
    ids::{NodeId, SYSTEM_RANGE},
    observe::{self, TimeSeen},
    ops::metrics::TimeMetrics,
    peer::ask::{TimeRound, TimeTick},
    placement::locality::Locality,
    planted::{self, Bug},
    time::{
        Usual,
        local::{Instant, sleep_until},
        oracle::{
            Block, Config, ServerId,
            handle::Asked,
            proposer::{Ask, Proposer, RoundId, Step, WAITING_MAX},
            server::Answer,
        },
    },
    trace,
};

/// Rounds that overlap begin no closer than this.
const ROUNDS_APART: Duration = Duration::from_micros(250);
/// There is a round as often, also where nobody asks for one.
const IDLE: Duration = Duration::from_millis(100);
/// What a round waits for is sent again as often.
const AGAIN: Duration = Duration::from_millis(200);
/// Rounds that another node is asked for at the same time; who comes meanwhile gathers.
const DELEGATED_MAX: usize = 4;
/// How long another node's round may take before this node's proposer runs one too, at least and at most.
const DELEGATED_LATE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(5)..=Duration::from_millis(150);
/// A node whose round did not come is not asked for as long.
const DISTRUST: Duration = Duration::from_secs(1);

/// Somebody who waits for a round.
struct Waits {
    answer: oneshot::Sender<Block>,
    since: Instant,
    /// It is another node's, which counts it.
    of_another: bool,
    /// For who looks on.
    ticket: u64,
}

impl Waits {
    fn send(self, block: Block, metrics: &TimeMetrics) {
        if !self.of_another {
            metrics.round_latency.observe_duration(self.since.elapsed());
        }
        let ticket = self.ticket;
        observe::tell_time(|| TimeSeen::Answered { ticket, block });
        // Who waited may have given up.
        self.answer.send(block).ok();
    }
}

/// What became of a message to a time server.
struct Told {
    from: ServerId,
    ask: Ask,
    asked: Instant,
    answer: Option<Answer>,
}

/// What became of a request to another node.
struct Delegated {
    number: u64,
    block: Option<Block>,
}

/// When a round's messages were sent.
struct Sent {
    /// After this the others are asked too.
    late: Instant,
    /// All were asked.
    asked_all: bool,
    again: Instant,
}

/// Requests that another node was asked for.
struct Batch {
    to: NodeId,
    asked: Instant,
    waits: Vec<Waits>,
}

struct Rounds {
    node_state: Arc<NodeState>,
    proposer: Proposer<Waits>,
    servers: Servers,
    here: Locality,
    sent: BTreeMap<RoundId, Sent>,
    ticks: FuturesUnordered<Pin<Box<dyn Future<Output = Told> + Send>>>,
    began: Option<Instant>,
    /// When all servers were asked last.
    asked_all: Option<Instant>,
    /// Whose proposer decides; this node's, or another's.
    proposes: NodeId,
    gathered: Vec<Waits>,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    delegated: FuturesUnordered<Pin<Box<dyn Future<Output = Delegated> + Send>>>,
    /// How long rounds of another node take.
    usual: Usual,
    /// Nobody else is asked until then.
    distrusts_until: Option<Instant>,
    looked: Option<Instant>,
    tickets: u64,
}

/// Runs the rounds of a node, for as long as it runs. `queue` is that of those who ask.
pub(crate) async fn run(node_state: Arc<NodeState>, mut queue: mpsc::Receiver<Asked>) {
    if planted::active(Bug::NaiveTimeServer) {
        return naive::run(node_state, queue).await;
    }
    let mut rounds = Rounds::new(node_state);
    let mut asked = Vec::new();
    // One timer for all that is waited for, not one for each.
    let mut wakes = Instant::now();
    let mut look = std::pin::pin!(sleep_until(wakes));
    loop {
        let next = rounds.next_look();
        if next < wakes || wakes <= Instant::now() {
            wakes = next;
            look.set(sleep_until(next));
        }
        tokio::select! {
            biased;
            Some(told) = rounds.ticks.next(), if !rounds.ticks.is_empty() => rounds.told(told),
            Some(delegated) = rounds.delegated.next(), if !rounds.delegated.is_empty() => {
                rounds.answered(delegated);
            }
            received = queue.recv_many(&mut asked, WAITING_MAX),
                if rounds.gathered.len() < WAITING_MAX =>
            {
                if received == 0 {
                    return;
                }
                asked.drain(..).for_each(|asked| rounds.request(asked));
            }
            () = &mut look => {}
        }
        rounds.go_on();
    }
}

impl Rounds {
    fn new(node_state: Arc<NodeState>) -> Rounds {
        let me = node_state.peers().book().me();
        Rounds {
            proposer: Proposer::start(node_state.random(), node_state.time_server().config()),
            servers: Servers::default(),
            here: Locality { city: me.city, room: me.room },
            sent: BTreeMap::new(),
            ticks: FuturesUnordered::new(),
            began: None,
            asked_all: None,
            proposes: me.node,
            gathered: Vec::new(),
            batches: BTreeMap::new(),
            next_batch: 1,
            delegated: FuturesUnordered::new(),
            usual: Usual::new(*DELEGATED_LATE.start()),
            distrusts_until: None,
            looked: None,
            tickets: 0,
            node_state,
        }
    }

    fn me(&self) -> NodeId {
        self.node_state.peers().me()
    }

    /// When there is something to do next, also where nothing comes.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let idle = self.looked.map_or(now, |looked| looked + IDLE);
        let late =
            self.sent.values().map(|sent| if sent.asked_all { sent.again } else { sent.late });
        let delegated = self.batches.values().map(|batch| batch.asked + self.delegated_late());
        let waits = (self.proposer.waiting() > 0 && self.proposer.may_begin())
            .then(|| self.began.map_or(now, |began| began + ROUNDS_APART));
        late.chain(delegated).chain(waits).fold(idle, Instant::min)
    }

    /// Somebody asks for a round.
    fn request(&mut self, Asked { answer, here }: Asked) {
        self.tickets += 1;
        let ticket = self.tickets;
        observe::tell_time(|| TimeSeen::Asked { ticket });
        let waits = Waits { answer, since: Instant::now(), of_another: here, ticket };
        if here || self.proposes == self.me() {
            self.propose_for(waits);
        } else {
            self.gathered.push(waits);
        }
    }

    /// Somebody waits for the own proposer. Where too many do it is dropped, which says that there is no time.
    fn propose_for(&mut self, waits: Waits) {
        if !waits.answer.is_closed() && self.proposer.request(waits).is_err() {
            tracing::debug!("too many requests wait for a round");
        }
    }

    /// Does what is to be done by now.
    fn go_on(&mut self) {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| looked + IDLE <= now) {
            self.looked = Some(now);
            self.look(now);
        }
        self.delegate(now);
        self.look_after(now);
        let idles =
            self.proposes == self.me() && self.began.is_none_or(|began| began + IDLE <= now);
        let apart =
            self.sent.is_empty() || self.began.is_none_or(|began| began + ROUNDS_APART <= now);
        if self.proposer.may_begin() && (idles || (self.proposer.waiting() > 0 && apart)) {
            self.begin(now);
        }
    }

    /// Takes over which servers there are, and where, and chooses who proposes.
    fn look(&mut self, now: Instant) {
        let replica = self.node_state.router().replica(SYSTEM_RANGE);
        let active = replica.map(|replica| replica.shared.state.time_servers().active);
        self.adopt(&self.node_state.time_server().config());
        if let Some(active) = active {
            self.adopt(&active);
        }
        let book = self.node_state.peers().book().all();
        self.servers.refresh(self.proposer.config(), &book);
        let distrusts = self.distrusts_until.is_some_and(|until| now < until);
        let peers = self.node_state.peers();
        let members = &self.proposer.config().members;
        let hosts = book.into_iter().filter(|at| members.contains(&ServerId(at.directory)));
        let hosts: Vec<_> = hosts
            .map(|at| Host {
                node: at.node,
                is_reached: at.node == peers.me() || (peers.is_live(at.node) && !distrusts),
                locality: Locality { city: at.city, room: at.room },
            })
            .collect();
        self.proposes = delegate::choose(peers.me(), &self.here, &hosts);
        let figures = &self.node_state.host().metrics.time;
        figures.epoch.set(self.proposer.config().epoch.0);
        figures.is_server.set(u64::from(self.node_state.time_server().answers()));
        if self.proposes == self.me() {
            std::mem::take(&mut self.gathered)
                .into_iter()
                .for_each(|waits| self.propose_for(waits));
        }
    }

    /// A set of servers is known: rounds begin anew in it, where it is newer.
    fn adopt(&mut self, config: &Config) {
        let oracle = &self.node_state.host().oracle;
        let before = self.proposer.config().epoch;
        let steps = self.proposer.adopt(config, oracle.physical(), oracle.monotonic());
        if self.proposer.config().epoch != before {
            let book = self.node_state.peers().book().all();
            self.servers.refresh(self.proposer.config(), &book);
        }
        steps.into_iter().for_each(|step| self.step(step, true));
    }

    fn begin(&mut self, now: Instant) {
        let oracle = self.node_state.host().oracle.clone();
        let (_, step) = self.proposer.begin(oracle.physical(), oracle.monotonic());
        self.began = Some(now);
        let asks_all = self.asked_all.is_none_or(|asked| asked + IDLE <= now);
        if asks_all {
            self.asked_all = Some(now);
        }
        self.step(step, asks_all);
    }

    /// Does what the proposer says. `all`: every server is asked, and not the quickest majority first.
    fn step(&mut self, step: Step<Waits>, all: bool) {
        match step {
            Step::None => {}
            Step::Send(to, ask) => self.send(to, ask, all),
            Step::Issue { batch, block, at_once } => {
                trace::event("time", format_args!("{} issues {}", self.me(), block.0));
                let host = self.node_state.host();
                if !host.oracle.issue(self.proposer.config().epoch, block) {
                    // Time is begun anew without this epoch's servers. Whoever waited hears that there is none.
                    return;
                }
                host.metrics.time.round(at_once, batch.len());
                observe::tell_time(|| TimeSeen::Issued {
                    config: self.proposer.config().clone(),
                    block,
                });
                batch.into_iter().for_each(|waits| waits.send(block, &host.metrics.time));
            }
            Step::Exhausted(batch) => {
                tracing::error!("cluster time has reached its end: nothing can be written");
                drop(batch);
            }
        }
        let oldest = self.proposer.oldest();
        self.sent.retain(|round, _| oldest.is_some_and(|oldest| *round >= oldest));
    }

    fn send(&mut self, to: Vec<ServerId>, ask: Ask, all: bool) {
        let now = Instant::now();
        let majority = self.proposer.config().majority();
        let first = self.servers.first(&to, majority, now);
        let late = now + self.servers.late_after(&first);
        // A second phase is rare, and ends the sooner the more are asked.
        let asked_all = all || ask.tick.write_back;
        self.sent.insert(ask.round, Sent { late, asked_all, again: now + AGAIN });
        for server in if asked_all { to } else { first } {
            self.tell(server, ask, now);
        }
    }

    fn tell(&mut self, to: ServerId, ask: Ask, now: Instant) {
        let Some(node) = self.servers.node(to) else { return };
        if !self.servers.ask(to, now) {
            return;
        }
        let told = move |answer| Told { from: to, ask, asked: now, answer };
        if node == self.me() {
            let server = self.node_state.time_server().clone();
            self.ticks.push(Box::pin(async move { told(Some(server.tick(ask.tick).await)) }));
        } else {
            let answer = self.node_state.peers().ask(node, None, TimeTick(ask.tick));
            self.ticks.push(Box::pin(async move { told(answer.await.ok()) }));
        }
    }

    /// A server has answered, or will not.
    fn told(&mut self, told: Told) {
        let Told { from, ask, asked, answer } = told;
        let now = Instant::now();
        match answer {
            None => {
                self.servers.lost(from, now);
                self.ask_all(ask.round);
            }
            Some(Answer::WrongEpoch { config, .. })
                if config.epoch > self.proposer.config().epoch =>
            {
                self.servers.answered(from, asked, now);
                self.adopt(&config);
            }
            Some(answer) => {
                self.servers.answered(from, asked, now);
                if matches!(answer, Answer::WrongEpoch { .. }) {
                    // It is not seeded yet.
                    self.ask_all(ask.round);
                }
                let monotonic = self.node_state.host().oracle.monotonic();
                let step = self.proposer.answered(from, ask, answer, monotonic);
                self.step(step, false);
            }
        }
    }

    /// Asks every server that has not answered a round.
    fn ask_all(&mut self, round: RoundId) {
        let Some(sent) = self.sent.get_mut(&round) else { return };
        if std::mem::replace(&mut sent.asked_all, true) {
            return;
        }
        let step = self.proposer.again(round);
        self.step(step, true);
    }

    /// Looks after rounds that take long.
    fn look_after(&mut self, now: Instant) {
        let late = |sent: &Sent| if sent.asked_all { sent.again <= now } else { sent.late <= now };
        let rounds: Vec<_> =
            self.sent.iter().filter(|(_, sent)| late(sent)).map(|(round, _)| *round).collect();
        for round in rounds {
            let asked_all = self.sent.get(&round).is_some_and(|sent| sent.asked_all);
            if !asked_all {
                self.ask_all(round);
                continue;
            }
            let monotonic = self.node_state.host().oracle.monotonic();
            let hurried = self.proposer.hurry(round, monotonic);
            let step = match hurried {
                Step::None => self.proposer.again(round),
                hurried => hurried,
            };
            if let Some(sent) = self.sent.get_mut(&round) {
                sent.again = now + AGAIN;
            }
            self.step(step, true);
        }
    }

    fn delegated_late(&self) -> Duration {
        self.usual.late_after(&DELEGATED_LATE)
    }

    /// Hands what is gathered to the node that proposes, and what is late there to the own proposer too.
    fn delegate(&mut self, now: Instant) {
        let late = self.delegated_late();
        let overdue: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.asked + late <= now)
            .map(|(number, _)| *number)
            .collect();
        overdue.into_iter().for_each(|number| self.run_here(number, now));
        let may_ask = self.batches.len() < DELEGATED_MAX && self.proposes != self.me();
        if self.gathered.is_empty() || !may_ask {
            return;
        }
        let (to, number) = (self.proposes, self.next_batch);
        self.next_batch += 1;
        let waits = std::mem::take(&mut self.gathered);
        self.batches.insert(number, Batch { to, asked: now, waits });
        let answer = self.node_state.peers().ask(to, None, TimeRound);
        self.delegated.push(Box::pin(async move {
            // Where none comes there is none.
            Delegated { number, block: answer.await.unwrap_or_default() }
        }));
    }

    /// Another node has run a round, or has not.
    fn answered(&mut self, delegated: Delegated) {
        let now = Instant::now();
        match (delegated.block, self.batches.remove(&delegated.number)) {
            (Some(block), Some(batch)) => {
                let took = now.saturating_duration_since(batch.asked);
                self.usual.took(took);
                let host = self.node_state.host();
                host.oracle.known().raise(block);
                batch.waits.into_iter().for_each(|waits| waits.send(block, &host.metrics.time));
            }
            // It was late, and this node's proposer has seen to it.
            (Some(block), None) => self.node_state.host().oracle.known().raise(block),
            (None, Some(batch)) => {
                self.batches.insert(delegated.number, batch);
                self.run_here(delegated.number, now);
            }
            (None, None) => {}
        }
    }

    /// A round of another node does not come: the own proposer runs one for those who wait, and for all others for a
    /// while.
    fn run_here(&mut self, number: u64, now: Instant) {
        let Some(batch) = self.batches.remove(&number) else { return };
        tracing::debug!(node = %batch.to, "its rounds do not come; this node's proposer runs its own");
        self.node_state.host().metrics.time.delegated_late.inc();
        self.distrusts_until = Some(now + DISTRUST);
        self.proposes = self.me();
        let gathered = std::mem::take(&mut self.gathered);
        batch.waits.into_iter().chain(gathered).for_each(|waits| self.propose_for(waits));
    }
}
