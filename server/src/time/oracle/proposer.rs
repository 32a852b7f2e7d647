//! A proposer: rounds that decide blocks, several of them under way at a time.
//!
//! ```text
//!   begin      p := max(physical clocks' word, last proposed + 1); tick(p) to all servers
//!   first      a majority answers Ok with old < p                      -> p is issued: one round trip
//!   else       a majority has answered, take the majority that told the smallest values
//!   second     p' := max(those values, the median of physical clocks) + 1; tick(p', write back) to all
//!              a majority answers Ok, whatever its clock was before     -> p' is issued: two round trips
//! ```
//!
//! The second phase makes every round end: a rule "again, where a clock was higher" is as safe, and two proposers
//! could outbid each other with it for ever. It takes the smallest values that a majority told, because one server
//! that is an hour ahead would else carry all others with it; where even those are far above what physical clocks
//! show, or where clocks that were heard first would move time far, it waits a moment for the other servers
//! ([`Proposer::hurry`]). Answers to the first phase count also when the
//! second has begun: whichever ends first decides.
//!
//! A round's requests must have arrived before [`Proposer::begin`] is called for it: that is its caller's to see to,
//! and what O3 rests on.
//!
//! # Invariants
//!
//! * An answer counts for the very message that it answers: the same life of the proposer, epoch, round, phase and
//!   block ([`Ask`]; checked in [`Proposer::answered`]).
//! * A block is issued in the epoch in which it was begun, by servers of that epoch only. Where a newer epoch is known,
//!   rounds begin anew there.
//!
//! # On a crash
//!
//! Nothing is kept. The next life is another `boot`, and answers to this one's messages count for nothing.

use std::{collections::BTreeMap, time::Duration};

use super::{
    AHEAD, Block, Config, ServerId,
    report::Reports,
    server::{Answer, Tick},
};
use crate::planted::{self, Bug};

/// Rounds of a proposer that are under way at a time.
pub const ROUNDS_MAX: usize = 6;
/// Requests that may wait for a round to begin.
pub const WAITING_MAX: usize = 65_536;

/// A round of a proposer's life.
pub type RoundId = u64;

/// A message of a round; its answer carries the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// The proposer's life.
    pub boot: u64,
    /// Which of its rounds.
    pub round: RoundId,
    /// Epoch, block and phase.
    pub tick: Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<W> {
    /// Nothing.
    None,
    /// To send this to all these servers.
    Send(Vec<ServerId>, Ask),
    /// A round has decided this block, in one phase or in two.
    Issue {
        /// Who waited for it.
        batch: Vec<W>,
        /// The block: its 4,096 timestamps are theirs.
        block: Block,
        /// Whether it took one round trip.
        at_once: bool,
    },
    /// There is no block left above what servers have told, time has reached its end: these wait in vain.
    Exhausted(Vec<W>),
}

/// One phase of a round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Phase {
    block: Block,
    /// What servers told that their clocks were: with `Ok`, or without.
    told: BTreeMap<ServerId, (bool, Block)>,
}

impl Phase {
    fn of(block: Block) -> Phase {
        Phase { block, told: BTreeMap::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round<W> {
    began: Duration,
    first: Phase,
    second: Option<Phase>,
    /// Who waits for it: closed before the first message was sent.
    batch: Vec<W>,
}

/// A proposer. See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer<W> {
    boot: u64,
    config: Config,
    /// The highest block that it has proposed.
    proposed: Block,
    next: RoundId,
    /// Requests that have arrived and belong to no round yet; bounded by [`WAITING_MAX`].
    waiting: Vec<W>,
    /// Bounded by [`ROUNDS_MAX`].
    rounds: BTreeMap<RoundId, Round<W>>,
    reports: Reports,
}

impl<W> Proposer<W> {
    /// A proposer's new life; `boot` was never that of an earlier one.
    pub fn start(boot: u64, config: Config) -> Proposer<W> {
        Proposer {
            boot,
            config,
            proposed: Block::default(),
            next: 1,
            waiting: Vec::new(),
            rounds: BTreeMap::new(),
            reports: Reports::default(),
        }
    }

    /// Which life of the proposer this is.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The set of servers that it asks.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The oldest round that is under way.
    pub fn oldest(&self) -> Option<RoundId> {
        self.rounds.first_key_value().map(|(round, _)| *round)
    }

    /// Whether another round may begin: not too many are under way.
    pub fn may_begin(&self) -> bool {
        self.rounds.len() < ROUNDS_MAX
    }

    /// A request arrives. It belongs to the next round that begins. `Err`: too many wait, and it is given back.
    pub fn request(&mut self, who: W) -> Result<(), W> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(who);
        }
        // The careless hand: "it is in time for the round that is on its way".
        if planted::active(Bug::RequestJoinsSentRound)
            && let Some(mut round) = self.rounds.last_entry()
        {
            round.get_mut().batch.push(who);
            return Ok(());
        }
        self.waiting.push(who);
        Ok(())
    }

