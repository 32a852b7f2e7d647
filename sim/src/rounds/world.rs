//! All of the oracle's machines in one value, with a network that delays, loses and doubles messages, and disks that
//! lose what is not synced.
//!
//! Ghosts know what no machine knows: the highest block issued so far, and what it was when each request arrived. Each
//! action is followed by a look at O1, O2 and O3 ([`World::broken`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
    time::Duration,
};

use quintet_server::{
    planted::{self, Bug},
    time::oracle::{
        Block, Config, Epoch, HEARD_WITHIN, ServerId,
        membership::{Change, Epochs, Step as ChangeStep},
        proposer::{Ask, Proposer, Step},
        server::{Answer, Fenced, Outcome, Record, Seeded, TimeServer},
    },
};

/// A request, by number.
pub type Request = u32;

/// Blocks that were issued. Two worlds that differ in it alone are one state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// All of them.
    pub blocks: u64,
    /// Those of one round trip.
    pub at_once: u64,
}

impl PartialEq for Counted {
    fn eq(&self, _: &Counted) -> bool {
        true
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A message under way. Servers, proposers and changes are named by their places in the [`World`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Tick { to: usize, from: usize, ask: Ask },
    Answer { to: usize, from: usize, ask: Ask, answer: Answer },
    Fence { to: usize, change: usize, config: Config },
    Fenced { change: usize, from: usize, answer: Fenced },
    Seed { to: usize, change: usize, config: Config, value: Block },
    Seeded { change: usize, from: usize, answer: Seeded },
}

/// A time server, its clock and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// The machine.
    pub machine: TimeServer,
    /// What its physical clock shows.
    pub physical: Block,
    disk: Record,
    /// Writes on their way to the disk, in order.
    unsynced: VecDeque<Record>,
    /// Messages that wait for the disk.
    waiting: BTreeSet<Message>,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A request arrives at a proposer.
    Request(usize),
    /// A proposer begins a round.
    Begin(usize),
    /// A proposer stops waiting in its oldest round: for messages, and for clocks that it has not heard.
    Hurry(usize),
    /// A proposer sends again what its oldest round waits for.
    Again(usize),
    /// A message arrives.
    Deliver(Message),
    /// A message arrives, and another copy of it is under way still.
    Double(Message),
    /// A message is lost.
    Lose(Message),
    /// A message arrives, and what it is answered at once is lost.
    Mute(Message),
    /// The oldest write of a server is on disk.
    Sync(usize),
    /// A server extends its bound where that is near.
    Extend(usize),
    /// A server's process ends and begins again.
    RestartServer(usize),
    /// A server loses its disk and goes on: only with the planted bug.
    Wipe(usize),
    /// A proposer's process ends and begins again.
    RestartProposer(usize),
    /// The system range's leader begins a change to these servers.
    BeginChange(BTreeSet<ServerId>),
    /// A change sends what it waits for.
    PushChange(usize),
    /// A change that is done is noted.
    Activate(usize),
    /// A proposer learns of the newest set.
    Learn(usize),
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The servers, members or not.
    pub servers: Vec<Server>,
    /// The proposers, and what their physical clocks show.
    pub proposers: Vec<(Proposer<Request>, Block)>,
    /// Messages under way.
    pub messages: BTreeSet<Message>,
    /// The record of the system range.
    pub epochs: Epochs,
    /// Changes that were begun.
    pub changes: Vec<Change>,
    boots: u64,
    /// On the proposers' monotonic clocks: it passes where one has waited for long.
    now: Duration,
    /// Whether every proposer knows all clocks of its set, from its start and whenever its clock moves on.
    all_heard: bool,
    requests: Request,
    /// The highest block issued when each request arrived.
    floors: BTreeMap<Request, Block>,
    issued: Block,
    /// No block above this may be issued.
    wild_from: Block,
    /// What did not hold, once something did not.
    pub broken: Option<String>,
    /// Blocks that were issued.
    pub counted: Counted,
}

fn hear_all(proposer: &mut Proposer<Request>, servers: &[Server], now: Duration) {
    for server in servers {
        proposer.hear(server.machine.me(), server.physical.plus(now), now);
    }
}

fn id(index: usize) -> ServerId {
    ServerId(index as u64 + 1)
}

fn index(id: ServerId) -> usize {
    id.0 as usize - 1
}

/// How late it gets at most: more would only add states.
const NOW_MAX: Duration = HEARD_WITHIN.saturating_mul(10);

impl Message {
    /// Whether a server sent it.
    pub fn is_answer(&self) -> bool {
        match self {
            Message::Answer { .. } | Message::Fenced { .. } | Message::Seeded { .. } => true,
            Message::Tick { .. } | Message::Fence { .. } | Message::Seed { .. } => false,
        }
    }
}

impl World {
    /// Servers with these clocks, of which the first `members` are the active set; proposers with these clocks.
    pub fn new(servers: &[u64], members: usize, proposers: &[u64]) -> World {
        let config = Config { epoch: Epoch(1), members: (0..members).map(id).collect() };
        let server = |(at, physical): (usize, &u64)| {
            let is_member = at < members;
            let disk = match is_member {
                true => Record { config: config.clone(), seeded: true, bound: Block(0) },
                false => Record::default(),
            };
            Server {
                machine: TimeServer::start(id(at), disk.clone()),
                physical: Block(*physical),
                disk,
                unsynced: VecDeque::new(),
                waiting: BTreeSet::new(),
            }
        };
        World {
            servers: servers.iter().enumerate().map(server).collect(),
            proposers: (1..)
                .zip(proposers)
                .map(|(boot, own)| (Proposer::start(boot, config.clone()), Block(*own)))
                .collect(),
            messages: BTreeSet::new(),
            epochs: Epochs { active: config, ..Epochs::default() },
            changes: Vec::new(),
            boots: proposers.len() as u64,
            now: Duration::ZERO,
            all_heard: false,
            requests: 0,
            floors: BTreeMap::new(),
            issued: Block(0),
            wild_from: Block::MAX,
            broken: None,
            counted: Counted::default(),
        }
    }

