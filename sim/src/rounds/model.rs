//! Every schedule within bounds, by a model checker (stateright): breadth first, so that what it finds is as short as
//! can be.
//!
//! There are more schedules of three servers and three proposers with all faults than can be looked at. So there are
//! several [`Bounds`], each with one kind of fault, and clocks that all show the same: only the order of blocks
//! matters to O1, O2 and O3, and small numbers make many states equal. In some of them answers arrive at once or
//! never, which leaves far fewer schedules that differ in nothing else. Where the time that it is given does not
//! suffice for all of them, it says how deep it came: how many steps any schedule may have that it has looked at.

use std::{collections::BTreeSet, time::Duration};

use quintet_server::{
    planted::{self, Bug},
    time::oracle::{Block, ServerId, membership::Step},
};
use stateright::{Checker, Model, Property};

use super::world::{Action, World};

/// What may happen in a model, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What it is about.
    pub name: &'static str,
    /// Whether it is small enough for all of its schedules.
    pub is_whole: bool,
    servers: usize,
    members: usize,
    proposers: usize,
    /// Requests, of all proposers together; each is a round, or they share some.
    requests: u32,
    /// A round begins as soon as a request arrives, and is that request's alone.
    is_alone: bool,
    /// What a server answers arrives at once, or is lost. Most schedules are alike but for when answers arrive.
    is_prompt: bool,
    restarts: u32,
    /// Restarts of proposers.
    lives: u64,
    doubles: u32,
    /// Servers that take the place of those that begin, in this order.
    changes: &'static [&'static [u64]],
    extensions: u32,
    wipes: u32,
    /// The first server's clock stands far ahead of all others, and must not carry them along.
    is_wild: bool,
}

/// Where a wild server's clock stands; a proposer does not follow it half as far.
const WILD: u64 = 10_000_000;

const QUIET: Bounds = Bounds {
    name: "",
    is_whole: false,
    servers: 3,
    members: 3,
    proposers: 2,
    requests: 2,
    is_alone: true,
    is_prompt: false,
    restarts: 0,
    lives: 0,
    doubles: 0,
    changes: &[],
    extensions: 0,
    wipes: 0,
    is_wild: false,
};

impl Bounds {
    /// All models.
    pub fn all() -> Vec<Bounds> {
        let wipes = u32::from(planted::active(Bug::TimeServerReplacedInPlace));
        let prompt = Bounds { is_prompt: true, wipes, ..QUIET };
        let one = Bounds { servers: 1, members: 1, requests: 3, ..QUIET };
        let two = Bounds { servers: 2, members: 1, proposers: 1, ..prompt };
        vec![
            Bounds { name: "two rounds, prompt", is_whole: true, ..prompt },
            Bounds { name: "a wild server, prompt", is_whole: true, is_wild: true, ..prompt },
            Bounds { name: "one server, batches", is_whole: true, is_alone: false, ..one },
            Bounds { name: "one server, a proposer restarts", is_whole: true, lives: 1, ..one },
            Bounds { name: "the same server, twice", proposers: 2, changes: &[&[2], &[2]], ..two },
            Bounds { name: "one for another, and a restart", restarts: 1, changes: &[&[2]], ..two },
            Bounds { name: "three proposers, prompt", proposers: 3, requests: 3, ..prompt },
            Bounds { name: "three servers, a restart", restarts: 1, extensions: 1, ..prompt },
            Bounds { name: "three for three", servers: 4, changes: &[&[2, 3, 4]], ..prompt },
            Bounds {
                name: "others, twice",
                servers: 3,
                proposers: 2,
                changes: &[&[2], &[3]],
                ..two
            },
            Bounds { name: "two rounds", ..QUIET },
            Bounds { name: "three servers, a proposer restarts", proposers: 1, lives: 1, ..QUIET },
            Bounds { name: "a message is doubled", doubles: 1, ..QUIET },
        ]
    }
}