    /// How many requests wait for a round to begin.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A server says what its physical clock shows; heeded where it is a member.
    pub fn hear(&mut self, from: ServerId, physical: Block, now: Duration) {
        if self.config.members.contains(&from) {
            self.reports.hear(from, physical, &self.config, now);
        }
    }

    /// Begins a round for the requests that have arrived, where it may. `own` is this node's physical clock, `now` its
    /// monotonic clock.
    pub fn begin(&mut self, own: Block, now: Duration) -> (RoundId, Step<W>) {
        assert!(self.may_begin(), "{ROUNDS_MAX} rounds are under way, and another is begun");
        let round = self.next;
        self.next += 1;
        let batch = std::mem::take(&mut self.waiting);
        let first = Phase::of(self.propose(own, now));
        self.rounds.insert(round, Round { began: now, first, second: None, batch });
        (round, self.again(round))
    }

    fn propose(&mut self, own: Block, now: Duration) -> Block {
        let after = self.proposed.next();
        let supported = self.reports.supported(own, &self.config, now);
        let supported =
            supported.filter(|block| *block <= after.plus(AHEAD) || self.may_move_far(now));
        self.proposed = supported.unwrap_or(after).max(after);
        self.proposed
    }

    /// Whether the clocks that were heard may move time far: they are not only those that were heard first.
    fn may_move_far(&self, now: Duration) -> bool {
        // The careless hand: "a majority is a majority".
        self.reports.are_settled(&self.config, now) || planted::active(Bug::FirstClocksBelieved)
    }

    /// What a round waits for, to be sent to those that have not answered; nothing where it is over.
    pub fn again(&self, round: RoundId) -> Step<W> {
        let Some(under_way) = self.rounds.get(&round) else { return Step::None };
        let (phase, write_back) = match &under_way.second {
            Some(second) => (second, true),
            None => (&under_way.first, false),
        };
        let members = self.config.members.iter().copied();
        let left: Vec<_> = members.filter(|member| !phase.told.contains_key(member)).collect();
        if left.is_empty() {
            return Step::None;
        }
        let tick = Tick { epoch: self.config.epoch, block: phase.block, write_back };
        Step::Send(left, Ask { boot: self.boot, round, tick })
    }

    /// A server has answered.
    pub fn answered(&mut self, from: ServerId, ask: Ask, answer: Answer, now: Duration) -> Step<W> {
        // The careless hand: "round and block are enough to know it by".
        let is_ours = ask.boot == self.boot || planted::active(Bug::EarlierLifeCounts);
        if !is_ours || !self.config.members.contains(&from) {
            return Step::None;
        }
        let (ok, value) = match answer {
            // Whoever drives this hands a newer set to `adopt`, which begins rounds anew. A member that is not seeded
            // yet has a clock, too: those of a new set settle as soon as all are heard.
            Answer::WrongEpoch { physical, .. } => {
                self.reports.hear(from, physical, &self.config, now);
                return self.decide(ask.round, now, false);
            }
            Answer::Ok { old, physical } => {
                self.reports.hear(from, physical, &self.config, now);
                (true, old)
            }
            Answer::TooFar { clock, physical } => {
                self.reports.hear(from, physical, &self.config, now);
                (false, clock)
            }
        };
        if ask.tick.epoch != self.config.epoch && !planted::active(Bug::EarlierAttemptCounts) {
            return Step::None;
        }
        let Some(round) = self.rounds.get_mut(&ask.round) else { return Step::None };
        let phase = match (ask.tick.write_back, &mut round.second) {
            (false, _) => &mut round.first,
            (true, Some(second)) => second,
            (true, None) => return Step::None,
        };
        if phase.block != ask.tick.block {
            return Step::None;
        }
        phase.told.entry(from).or_insert((ok, value));
        self.decide(ask.round, now, false)
    }

