//! The story as Quintet has it: a client goes its way to R2, and the leader takes the timestamp once the write has its
//! key to itself.
//!
//! The proposer and the time servers are those that nodes run (`time/oracle/`). Here they are driven in virtual time: a
//! message is there after its way, a record is on disk after a millisecond. Of R2's leader there is what the story
//! needs: one latch, and the guard that a get waits for (`range/guards.rs`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use quintet_server::time::oracle::{
    Block, Config, Epoch, ServerId,
    proposer::{Ask, Proposer, RoundId, Step},
    server::{Answer, Outcome, Record, TimeServer},
};

use super::{
    numbers::{LEADER, Numbers, SERVERS, Us},
    resource::{Commit, Telling, Who, ms},
};

/// How long a record takes to be on disk.
const SYNC: Us = 1_000;
/// The proposer runs a round as often, asked for or not: it hears all clocks by that.
const IDLE: Us = 100_000;
/// When the proposer begins. What is before the story is not told.
const BEGINS: Us = 300_000;
/// When the last round begins that nobody asked for.
const IDLE_UNTIL: Us = 500_000;

/// Something that will happen.
enum Next {
    /// A round that nobody asked for begins.
    Idle,
    SetsOut(Who),
    Arrives(Who),
    Tick(usize, Ask),
    Answered(usize, Ask, Answer),
    Stored(usize, Record),
    Told(Commit),
    Look,
    Get,
}

struct World<'a> {
    numbers: &'a Numbers,
    now: Us,
    /// By when, and in which order it was planned.
    to_come: BTreeMap<(Us, u64), Next>,
    planned: u64,
    servers: Vec<TimeServer>,
    /// Messages that wait for a record of their server.
    unstored: Vec<(usize, Ask)>,
    proposer: Proposer<Who>,
    /// The round that was begun last, and whose clocks are at or above which block for it, in this order.
    round: RoundId,
    answered: Vec<(usize, Block)>,
    /// Who has R2 to itself: its guard is up.
    latched: Option<Who>,
    queued: VecDeque<Who>,
    gets_wait: bool,
    run: Telling,
}

/// Runs it.
pub(super) fn run(numbers: &Numbers) -> Telling {
    let members = (0..SERVERS).map(id).collect();
    let config = Config { epoch: Epoch(1), members };
    let server = |number: usize| {
        let record = Record { config: config.clone(), seeded: true, bound: Block(BEGINS) };
        TimeServer::start(id(number), record)
    };
    let mut world = World {
        numbers,
        now: 0,
        to_come: BTreeMap::new(),
        planned: 0,
        servers: (0..SERVERS).map(server).collect(),
        unstored: Vec::new(),
        proposer: Proposer::start(1, config.clone()),
        round: 0,
        answered: Vec::new(),
        latched: None,
        queued: VecDeque::new(),
        gets_wait: false,
        run: Telling::default(),
    };
    (BEGINS..=IDLE_UNTIL)
        .step_by(usize::try_from(IDLE).unwrap_or(1))
        .for_each(|at| world.plan(at, Next::Idle));
    let (c1, a1) = numbers.set_out();
    world.plan(c1, Next::SetsOut("C1"));
    world.plan(a1, Next::SetsOut("A1"));
    numbers.looks().into_iter().for_each(|at| world.plan(at, Next::Look));
    world.plan(numbers.gets(), Next::Get);
    while let Some(((at, _), next)) = world.to_come.pop_first() {
        world.now = at;
        world.happen(next);
    }
    world.run
}

fn id(server: usize) -> ServerId {
    ServerId(server as u64 + 1)
}

