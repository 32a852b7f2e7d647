//! A time server: a clock that never falls, and a bound on disk above it.
//!
//! The server promises to have heard of a block: once it has answered `Ok` to `p`, its clock is at or above `p` for
//! good. A sync for each block would cost a disk's latency per round. So what is on disk is a *bound*, ahead of the
//! clock by [`HEADROOM`] and extended in the background ([`TimeServer::extension`]), and a restarted server begins at
//! its bound: above whatever it may have promised. A block above the bound waits for the disk.
//!
//! Which set of servers it belongs to is part of the same record. *Fenced* for a newer epoch it answers no round any
//! more until it is *seeded* for that epoch, with a value above all that was issued in the epochs before.
//!
//! # Invariants
//!
//! * It answers in an epoch only with its clock at or above the value that it was seeded with.
//! * The clock is at or below the bound that is on disk (asserted by [`TimeServer::tick`]); it only rises.
//! * Records rise: the epoch, within an epoch from unseeded to seeded, and the bound over all of them. Each record
//!   that is to be stored holds all that earlier ones held ([`Record::join`]), so that a late extension of the bound
//!   undoes no fence, and a fence lowers no bound.
//!
//! # On a crash
//!
//! The server begins with the last record on disk, its clock at the bound. One that has lost its disk is another
//! server, with another [`ServerId`].

use serde::{Deserialize, Serialize};

use super::{AHEAD, Block, Config, Epoch, HEADROOM, ServerId};
use crate::planted::{self, Bug};

/// What a time server has on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The set that it belongs to, as far as it knows.
    pub config: Config,
    /// Whether it may answer in that epoch.
    pub seeded: bool,
    /// It has promised no block above this one.
    pub bound: Block,
}

impl Record {
    /// What holds all that both hold.
    pub fn join(self, other: Record) -> Record {
        let bound = self.bound.max(other.bound);
        let (mut newer, older) = match self.config.epoch >= other.config.epoch {
            true => (self, other),
            false => (other, self),
        };
        newer.seeded |= older.config.epoch == newer.config.epoch && older.seeded;
        Record { bound, ..newer }
    }
}

/// Raise your clock to a block, and say what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick {
    /// For the servers of this epoch.
    pub epoch: Epoch,
    /// The block.
    pub block: Block,
    /// It is a round's second phase: never refused because of clocks.
    pub write_back: bool,
}

/// What a server answers to a [`Tick`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Its clock is at or above the block for good.
    Ok {
        /// What its clock was before.
        old: Block,
        /// Its physical clock.
        physical: Block,
    },
    /// The block is too far ahead of its clocks. Nothing has changed.
    TooFar {
        /// What its clock is.
        clock: Block,
        /// Its physical clock.
        physical: Block,
    },
    /// It does not answer in that epoch.
    WrongEpoch {
        /// It knows of this one.
        config: Config,
        /// Its physical clock.
        physical: Block,
    },
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<T> {
    /// This is answered.
    Answer(T),
    /// This is to be stored first; then the message is to be given again.
    Store(Record),
}

/// What a fenced server says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fenced {
    /// It answers no earlier epoch than that which it was fenced for, for good. Its clock is this.
    Ok(Block),
    /// It knows of a newer set than that.
    Superseded(Config),
}

/// What a server says that was to be seeded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seeded {
    /// Its clock is at or above the seed for good, and it answers in that epoch.
    Ok,
    /// It knows of a newer set than that.
    Superseded(Config),
}

/// A time server. See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimeServer {
    me: ServerId,
    stored: Record,
    /// The last record that was given out to be stored.
    pending: Record,
    /// The epoch that it is to be seeded for, and with what: its clock is there once the record is on disk.
    seeding: (Epoch, Block),
    clock: Block,
}

impl TimeServer {
    /// A server that begins with what is on its disk; nothing where it is new.
    pub fn start(me: ServerId, stored: Record) -> TimeServer {
        TimeServer {
            me,
            clock: stored.bound,
            pending: stored.clone(),
            seeding: (Epoch::default(), Block::default()),
            stored,
        }
    }

    /// Who it is.
    pub fn me(&self) -> ServerId {
        self.me
    }

    /// Its clock.
    pub fn clock(&self) -> Block {
        self.clock
    }

    /// What it has on disk.
    pub fn record(&self) -> &Record {
        &self.stored
    }