    /// A round has waited long enough for servers that tell of a time that clocks bear out.
    pub fn hurry(&mut self, round: RoundId, now: Duration) -> Step<W> {
        self.decide(round, now, true)
    }

    /// A set of servers is known; it is that of all rounds from now on where it is newer. What is to be sent again.
    pub fn adopt(&mut self, config: &Config, own: Block, now: Duration) -> Vec<Step<W>> {
        if config.epoch <= self.config.epoch {
            return Vec::new();
        }
        self.config = config.clone();
        self.reports.keep(config, now);
        let open: Vec<_> = self.rounds.keys().copied().collect();
        for id in &open {
            let block = self.propose(own, now);
            let Some(round) = self.rounds.get_mut(id) else { continue };
            // The careless hand: "what was answered was answered".
            if planted::active(Bug::EarlierAttemptCounts) {
                continue;
            }
            (round.began, round.first, round.second) = (now, Phase::of(block), None);
        }
        open.into_iter().map(|round| self.again(round)).collect()
    }

    fn decide(&mut self, id: RoundId, now: Duration, hurry: bool) -> Step<W> {
        let (majority, may_move_far) = (self.config.majority(), self.may_move_far(now));
        let Some(round) = self.rounds.get_mut(&id) else { return Step::None };
        let (first, second) = (&round.first, &round.second);
        let median = self.reports.median(&self.config, now);
        // How long a round takes is no lag of what it proposed.
        let lag = AHEAD + now.saturating_sub(round.began);
        let is_far_above = |block: Block| median.is_some_and(|median| median > block.plus(lag));
        let fresh = first.told.values().filter(|(ok, old)| *ok && *old < first.block).count();
        if fresh >= majority && !is_far_above(first.block) {
            let block = first.block;
            return self.issue(id, block, true);
        }
        if let Some(second) = second {
            let published = second.told.values().filter(|(ok, _)| *ok).count();
            if published >= majority {
                let block = second.block;
                return self.issue(id, block, false);
            }
            return Step::None;
        }
        if first.told.len() < majority {
            return Step::None;
        }
        let mut values: Vec<_> = first.told.values().map(|(_, value)| *value).collect();
        values.sort_unstable();
        // The largest of the smallest values that a majority told.
        // The careless hand: "the highest is the safest".
        let nth = if planted::active(Bug::LargestTimeTaken) { values.len() } else { majority } - 1;
        let told = values.get(nth).copied().unwrap_or(Block::MAX);
        // A server whose clock is far ahead of what clocks show had better not be one of the majority.
        let is_wild = median.is_some_and(|median| told > median.plus(AHEAD).max(first.block));
        if is_wild && !hurry && first.told.len() < self.config.members.len() {
            return Step::None;
        }
        // Those that were heard first are not believed, however long the others take.
        if is_far_above(told) && !may_move_far {
            return Step::None;
        }
        let highest = told.max(median.unwrap_or_default());
        if highest >= Block::MAX {
            let over = self.rounds.remove(&id);
            return Step::Exhausted(over.map(|round| round.batch).unwrap_or_default());
        }
        let block = highest.next();
        // The careless hand: "it is above all that they told".
        if planted::active(Bug::TimeNotWrittenBack) {
            return self.issue(id, block, true);
        }
        round.second = Some(Phase::of(block));
        self.proposed = self.proposed.max(block);
        self.again(id)
    }