    /// The same where the clock of a server stands at `clock` already, and no block above `wild_from` may be issued.
    pub fn with_wild_server(mut self, server: usize, clock: u64, wild_from: Block) -> World {
        self.wild_from = wild_from;
        let server = &mut self.servers[server];
        server.disk.bound = Block(clock);
        server.machine = TimeServer::start(server.machine.me(), server.disk.clone());
        self
    }

    /// The same where every proposer knows what all servers' clocks show, from when it begins on.
    pub fn with_all_heard(mut self) -> World {
        self.all_heard = true;
        self.let_all_hear();
        self
    }

    fn let_all_hear(&mut self) {
        if self.all_heard {
            for (proposer, _) in &mut self.proposers {
                hear_all(proposer, &self.servers, self.now);
            }
        }
    }

    /// All servers, members or not.
    pub fn ids(&self) -> impl Iterator<Item = ServerId> {
        self.servers.iter().map(|server| server.machine.me())
    }

    /// How many requests there were.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// How often a proposer was restarted.
    pub fn lives(&self) -> u64 {
        self.boots - self.proposers.len() as u64
    }

    /// Whether a server has a write that is not on its disk.
    pub fn is_syncing(&self, server: usize) -> bool {
        !self.servers[server].unsynced.is_empty()
    }

