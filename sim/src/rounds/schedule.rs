//! Random schedules: what happens next is drawn from a seed's dice, over and over.
//!
//! A seed draws the servers, their clocks and the proposers, too, and its [`Mood`].

use std::collections::BTreeSet;

use quintet_server::{
    planted::{self, Bug},
    time::oracle::{Block, ServerId},
};

use super::world::{Action, Counted, World};
use crate::dice::Dice;

/// Microseconds.
const HOUR: u64 = 3_600_000_000;
/// What right clocks show, to begin with.
const NOW: u64 = 10 * HOUR;
/// Steps of a world that begins anew every now and then.
const WORLD_STEPS: usize = 200;
/// Messages under way, above which one is lost in each step.
const MESSAGES_MAX: usize = 60;

/// What a seed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// All clocks agree but one server's, which stands an hour ahead, and no server fails: no block may come near that
    /// hour.
    Wild,
    /// Proposers are restarted again and again, and the world begins anew every now and then: a proposer says in a
    /// later life what it said in an earlier one mostly at the beginning of time.
    Restless,
    /// Sets of servers are changed again and again.
    Changing,
    /// Each set is one server, and the next change is begun before the one before it is done: an old set is left behind
    /// that nobody of a newer one knows.
    Handing,
}

/// What a schedule came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The step and what was broken in it.
    pub broken: Option<(usize, String)>,
    /// Blocks that were issued.
    pub issued: Counted,
    /// How many epochs later the active one is than the first.
    pub changes: u64,
}

/// Runs a seed's schedule of this many steps.
pub fn run(seed: u64, steps: usize) -> Report {
    let mut dice = Dice::new(seed, 0);
    // The mood in which least comes of a schedule twice.
    let moods = [Mood::Wild, Mood::Restless, Mood::Changing, Mood::Changing, Mood::Handing];
    let mood = dice.pick(&moods).unwrap_or(Mood::Wild);
    let mut world = born(&mut dice, mood);
    let mut report = Report::default();
    for step in 0..steps {
        if matches!(mood, Mood::Restless | Mood::Handing) && step % WORLD_STEPS == 0 {
            report.add(&Report::of(&world));
            world = born(&mut dice, mood);
        }
        if let Some(action) = next(&mut dice, &world, mood) {
            world.act(action);
        }
        if let Some(what) = &world.broken {
            report.broken = Some((step, what.clone()));
            break;
        }
    }
    report.add(&Report::of(&world));
    report
}

impl Report {
    /// Adds what another schedule came to; not what broke in it.
    pub fn add(&mut self, other: &Report) {
        self.issued.blocks += other.issued.blocks;
        self.issued.at_once += other.issued.at_once;
        self.changes += other.changes;
    }

    fn of(world: &World) -> Report {
        Report { broken: None, issued: world.counted, changes: world.epochs.active.epoch.0 - 1 }
    }
}

fn born(dice: &mut Dice, mood: Mood) -> World {
    let is_wild = mood == Mood::Wild;
    let members = match dice.one_in(2) {
        _ if mood == Mood::Handing => 1,
        true => 3,
        false => 5,
    };
    let servers = members + index(dice, 3) + if mood == Mood::Handing { 2 } else { 0 };
    let mut clock = || match dice.between(0, 3) {
        _ if is_wild => NOW + dice.between(0, 2_000),
        0 => NOW + HOUR,
        1 => NOW - HOUR,
        _ => NOW + dice.between(0, 2_000),
    };
    let servers: Vec<_> = (0..servers).map(|_| clock()).collect();
    let proposers: Vec<_> = (0..3).map(|_| clock()).collect();
    let mut world = World::new(&servers, members, &proposers);
    if dice.one_in(2) {
        world = world.with_all_heard();
    }
    if is_wild { world.with_wild_server(0, NOW + HOUR, Block(NOW + HOUR / 2)) } else { world }
}

/// A number below `of`.
fn index(dice: &mut Dice, of: usize) -> usize {
    dice.between(0, of.saturating_sub(1) as u64) as usize
}

fn next(dice: &mut Dice, world: &World, mood: Mood) -> Option<Action> {
    let (is_wild, is_restless) = (mood == Mood::Wild, mood == Mood::Restless);
    let proposer = index(dice, world.proposers.len());
    let server = index(dice, world.servers.len());
    let change = index(dice, world.changes.len());
    let is_changing = !world.changes.is_empty();
    let message = world.messages.iter().nth(index(dice, world.messages.len())).cloned();
    if world.messages.len() > MESSAGES_MAX {
        return message.map(Action::Lose);
    }
    let may_begin = world.proposers.get(proposer).is_some_and(|(machine, _)| machine.may_begin());
    match dice.between(0, 99) {
        0..=7 => Some(Action::Request(proposer)),
        8..=14 => may_begin.then_some(Action::Begin(proposer)),
        15..=66 => message.map(Action::Deliver),
        67..=70 => message.map(Action::Double),
        71..=72 => message.map(Action::Lose),
        73..=82 => Some(Action::Sync(server)),
        83..=84 => Some(Action::Extend(server)),
        85 => Some(Action::Again(proposer)),
        87 => (!is_wild).then_some(Action::Hurry(proposer)),
        88 => (!is_wild).then_some(Action::RestartServer(server)),
        86 | 89 => Some(Action::RestartProposer(proposer)),
        90..=96 if is_restless && dice.one_in(3) => Some(Action::RestartProposer(proposer)),
        90..=92 if mood == Mood::Handing => {
            Some(Action::BeginChange(world.ids().skip(server).take(1).collect()))
        }
        90 if is_wild => None,
        90 => Some(Action::BeginChange(members(dice, world))).filter(|_| dice.one_in(2)),
        91..=94 => is_changing.then_some(Action::PushChange(change)),
        95..=96 => is_changing.then_some(Action::Activate(change)),
        97..=98 => Some(Action::Learn(proposer)),
        _ => planted::active(Bug::TimeServerReplacedInPlace).then_some(Action::Wipe(server)),
    }
}

/// Another set of servers: at least one.
fn members(dice: &mut Dice, world: &World) -> BTreeSet<ServerId> {
    let mut members: BTreeSet<_> = world.ids().filter(|_| !dice.one_in(3)).collect();
    members.extend(world.ids().next());
    members
}