    /// A round asks. `physical` is this server's physical clock.
    pub fn tick(&mut self, tick: Tick, physical: Block) -> Outcome<Answer> {
        let record = &self.stored;
        let is_member = record.config.members.contains(&self.me);
        // The careless hand: "it is the right epoch".
        let seeded = record.seeded || planted::active(Bug::UnseededAnswers);
        if tick.epoch != record.config.epoch || !seeded || !is_member {
            let config = record.config.clone();
            return Outcome::Answer(Answer::WrongEpoch { config, physical });
        }
        let clock = self.clock;
        let acceptable = clock.next().max(physical.plus(AHEAD));
        // There is no block behind the last one, whoever asks for it.
        if (!tick.write_back && tick.block > acceptable) || tick.block > Block::MAX {
            return Outcome::Answer(Answer::TooFar { clock, physical });
        }
        // The careless hand: "the disk will follow".
        let is_forgetful = planted::active(Bug::TimeNotSynced);
        if tick.block > record.bound && !is_forgetful {
            return Outcome::Store(
                self.give_out(Record { bound: tick.block.plus(HEADROOM), ..self.stored.clone() }),
            );
        }
        self.clock = clock.max(tick.block);
        assert!(
            self.clock <= self.stored.bound || is_forgetful,
            "a clock above its bound: {self:?}"
        );
        Outcome::Answer(Answer::Ok { old: clock, physical })
    }

    /// Takes part in no epoch before that of `config` any more, and says where its clock is.
    pub fn fence(&mut self, config: &Config) -> Outcome<Fenced> {
        let epoch = self.stored.config.epoch;
        if epoch > config.epoch {
            return Outcome::Answer(Fenced::Superseded(self.stored.config.clone()));
        }
        if epoch == config.epoch {
            return Outcome::Answer(Fenced::Ok(self.clock));
        }
        Outcome::Store(self.give_out(Record {
            config: config.clone(),
            seeded: false,
            bound: self.stored.bound,
        }))
    }

    /// Begins to take part in an epoch, above `value`.
    pub fn seed(&mut self, config: &Config, value: Block) -> Outcome<Seeded> {
        let value = value.min(Block::MAX);
        let record = &self.stored;
        if record.config.epoch > config.epoch {
            return Outcome::Answer(Seeded::Superseded(record.config.clone()));
        }
        let is_seeded = record.config.epoch == config.epoch && record.seeded;
        if is_seeded && record.bound >= value {
            self.clock = self.clock.max(value);
            return Outcome::Answer(Seeded::Ok);
        }
        let bound = record.bound.max(value.plus(HEADROOM));
        self.seeding = match self.seeding {
            (epoch, _) if epoch > config.epoch => self.seeding,
            (epoch, above) if epoch == config.epoch => (epoch, above.max(value)),
            _ => (config.epoch, value),
        };
        Outcome::Store(self.give_out(Record { config: config.clone(), seeded: true, bound }))
    }

    /// A record to store before the bound is reached; none where there is room, or where one is under way.
    pub fn extension(&mut self) -> Option<Record> {
        let wanted = self.clock.plus(HEADROOM);
        let is_near = self.clock.plus(HEADROOM / 2) > self.pending.bound;
        if !is_near || !self.stored.seeded {
            return None;
        }
        Some(self.give_out(Record { bound: wanted, ..self.stored.clone() }))
    }

    /// A record is on disk. Records are stored in the order in which they were given out.
    pub fn stored(&mut self, record: Record) {
        self.stored = std::mem::take(&mut self.stored).join(record);
        // From here on it answers in that epoch, also where whoever seeded it is gone by now.
        let (epoch, above) = self.seeding;
        if self.stored.seeded && self.stored.config.epoch == epoch {
            self.clock = self.clock.max(above.min(self.stored.bound));
        }
    }