impl World<'_> {
    fn plan(&mut self, at: Us, next: Next) {
        self.planned += 1;
        self.to_come.insert((at, self.planned), next);
    }

    fn tell(&mut self, words: impl Into<String>) {
        self.run.tell(self.now, words);
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    fn happen(&mut self, next: Next) {
        let (arrives_c1, arrives_a1) = self.numbers.arrive();
        match next {
            Next::Idle => self.begin(),
            Next::SetsOut(who) => {
                self.tell(format!("{who} writes, without a timestamp"));
                let at = if who == "C1" { arrives_c1 } else { arrives_a1 };
                self.plan(at, Next::Arrives(who));
            }
            Next::Arrives(who) if self.latched.is_some() => self.queued.push_back(who),
            Next::Arrives(who) => self.latch(who),
            Next::Tick(to, ask) => self.tick(to, ask),
            Next::Answered(from, ask, answer) => {
                if ask.round == self.round && matches!(answer, Answer::Ok { .. }) {
                    self.answered.push((from, ask.tick.block));
                }
                let step = self.proposer.answered(id(from), ask, answer, self.monotonic());
                self.take(step);
            }
            Next::Stored(at, record) => {
                if let Some(server) = self.servers.get_mut(at) {
                    server.stored(record);
                }
                let waited = std::mem::take(&mut self.unstored);
                let (answered, later): (Vec<_>, Vec<_>) =
                    waited.into_iter().partition(|(server, _)| *server == at);
                self.unstored = later;
                answered.into_iter().for_each(|(to, ask)| self.tick(to, ask));
            }
            Next::Told(commit) => {
                self.tell(format!("{} is told: done, at {}", commit.who, ms(commit.at)));
            }
            // The moment is published, and below whatever is under way.
            Next::Look => self.run.look(self.now, self.numbers.moment()),
            Next::Get => match self.latched {
                Some(who) => {
                    self.gets_wait = true;
                    self.tell(format!("who reads the newest waits for {who}'s write"));
                }
                None => self.run.get(self.now),
            },
        }
    }

    /// A write has R2 to itself, and asks for its timestamp.
    fn latch(&mut self, who: Who) {
        self.latched = Some(who);
        self.tell(format!("R2 has {who}'s request: latch, guard, round"));
        // There is room: nobody else asks.
        self.proposer.request(who).ok();
        self.begin();
    }

    /// A round begins for whoever waits.
    fn begin(&mut self) {
        if !self.proposer.may_begin() {
            return;
        }
        self.answered.clear();
        let own = Block(self.numbers.clock(LEADER, self.now));
        let (round, step) = self.proposer.begin(own, self.monotonic());
        self.round = round;
        self.take(step);
    }

    fn take(&mut self, step: Step<Who>) {
        match step {
            Step::None | Step::Exhausted(_) => {}
            Step::Send(to, ask) => {
                if self.latched.is_some() {
                    let phase = if ask.tick.write_back { "written back" } else { "begins" };
                    self.tell(format!(
                        "block {} {phase}: to time servers n1 .. n5",
                        ms(ask.tick.block.0)
                    ));
                }
                for server in to {
                    let at = usize::try_from(server.0 - 1).unwrap_or(0);
                    let way = self.numbers.to_server.get(at).copied().unwrap_or(0);
                    self.plan(self.now + way, Next::Tick(at, ask));
                }
            }
            Step::Issue { batch, block, at_once } => batch.into_iter().for_each(|who| {
                self.issue(who, block, if at_once { "one trip" } else { "two trips" })
            }),
        }
    }

    /// A time server is asked, and answers once what it promises is on its disk.
    fn tick(&mut self, to: usize, ask: Ask) {
        let physical = Block(self.numbers.clock(to, self.now));
        let Some(server) = self.servers.get_mut(to) else { return };
        let (answer, record) = match server.tick(ask.tick, physical) {
            Outcome::Answer(answer) => (Some(answer), server.extension()),
            Outcome::Store(record) => (None, Some(record)),
        };
        if let Some(record) = record {
            self.plan(self.now + SYNC, Next::Stored(to, record));
        }
        match answer {
            Some(answer) => {
                let way = self.numbers.to_server.get(to).copied().unwrap_or(0);
                self.plan(self.now + way, Next::Answered(to, ask, answer));
            }
            None => self.unstored.push((to, ask)),
        }
    }

    /// A write has its timestamp: it is done, and its guard goes down.
    fn issue(&mut self, who: Who, block: Block, trips: &str) {
        let holds = self.answered.iter().filter(|(_, held)| *held == block);
        let holds: Vec<_> = holds.map(|(from, _)| format!("n{}", from + 1)).collect();
        self.tell(format!("{} hold it: {} is issued, {trips}", holds.join(" "), ms(block.0)));
        let commit = Commit { who, at: block.0 };
        self.run.apply(self.now, commit);
        let [.., back] = if who == "C1" { self.numbers.c1_ways } else { self.numbers.a1_ways };
        self.plan(self.now + back, Next::Told(commit));
        self.latched = None;
        if std::mem::take(&mut self.gets_wait) {
            self.run.get(self.now);
        }
        if let Some(next) = self.queued.pop_front() {
            self.latch(next);
        }
    }
}