    /// Does it, and looks at what must hold.
    pub fn act(&mut self, action: Action) {
        let clocks: Vec<_> = self.servers.iter().map(|server| server.machine.clock()).collect();
        match action {
            Action::Request(proposer) => {
                self.floors.insert(self.requests, self.issued);
                self.proposers[proposer].0.request(self.requests).expect("few requests");
                self.requests += 1;
            }
            Action::Begin(proposer) => {
                let own = self.proposers[proposer].1;
                let (_, step) = self.proposers[proposer].0.begin(own, self.now);
                self.take(proposer, step);
            }
            Action::Hurry(proposer) => {
                self.now = NOW_MAX.min(self.now + HEARD_WITHIN);
                self.let_all_hear();
                if let Some(round) = self.proposers[proposer].0.oldest() {
                    let step = self.proposers[proposer].0.hurry(round, self.now);
                    self.take(proposer, step);
                }
            }
            Action::Again(proposer) => {
                if let Some(round) = self.proposers[proposer].0.oldest() {
                    let step = self.proposers[proposer].0.again(round);
                    self.take(proposer, step);
                }
            }
            Action::Deliver(message) => {
                self.messages.remove(&message);
                self.deliver(message);
            }
            Action::Double(message) => self.deliver(message),
            Action::Lose(message) => {
                self.messages.remove(&message);
            }
            Action::Mute(message) => {
                self.messages.remove(&message);
                let before = self.messages.clone();
                self.deliver(message);
                self.messages.retain(|one| !one.is_answer() || before.contains(one));
            }
            Action::Sync(at) => {
                let server = &mut self.servers[at];
                if let Some(record) = server.unsynced.pop_front() {
                    server.disk = record.clone();
                    server.machine.stored(record);
                    for message in std::mem::take(&mut server.waiting) {
                        self.deliver(message);
                    }
                }
            }
            Action::Extend(at) => {
                let server = &mut self.servers[at];
                server.unsynced.extend(server.machine.extension());
            }
            Action::RestartServer(at) => {
                let server = &mut self.servers[at];
                server.unsynced.clear();
                server.waiting.clear();
                server.machine = TimeServer::start(id(at), server.disk.clone());
            }
            Action::Wipe(at) => {
                // What it is without the bug is another server, which is there already.
                let server = &mut self.servers[at];
                server.unsynced.clear();
                server.waiting.clear();
                server.disk.bound = Block(0);
                server.machine = TimeServer::start(id(at), server.disk.clone());
                return;
            }
            Action::RestartProposer(at) => {
                self.boots += 1;
                let config = self.epochs.newest().clone();
                self.proposers[at].0 = Proposer::start(self.boots, config);
                if self.all_heard {
                    hear_all(&mut self.proposers[at].0, &self.servers, self.now);
                }
            }
            Action::BeginChange(members) => {
                self.epochs.begin(members).expect("members");
                self.changes.extend(Change::to_newest(&self.epochs, Block(0)));
            }
            Action::PushChange(at) => self.push(at),
            Action::Activate(at) => {
                let change = &self.changes[at];
                if change.step() == ChangeStep::Activate {
                    self.epochs.activate(change.target().epoch).ok();
                }
            }
            Action::Learn(at) => {
                let newest = self.epochs.newest().clone();
                let own = self.proposers[at].1;
                let steps = self.proposers[at].0.adopt(&newest, own, self.now);
                steps.into_iter().for_each(|step| self.take(at, step));
            }
        }
        self.prune();
        for (server, before) in self.servers.iter().zip(clocks) {
            if server.machine.clock() < before {
                self.broken = Some(format!("O1: a clock fell from {before:?}: {server:?}"));
            }
        }
    }

    /// Drops messages that change nothing now, and so nothing ever: answers to rounds that are over, and their ticks to
    /// servers whose clock is above.
    fn prune(&mut self) {
        let (servers, proposers, now) = (&self.servers, &self.proposers, self.now);
        let counts = |to: usize, from: usize, ask: &Ask, answer: &Answer| {
            let mut proposer = proposers[to].0.clone();
            // With the bug it may come to count in a later round of this life.
            if ask.boot != proposer.boot() && planted::active(Bug::EarlierLifeCounts) {
                return true;
            }
            let step = proposer.answered(id(from), *ask, answer.clone(), now);
            step != Step::None || proposer != proposers[to].0
        };
        self.messages.retain(|message| match message {
            Message::Answer { to, from, ask, answer } => counts(*to, *from, ask, answer),
            Message::Tick { to, from, ask } => {
                let server = &servers[*to].machine;
                let told = Answer::Ok { old: Block(0), physical: Block(0) };
                server.clock() < ask.tick.block || counts(*from, *to, ask, &told)
            }
            _ => true,
        });
    }