/// A state, and what of the bounds is used up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    world: World,
    restarts: u32,
    doubles: u32,
    extensions: u32,
    wipes: u32,
    changes: usize,
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let world = World::new(&vec![0; self.servers], self.members, &vec![0; self.proposers]);
        let mut world = world.with_all_heard();
        if self.is_wild {
            world = world.with_wild_server(0, WILD, Block(WILD / 2));
        }
        vec![State { world, restarts: 0, doubles: 0, extensions: 0, wipes: 0, changes: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let world = &state.world;
        if world.broken.is_some() {
            return;
        }
        for (at, (proposer, _)) in world.proposers.iter().enumerate() {
            actions.extend((world.requests() < self.requests).then_some(Action::Request(at)));
            actions.extend((proposer.waiting() > 0).then_some(Action::Begin(at)));
            actions.extend((world.lives() < self.lives).then_some(Action::RestartProposer(at)));
            let is_behind = proposer.config().epoch < world.epochs.newest().epoch;
            actions.extend(is_behind.then_some(Action::Learn(at)));
        }
        for message in &world.messages {
            actions.push(Action::Deliver(message.clone()));
            actions.extend(self.is_prompt.then(|| Action::Mute(message.clone())));
            actions.extend((state.doubles < self.doubles).then(|| Action::Double(message.clone())));
        }
        for at in 0..self.servers {
            actions.extend(world.is_syncing(at).then_some(Action::Sync(at)));
            actions.extend((state.restarts < self.restarts).then_some(Action::RestartServer(at)));
            actions.extend((state.extensions < self.extensions).then_some(Action::Extend(at)));
            actions.extend((state.wipes < self.wipes).then_some(Action::Wipe(at)));
        }
        if let Some(members) = self.changes.get(state.changes) {
            let members: BTreeSet<_> = members.iter().copied().map(ServerId).collect();
            actions.push(Action::BeginChange(members));
        }
        for (at, change) in world.changes.iter().enumerate() {
            match change.step() {
                Step::Fence(_) | Step::Seed(..) => actions.push(Action::PushChange(at)),
                Step::Activate => actions.push(Action::Activate(at)),
                // Nobody is lost for good here.
                Step::Gather | Step::Superseded => {}
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match &action {
            Action::RestartServer(_) => next.restarts += 1,
            Action::Double(_) => next.doubles += 1,
            Action::Extend(_) => next.extensions += 1,
            Action::Wipe(_) => next.wipes += 1,
            Action::BeginChange(_) => next.changes += 1,
            _ => {}
        }
        next.world.act(action.clone());
        if let (Action::Request(at), true) = (&action, self.is_alone) {
            next.world.act(Action::Begin(*at));
        }
        while self.is_prompt && next.world.broken.is_none() {
            let Some(answer) = next.world.messages.iter().find(|one| one.is_answer()) else {
                break;
            };
            next.world.act(Action::Deliver(answer.clone()));
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Bounds>> {
        vec![Property::always("O1, O2 and O3", |_, state: &State| state.world.broken.is_none())]
    }
}

/// What became of a model.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Different states.
    pub states: usize,
    /// Steps of the longest schedule that was looked at.
    pub depth: usize,
    /// Whether those were all.
    pub is_complete: bool,
    /// What was broken, and by which steps.
    pub broken: Option<(String, Vec<String>)>,
}

/// Checks a model for as long as it takes, or this long. With one thread stateright would heed no timeout.
pub fn check(bounds: &Bounds, within: Duration, threads: usize) -> Checked {
    let started = std::time::Instant::now();
    let checker = (*bounds).checker().threads(threads.max(2)).timeout(within).spawn_bfs().join();
    let broken = checker.discoveries().into_values().next().map(|path| {
        let what = path.last_state().world.broken.clone().unwrap_or_default();
        let steps = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        (what, steps)
    });
    Checked {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        is_complete: started.elapsed() < within,
        broken,
    }
}