    fn give_out(&mut self, record: Record) -> Record {
        // The careless hand: "what is to be stored is what was asked for".
        if planted::active(Bug::TimeBoundLowered) {
            self.pending = record;
        } else {
            self.pending = std::mem::take(&mut self.pending).join(record);
        }
        self.pending.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ME: ServerId = ServerId(1);

    fn config(epoch: u64) -> Config {
        Config { epoch: Epoch(epoch), members: [ME, ServerId(2), ServerId(3)].into() }
    }

    fn seeded(epoch: u64, bound: u64) -> TimeServer {
        let record = Record { config: config(epoch), seeded: true, bound: Block(bound) };
        TimeServer::start(ME, record)
    }

    fn tick(epoch: u64, block: u64, write_back: bool) -> Tick {
        Tick { epoch: Epoch(epoch), block: Block(block), write_back }
    }

    fn ok(old: u64) -> Outcome<Answer> {
        Outcome::Answer(Answer::Ok { old: Block(old), physical: Block(0) })
    }

    fn to_store<T: std::fmt::Debug>(outcome: Outcome<T>) -> Record {
        match outcome {
            Outcome::Store(record) => record,
            Outcome::Answer(answer) => panic!("answered {answer:?} with nothing stored"),
        }
    }

    #[test]
    fn a_block_above_the_bound_waits_for_the_disk_and_a_restart_forgets_none() {
        let mut server = seeded(1, 10);
        assert_eq!(server.tick(tick(1, 10, false), Block(0)), ok(10));
        let record = to_store(server.tick(tick(1, 11, false), Block(0)));
        assert_eq!(record.bound, Block(11).plus(HEADROOM));
        server.stored(record.clone());
        assert_eq!(server.tick(tick(1, 11, false), Block(0)), ok(10));
        assert_eq!(server.tick(tick(1, 5, false), Block(0)), ok(11), "it never falls");
        assert_eq!(TimeServer::start(ME, record.clone()).clock(), record.bound);
    }

    #[test]
    fn a_block_too_far_ahead_changes_nothing_unless_it_is_written_back() {
        let mut server = seeded(1, 10);
        server.stored(Record { bound: Block(u64::from(u32::MAX)), ..server.record().clone() });
        let far = Block(7).plus(AHEAD).next().0;
        let refused = Answer::TooFar { clock: Block(10), physical: Block(7) };
        assert_eq!(server.tick(tick(1, far, false), Block(7)), Outcome::Answer(refused));
        assert_eq!(server.clock(), Block(10));
        // The next one is never too far, or servers with slow clocks would block all others.
        assert_eq!(server.tick(tick(1, 11, false), Block(0)), ok(10));
        assert_eq!(server.tick(tick(1, far, true), Block(0)), ok(11));
    }

    #[test]
    fn a_fenced_server_answers_no_epoch_until_it_is_seeded() {
        let mut server = seeded(1, 10);
        let wrong = |epoch| {
            Outcome::Answer(Answer::WrongEpoch { config: config(epoch), physical: Block(0) })
        };
        assert_eq!(server.tick(tick(2, 5, false), Block(0)), wrong(1));
        let record = to_store(server.fence(&config(2)));
        // What is under way is answered until the fence is on the disk: whoever fences is told afterwards.
        assert_eq!(server.tick(tick(1, 9, false), Block(0)), ok(10));
        server.stored(record);
        assert_eq!(server.fence(&config(2)), Outcome::Answer(Fenced::Ok(Block(10))));
        for epoch in [1, 2] {
            assert_eq!(server.tick(tick(epoch, 9, true), Block(0)), wrong(2));
        }
        let record = to_store(server.seed(&config(2), Block(50)));
        server.stored(record);
        assert_eq!(server.clock(), Block(50), "whether or not anybody waits for the answer");
        assert_eq!(server.seed(&config(2), Block(50)), Outcome::Answer(Seeded::Ok));
        assert_eq!(server.tick(tick(2, 51, false), Block(0)), ok(50));
        let superseded = Outcome::Answer(Fenced::Superseded(config(2)));
        assert_eq!(server.fence(&config(1)), superseded);
    }

    #[test]
    fn a_late_extension_undoes_no_fence_and_a_fence_lowers_no_bound() {
        let mut server = seeded(1, 10);
        let extension = server.extension().expect("it is near");
        assert_eq!(server.extension(), None, "one is under way");
        let fence = to_store(server.fence(&config(2)));
        assert_eq!(fence.bound, extension.bound);
        server.stored(extension);
        server.stored(fence.clone());
        assert_eq!(server.record(), &fence);
        let first = Record { config: config(1), seeded: true, bound: Block(90) };
        let joined = fence.join(first);
        assert_eq!((joined.config.epoch, joined.seeded), (Epoch(2), false));
        assert_eq!(joined.bound, Block(10).plus(HEADROOM).max(Block(90)));
    }

    #[test]
    fn a_stranger_and_a_new_server_answer_no_round() {
        let mut blank = TimeServer::start(ServerId(9), Record::default());
        for epoch in [0, 1] {
            let answer = blank.tick(tick(epoch, 1, true), Block(0));
            let wrong = Answer::WrongEpoch { config: Config::default(), physical: Block(0) };
            assert_eq!(answer, Outcome::Answer(wrong));
        }
        assert_eq!(blank.extension(), None);
        let record = to_store(blank.seed(&config(1), Block(1)));
        blank.stored(record);
        let answer = blank.tick(tick(1, 2, true), Block(0));
        let wrong = Answer::WrongEpoch { config: config(1), physical: Block(0) };
        assert_eq!(answer, Outcome::Answer(wrong), "it is no member");
    }

    #[test]
    fn time_has_an_end_and_no_overflow() {
        assert_eq!(Block::MAX.next(), Block::MAX);
        assert_eq!(Block::MAX.plus(Duration::MAX), Block::MAX);
        let mut server = seeded(1, Block::MAX.0);
        assert_eq!(
            server.tick(tick(1, u64::MAX, true), Block::MAX),
            Outcome::Answer(Answer::TooFar { clock: Block::MAX, physical: Block::MAX })
        );
    }
}