    fn push(&mut self, at: usize) {
        let config = self.changes[at].target().clone();
        match self.changes[at].step() {
            ChangeStep::Fence(members) => {
                let to = members.into_iter().map(index);
                let config = &config;
                let fences = to.map(|to| Message::Fence { to, change: at, config: config.clone() });
                self.messages.extend(fences);
            }
            ChangeStep::Seed(members, value) => {
                let to = members.into_iter().map(index);
                let config = &config;
                let seeds =
                    to.map(|to| Message::Seed { to, change: at, config: config.clone(), value });
                self.messages.extend(seeds);
            }
            // Nobody is lost for good here.
            ChangeStep::Gather | ChangeStep::Activate | ChangeStep::Superseded => {}
        }
    }

    fn deliver(&mut self, message: Message) {
        match message.clone() {
            Message::Tick { to, from, ask } => {
                let server = &mut self.servers[to];
                let outcome = server.machine.tick(ask.tick, server.physical);
                if let Some(answer) = self.outcome(to, message, outcome) {
                    self.messages.insert(Message::Answer { to: from, from: to, ask, answer });
                }
            }
            Message::Answer { to, from, ask, answer } => {
                let step = self.proposers[to].0.answered(id(from), ask, answer, self.now);
                self.take(to, step);
            }
            Message::Fence { to, change, config } => {
                let outcome = self.servers[to].machine.fence(&config);
                if let Some(answer) = self.outcome(to, message, outcome) {
                    self.messages.insert(Message::Fenced { change, from: to, answer });
                }
            }
            Message::Fenced { change, from, answer } => {
                self.changes[change].fenced(id(from), answer)
            }
            Message::Seed { to, change, config, value } => {
                let outcome = self.servers[to].machine.seed(&config, value);
                if let Some(answer) = self.outcome(to, message, outcome) {
                    self.messages.insert(Message::Seeded { change, from: to, answer });
                }
            }
            Message::Seeded { change, from, answer } => {
                self.changes[change].seeded(id(from), answer)
            }
        }
    }

    fn outcome<T>(&mut self, at: usize, message: Message, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Outcome::Answer(answer) => {
                // With the bug it stores behind its answer.
                if planted::active(Bug::TimeNotSynced) {
                    let server = &mut self.servers[at];
                    server.unsynced.extend(server.machine.extension());
                }
                Some(answer)
            }
            Outcome::Store(record) => {
                self.servers[at].unsynced.push_back(record);
                self.servers[at].waiting.insert(message);
                None
            }
        }
    }

    fn take(&mut self, proposer: usize, step: Step<Request>) {
        match step {
            Step::None | Step::Exhausted(_) => {}
            Step::Send(to, ask) => {
                let ticks =
                    to.into_iter().map(|to| Message::Tick { to: index(to), from: proposer, ask });
                self.messages.extend(ticks);
            }
            Step::Issue { batch, block, at_once } => {
                self.counted.blocks += 1;
                self.counted.at_once += u64::from(at_once);
                let config = self.proposers[proposer].0.config();
                let holds =
                    |member: &&ServerId| self.servers[index(**member)].machine.clock() >= block;
                let published = config.members.iter().filter(holds).count();
                if published < config.majority() {
                    self.broken =
                        Some(format!("O2: {block:?} is issued, and {published} servers hold it"));
                }
                for request in &batch {
                    let floor = self.floors.remove(request).expect("it was asked once");
                    if block <= floor {
                        self.broken = Some(format!(
                            "O3: request {request} is given {block:?}, and {floor:?} was issued before it"
                        ));
                    }
                }
                if block > self.wild_from {
                    self.broken = Some(format!("one wild server has carried time to {block:?}"));
                }
                self.issued = self.issued.max(block);
            }
        }
    }
}