    fn issue(&mut self, round: RoundId, block: Block, at_once: bool) -> Step<W> {
        let over = self.rounds.remove(&round);
        let mut batch = over.map(|round| round.batch).unwrap_or_default();
        // The careless hand: "there are 4,096 of them, and few are taken".
        if planted::active(Bug::OldBlockIssued) {
            batch.append(&mut self.waiting);
        }
        Step::Issue { batch, block, at_once }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::oracle::{Epoch, HEARD_WITHIN};

    const NOW: Duration = Duration::ZERO;
    /// What physical clocks show.
    const CLOCK: Block = Block(1_000_000);

    fn config(epoch: u64) -> Config {
        Config { epoch: Epoch(epoch), members: (1..=5).map(ServerId).collect() }
    }

    fn proposer() -> Proposer<char> {
        let mut proposer = Proposer::start(1, config(1));
        (1..=5).for_each(|id| proposer.hear(ServerId(id), CLOCK, NOW));
        proposer
    }

    fn begin(proposer: &mut Proposer<char>) -> Ask {
        match proposer.begin(CLOCK, NOW).1 {
            Step::Send(to, ask) if to.len() == 5 => ask,
            other => panic!("{other:?}"),
        }
    }

    fn tell(proposer: &mut Proposer<char>, from: u64, ask: Ask, old: u64) -> Step<char> {
        let answer = Answer::Ok { old: Block(old), physical: CLOCK };
        proposer.answered(ServerId(from), ask, answer, NOW)
    }

    fn issue(batch: &[char], block: u64, at_once: bool) -> Step<char> {
        Step::Issue { batch: batch.to_vec(), block: Block(block), at_once }
    }

    #[test]
    fn a_majority_of_lower_clocks_decides_in_one_round_trip() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        proposer.request('b').expect("room");
        assert_eq!(ask.tick.block, CLOCK);
        assert_eq!(tell(&mut proposer, 1, ask, 5), Step::None);
        assert_eq!(tell(&mut proposer, 1, ask, 5), Step::None, "it counts once");
        assert_eq!(tell(&mut proposer, 2, ask, 6), Step::None);
        assert_eq!(tell(&mut proposer, 3, ask, 7), issue(&['a'], CLOCK.0, true));
        assert_eq!(tell(&mut proposer, 4, ask, 7), Step::None, "it is over");
        let second = begin(&mut proposer);
        assert_eq!(second.tick.block, CLOCK.next(), "above what it has proposed");
    }

    #[test]
    fn higher_clocks_are_written_back_above_what_a_majority_told() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        let (higher, highest) = (CLOCK.0 + 10, CLOCK.0 + 90);
        assert_eq!(tell(&mut proposer, 1, ask, higher), Step::None);
        assert_eq!(tell(&mut proposer, 2, ask, highest), Step::None);
        let Step::Send(_, second) = tell(&mut proposer, 3, ask, 1) else { panic!("two phases") };
        assert_eq!((second.tick.block.0, second.tick.write_back), (highest + 1, true));
        for from in [1, 4] {
            assert_eq!(tell(&mut proposer, from, second, highest + 7), Step::None);
        }
        assert_eq!(tell(&mut proposer, 5, second, 0), issue(&['a'], highest + 1, false));
    }

    #[test]
    fn late_answers_to_the_first_phase_decide_too() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        tell(&mut proposer, 1, ask, CLOCK.0 + 10);
        tell(&mut proposer, 2, ask, 1);
        assert!(matches!(tell(&mut proposer, 3, ask, 1), Step::Send(..)));
        assert_eq!(tell(&mut proposer, 4, ask, 1), issue(&['a'], CLOCK.0, true));
    }

    #[test]
    fn a_wild_server_is_no_part_of_the_majority_where_there_is_another() {
        let hour = 3_600_000_000;
        for is_alone in [false, true] {
            let mut proposer = proposer();
            proposer.request('a').expect("room");
            let ask = begin(&mut proposer);
            tell(&mut proposer, 1, ask, CLOCK.0 + hour);
            tell(&mut proposer, 2, ask, CLOCK.0 + 3);
            assert_eq!(tell(&mut proposer, 3, ask, CLOCK.0 + 2), Step::None, "it waits for others");
            let (step, block) = match is_alone {
                true => (proposer.hurry(ask.round, NOW), CLOCK.0 + hour + 1),
                false => (tell(&mut proposer, 4, ask, CLOCK.0 + 1), CLOCK.0 + 4),
            };
            let Step::Send(_, second) = step else { panic!("{step:?}") };
            assert_eq!(second.tick.block.0, block);
        }
    }

    #[test]
    fn clocks_that_are_heard_first_carry_time_nowhere_before_the_others_are_heard() {
        let hour = Duration::from_secs(3_600);
        let answer = |physical| Answer::Ok { old: Block(CLOCK.0 - 5), physical };
        for is_alone in [false, true] {
            // It has just begun, in the city with the two wild clocks.
            let mut proposer: Proposer<char> = Proposer::start(1, config(1));
            proposer.request('a').expect("room");
            let ask = begin(&mut proposer);
            for from in [4, 5] {
                let step = proposer.answered(ServerId(from), ask, answer(CLOCK.plus(hour)), NOW);
                assert_eq!(step, Step::None);
            }
            let step = proposer.answered(ServerId(1), ask, answer(CLOCK), NOW);
            assert_eq!(step, Step::None, "most of these are wild");
            // The wild ones are not believed for that the others are slow, and are where these do not come.
            assert_eq!(proposer.hurry(ask.round, HEARD_WITHIN / 2), Step::None);
            let (step, block) = match is_alone {
                true => {
                    (proposer.hurry(ask.round, HEARD_WITHIN), CLOCK.plus(hour).plus(HEARD_WITHIN))
                }
                false => (proposer.answered(ServerId(2), ask, answer(CLOCK), NOW), CLOCK),
            };
            let Step::Send(_, second) = step else { panic!("{step:?}") };
            assert_eq!(second.tick.block, block.next());
        }
    }

    /// Where reports counted for less than somebody waits for a round, those of its first answers did no more when the
    /// last one came.
    #[test]
    fn what_was_heard_in_a_round_counts_for_as_long_as_anybody_waits_for_it() {
        let (later, waited) = (Duration::from_secs(60), Duration::from_millis(1_499));
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let shows = CLOCK.plus(later);
        let (_, Step::Send(_, ask)) = proposer.begin(shows, later) else { panic!("sent") };
        let answer = Answer::Ok { old: Block(0), physical: shows };
        for from in [1, 2] {
            let step = proposer.answered(ServerId(from), ask, answer.clone(), later);
            assert_eq!(step, Step::None);
        }
        let step = proposer.answered(ServerId(3), ask, answer, later + waited);
        assert_eq!(step, Step::None, "these three were heard first");
        let step = proposer.hurry(ask.round, later + waited + HEARD_WITHIN);
        let Step::Send(_, second) = step else { panic!("{step:?}") };
        assert!(second.tick.write_back && second.tick.block > shows, "{second:?}");
    }

    #[test]
    fn where_time_stood_still_nobody_gets_a_timestamp_from_before() {
        let later = Duration::from_secs(60);
        let shows = CLOCK.plus(later);
        for all_come in [false, true] {
            // The clocks that it heard are too old to say anything.
            let mut proposer = proposer();
            proposer.request('a').expect("room");
            let (_, Step::Send(_, ask)) = proposer.begin(shows, later) else { panic!("sent") };
            assert!(ask.tick.block < CLOCK, "{ask:?}");
            let answer = Answer::Ok { old: Block(0), physical: shows };
            let tell = |proposer: &mut Proposer<char>, from, at| {
                proposer.answered(ServerId(from), ask, answer.clone(), at)
            };
            for from in 1..=4 {
                assert_eq!(tell(&mut proposer, from, later), Step::None);
            }
            let (step, at) = match all_come {
                true => (tell(&mut proposer, 5, later), shows),
                false => {
                    (proposer.hurry(ask.round, later + HEARD_WITHIN), shows.plus(HEARD_WITHIN))
                }
            };
            let Step::Send(_, second) = step else { panic!("{step:?}") };
            assert_eq!((second.tick.block, second.tick.write_back), (at.next(), true));
        }
    }

    #[test]
    fn clocks_of_members_that_are_not_seeded_yet_are_heard_too() {
        let mut new: Proposer<char> = Proposer::start(1, config(1));
        new.request('a').expect("room");
        let ask = begin(&mut new);
        for from in 1..=3 {
            assert_eq!(tell(&mut new, from, ask, 0), Step::None, "the others may be heard yet");
        }
        let wrong = Answer::WrongEpoch { config: config(0), physical: CLOCK };
        assert_eq!(new.answered(ServerId(4), ask, wrong.clone(), NOW), Step::None);
        let step = new.answered(ServerId(5), ask, wrong, NOW);
        let Step::Send(_, second) = step else { panic!("{step:?}") };
        assert_eq!(second.tick.block, CLOCK.next());
    }

    #[test]
    fn a_round_that_took_long_is_issued_where_it_began() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        let later = Duration::from_secs(5);
        let answer = Answer::Ok { old: Block(5), physical: CLOCK.plus(later) };
        for from in [1, 2] {
            assert_eq!(proposer.answered(ServerId(from), ask, answer.clone(), later), Step::None);
        }
        let step = proposer.answered(ServerId(3), ask, answer, later);
        assert_eq!(step, issue(&['a'], CLOCK.0, true));
    }

    #[test]
    fn its_own_wild_clock_is_held_to_the_median() {
        let mut proposer = proposer();
        let wild = CLOCK.plus(Duration::from_secs(3_600));
        let (_, Step::Send(_, ask)) = proposer.begin(wild, NOW) else { panic!("sent") };
        assert_eq!(ask.tick.block, CLOCK.plus(AHEAD));
        // Nobody is heard: the next block, wherever that is.
        let mut alone: Proposer<char> = Proposer::start(2, config(1));
        let (_, Step::Send(_, ask)) = alone.begin(wild, NOW) else { panic!("sent") };
        assert_eq!(ask.tick.block, Block(1));
    }

    #[test]
    fn answers_of_another_life_phase_or_epoch_count_for_nothing() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        let tick = |epoch, block, write_back| Tick { epoch: Epoch(epoch), block, write_back };
        let others = [
            Ask { boot: 2, ..ask },
            Ask { round: ask.round + 1, ..ask },
            Ask { tick: tick(2, CLOCK, false), ..ask },
            Ask { tick: tick(1, CLOCK.next(), false), ..ask },
            Ask { tick: tick(1, CLOCK, true), ..ask },
        ];
        for other in others {
            for from in 1..=5 {
                assert_eq!(tell(&mut proposer, from, other, 0), Step::None, "{other:?}");
            }
        }
        for stranger in 6..=9 {
            assert_eq!(tell(&mut proposer, stranger, ask, 0), Step::None);
        }
    }

    #[test]
    fn rounds_begin_anew_in_a_newer_epoch() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        tell(&mut proposer, 1, ask, 0);
        tell(&mut proposer, 2, ask, 0);
        let again = proposer.adopt(&config(2), CLOCK, NOW);
        let [Step::Send(_, anew)] = &again[..] else { panic!("{again:?}") };
        assert_eq!((anew.tick.epoch, anew.round), (Epoch(2), ask.round));
        assert_eq!(tell(&mut proposer, 3, ask, 0), Step::None);
        assert!(proposer.adopt(&config(1), CLOCK, NOW).is_empty(), "it is behind");
        for from in [1, 2] {
            assert_eq!(tell(&mut proposer, from, *anew, 0), Step::None);
        }
        assert_eq!(tell(&mut proposer, 3, *anew, 0), issue(&['a'], anew.tick.block.0, true));
    }

    #[test]
    fn what_is_sent_again_goes_to_those_that_have_not_answered() {
        let mut proposer = proposer();
        let ask = begin(&mut proposer);
        tell(&mut proposer, 1, ask, 0);
        tell(&mut proposer, 4, ask, 0);
        let left = [2, 3, 5].map(ServerId).to_vec();
        assert_eq!(proposer.again(ask.round), Step::Send(left, ask));
        tell(&mut proposer, 2, ask, 0);
        assert_eq!(proposer.again(ask.round), Step::None, "it is over");
    }

    #[test]
    fn requests_and_rounds_are_bounded() {
        let mut proposer = proposer();
        for _ in 0..WAITING_MAX {
            proposer.request('a').expect("room");
        }
        assert_eq!(proposer.request('b'), Err('b'));
        for _ in 0..ROUNDS_MAX {
            assert!(proposer.may_begin());
            begin(&mut proposer);
        }
        assert!(!proposer.may_begin());
        assert_eq!(proposer.request('b'), Ok(()));
    }

    #[test]
    fn at_the_end_of_time_requests_fail_and_no_block_is_issued_twice() {
        let mut proposer = proposer();
        proposer.request('a').expect("room");
        let ask = begin(&mut proposer);
        for from in [1, 2] {
            tell(&mut proposer, from, ask, Block::MAX.0);
        }
        tell(&mut proposer, 3, ask, Block::MAX.0);
        assert_eq!(proposer.hurry(ask.round, NOW), Step::Exhausted(vec!['a']));
    }
}
