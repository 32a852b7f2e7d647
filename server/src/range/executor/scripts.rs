//! The commands of `range/command/testscripts/`: requests on one range, which pass the stages of the executor and are
//! applied as every replica does it, without a log between the two.
//!
//! Each request passes by itself, as on a leader of its own that has applied what the range has: latches are tested in
//! `testscripts/latches/`. Its timestamp is the script's, and its caller is told what the executor tells him.
//!
//! Moments are microseconds, and so are times to live.
//!
//! ```text
//!   put key=K value=V at=T [if=absent|T] [ttl=T] [life=as-before]
//!   delete key=K at=T [if=absent|T]
//!   increment key=K by=N at=T [ttl=T]
//!   expire key=K at=T [ttl=T] [if=absent|T]      without ttl the key never expires
//!   put-many K:V... at=T [ttl=T]
//!   delete-range from=K to=K moment=T at=T [limit=N]
//!
//!   each of them with:  request=N   its id; without it a new one
//!                       first=T     when it was attempted first; without it, now
//!                       as=NAME     it is evaluated, and applied later
//!   apply NAME...       in one batch of the engine
//!
//!   leader-changes                   what is evaluated and not applied is of another term from then on
//!   move-dedup-threshold to=T   move-gc-threshold to=T   reserve-replica
//!   span from=K to=K                 what the range holds
//!   get key=K at=T   stored   remembered   range
//! ```

use std::{collections::BTreeMap, ops::ControlFlow, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use quintet_proto::v1::Code;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    applied, entry::Entry, evaluated, gathered::Gathered, latched::Draft, latched::latch,
    latches::Latches,
};
use crate::{
    ids::{RequestId, TimeDomain},
    range::{
        command::outcome::Applied,
        dedup,
        guards::{Guards, Looks},
        held::Current,
        request::{
            Answer, Condition, DeleteRange, Lifetime, OpResult, PutMany, Reply, ReplySink, Write,
            WriteKind,
        },
        state::RangeState,
    },
    seams::SystemClock,
    storage::{
        Batch, Direction, Family,
        format::{
            codec,
            command::Command,
            descriptor::Descriptor,
            raft::{EntryRecord, PayloadRecord, Position},
            request::{DedupRecord, Removed},
        },
        keys::{self, MetaKind, encoded, shown},
        life::has_expired,
        memory::{MemoryDisk, MemoryEngine},
        mvcc,
    },
    testscript,
    time::{Timestamp, oracle::handle::Oracle},
};

#[test]
fn scripts() {
    testscript::run("range/command/testscripts", || {
        let mut scenario = Scenario::new();
        move |command: &mut testscript::Command| scenario.run(command)
    });
}

struct Scenario {
    state: Arc<RangeState>,
    term: u64,
    requests: u64,
    /// Evaluated and not applied.
    proposed: BTreeMap<String, Proposed>,
    told: Arc<Told>,
}

/// What a leader has proposed.
struct Proposed {
    what: String,
    reply: u64,
    at: Timestamp,
    asks: Entry,
    /// The command, as it stands in the log.
    entry: Bytes,
}

/// What callers were told first, by their replies.
#[derive(Default)]
struct Told(Mutex<BTreeMap<u64, OpResult>>);

impl ReplySink for Told {
    fn answer(&self, reply: u64, result: OpResult) {
        self.0.lock().entry(reply).or_insert(result);
    }
}

fn moment(command: &mut testscript::Command, name: &str) -> Result<Timestamp, String> {
    command.must(name).map(Timestamp::from_us)
}

fn ttl(command: &mut testscript::Command) -> Result<Option<Duration>, String> {
    Ok(command.may("ttl")?.map(Duration::from_micros))
}

/// When a write may happen, as a script says it.
struct If(Condition);

impl FromStr for If {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<If, Self::Err> {
        Ok(If(match text {
            "absent" => Condition::Absent,
            version => Condition::Version(Timestamp::from_us(version.parse()?)),
        }))
    }
}

fn condition(command: &mut testscript::Command) -> Result<Condition, String> {
    Ok(command.may("if")?.map_or(Condition::Always, |If(condition)| condition))
}

/// What a caller is told.
fn told(result: &OpResult) -> String {
    let expires = |end: &Option<Timestamp>| {
        end.map_or_else(|| "never expires".to_owned(), |end| format!("expires at {}", end.us()))
    };
    match result {
        Ok(Answer::Put(at) | Answer::PutMany(at)) => format!("written at {}", at.us()),
        Ok(Answer::Delete(Some(at))) => format!("deleted at {}", at.us()),
        Ok(Answer::Delete(None)) => "nothing to delete".to_owned(),
        Ok(Answer::Increment(sum, at)) => format!("{sum}, written at {}", at.us()),
        Ok(Answer::Expire(Some((at, end)))) => format!("written at {}, {}", at.us(), expires(end)),
        Ok(Answer::Expire(None)) => "no such key".to_owned(),
        Ok(Answer::DeleteRange(Removed { keys, next: None, .. })) => format!("{keys} deleted, end"),
        Ok(Answer::DeleteRange(Removed { keys, next: Some(next), .. })) => {
            format!("{keys} deleted, more from {}", shown(next))
        }
        Ok(other) => panic!("no answer to a write: {other:?}"),
        Err(error) if error.code == Code::Conflict => match &error.current {
            Some(stands) => {
                let (value, at) = (stands.value.escape_ascii(), stands.version.us());
                format!("refused, {value} is there, written at {at}")
            }
            None => "refused, the key is absent".to_owned(),
        },
        Err(error) => format!("refused, {}", error.message),
    }
}

impl Scenario {
    fn new() -> Scenario {
        let engine = MemoryEngine::of_test(&MemoryDisk::new());
        let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
        let state =
            RangeState::open(&Descriptor::of_test(2, b"", b""), engine, oracle, Arc::default());
        let (proposed, told) = (BTreeMap::new(), Arc::default());
        Scenario { state: state.expect("opened"), term: 1, requests: 100, proposed, told }
    }

    fn run(&mut self, command: &mut testscript::Command) -> Result<String, String> {
        let term = self.term;
        match command.name() {
            "put" | "delete" | "increment" | "expire" | "put-many" | "delete-range" => {
                self.request(command)
            }
            "apply" => self.apply_proposed(&command.words()),
            "leader-changes" => {
                self.term += 1;
                Ok(String::new())
            }
            "move-dedup-threshold" => {
                let threshold = moment(command, "to")?;
                Ok(self.move_up(Command::MoveDedupThreshold { evaluated_under: term, threshold }))
            }
            "move-gc-threshold" => {
                let threshold = moment(command, "to")?;
                let command = Command::MoveGcThresholds {
                    evaluated_under: term,
                    now: threshold,
                    threshold,
                    prefixes: Vec::new(),
                };
                Ok(self.move_up(command))
            }
            "reserve-replica" => {
                match self.apply(&Command::ReserveReplica { evaluated_under: term }) {
                    Applied::Replica(id) => Ok(format!("{id} is reserved")),
                    other => panic!("{other:?}"),
                }
            }
            "span" => self.span(command),
            "get" => self.get(command),
            "stored" => Ok(self.stored()),
            "remembered" => Ok(self.remembered()),
            "range" => Ok(self.range_shown()),
            other => Err(format!("no command {other}")),
        }
    }

    /// What only ever rises.
    fn move_up(&mut self, command: Command<'_>) -> String {
        assert_eq!(self.apply(&command), Applied::Done);
        self.range_shown()
    }

    /// The range holds another span from now on.
    fn span(&mut self, command: &mut testscript::Command) -> Result<String, String> {
        let mut descriptor = Descriptor::clone(&self.state.descriptor());
        descriptor.start = encoded(&command.must::<String>("from")?).to_vec();
        descriptor.end = encoded(&command.must::<String>("to")?).to_vec();
        let key = keys::range_meta(descriptor.range, MetaKind::Descriptor);
        let mut batch = Batch::new();
        batch.put(Family::Meta, key, codec::encode(&descriptor));
        let engine = self.state.engine().clone();
        engine.write(batch).expect("written");
        let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
        self.state = RangeState::open(&descriptor, engine, oracle, Arc::default()).expect("opened");
        Ok(String::new())
    }

    fn range_shown(&self) -> String {
        let applied = self.state.applied();
        format!(
            "newest version {}, dedup threshold {}, gc threshold {}",
            applied.newest.us(),
            applied.dedup_threshold.us(),
            applied.gc.threshold.us()
        )
    }

    fn request(&mut self, command: &mut testscript::Command) -> Result<String, String> {
        let at = moment(command, "at")?;
        self.requests += 1;
        let sequence = command.may("request")?.unwrap_or(self.requests);
        let first_attempt = command.may("first")?.map_or(at, Timestamp::from_us);
        let name: Option<String> = command.may("as")?;
        let (key, kind) = kind(command)?;
        let what = format!("{} {}", command.name(), shown(&key));
        let hash = xxh3_64(format!("{key:?} {kind:?}").as_bytes());
        let reply = Reply::uncounted(self.told.clone(), self.requests);
        let write = Write { first_attempt, hash, reply, ..Write::of_test(sequence, key, kind) };
        match (self.pass(what, write, at), name) {
            (Err(answered), _) => Ok(answered),
            (Ok(proposed), None) => Ok(self.apply_all(vec![proposed])),
            (Ok(proposed), Some(name)) => {
                let said = format!("{}: proposed as {name}", proposed.what);
                self.proposed.insert(name, proposed);
                Ok(said)
            }
        }
    }

    /// The leader's half; `Err`: what its caller is told without a proposal.
    fn pass(&self, what: String, write: Write, at: Timestamp) -> Result<Proposed, String> {
        let (state, reply, mut is_remembered) = (&*self.state, self.requests, false);
        let (mut gathered, mut latches) = (Gathered::default(), Latches::new());
        let (mut draft, mut asked) = (Draft::default(), Vec::new());
        gathered.extend([write]);
        let guards = (&Guards::default(), Looks { term: self.term, applied: None });
        let latched = latch(&mut gathered, &mut latches, &mut draft, &mut asked, guards, |write| {
            let done = dedup::look_up(&**state.engine(), write, || at)?;
            is_remembered = done.is_some();
            let too_old = || dedup::is_too_old(write, state.dedup_threshold()).map(Err);
            Ok(done.or_else(too_old))
        });
        latched.expect("read");
        asked.iter_mut().for_each(|one| one.at = at);
        let confirm = |_: Write, _| panic!("a refusal that is not remembered");
        let again =
            evaluated::evaluate(state, &mut latches, asked.into_iter(), &mut draft, confirm);
        assert!(again.expect("read").is_empty(), "{what} has its entry to itself");
        let asks = draft.entry;
        if !asks.is_empty() {
            let entry = asks.encode(self.term, TimeDomain::default());
            return Ok(Proposed { what, reply, at, asks, entry });
        }
        let result = self.told(reply).expect("it is answered");
        let is_reused = result.as_ref().is_err_and(|error| error.code == Code::RequestIdReused);
        let how = if is_remembered && !is_reused { " (as remembered)" } else { "" };
        Err(format!("{what}: {}{how}", told(&result)))
    }

    /// What a caller was told by now.
    fn told(&self, reply: u64) -> Option<OpResult> {
        self.told.0.lock().get(&reply).cloned()
    }

    /// Applies entries of this term in one batch.
    fn apply_entries(&mut self, entries: &[&[u8]]) -> Vec<Applied> {
        let first = self.state.applied_index().map_or(0, |applied| applied + 1);
        let records = entries.iter().zip(first..).map(|(entry, index)| EntryRecord {
            position: Position { term: self.term, index },
            payload: PayloadRecord::Command(entry),
        });
        let records: Vec<_> = records.collect();
        self.state.apply(records.into_iter()).expect("applied")
    }

    fn apply(&mut self, command: &Command<'_>) -> Applied {
        self.apply_entries(&[&codec::encode(command)]).remove(0)
    }

    fn apply_proposed(&mut self, names: &[String]) -> Result<String, String> {
        let take = |name: &String| {
            self.proposed.remove(name).ok_or_else(|| format!("nothing is proposed as {name}"))
        };
        let proposed = names.iter().map(take).collect::<Result<Vec<_>, _>>()?;
        Ok(self.apply_all(proposed))
    }

    /// Every replica's half: entries that are applied in one batch, and what their callers are told.
    fn apply_all(&mut self, proposed: Vec<Proposed>) -> String {
        let entries: Vec<_> = proposed.iter().map(|one| &one.entry[..]).collect();
        let results = self.apply_entries(&entries);
        let say = |(one, result): (Proposed, Applied)| {
            let Proposed { what, reply, at, asks, .. } = one;
            let is_of_term = result != Applied::ReEvaluate;
            let mut gathered = Gathered::default();
            applied::finish((asks, Some(result)), None, &mut gathered, || at);
            let said = match self.told(reply) {
                Some(result) => told(&result),
                None if is_of_term => "left no trace, is to be evaluated again".to_owned(),
                None => "of another term, is to be evaluated again".to_owned(),
            };
            format!("{what}: {said}")
        };
        proposed.into_iter().zip(results).map(say).collect::<Vec<_>>().join("\n")
    }

    fn get(&self, command: &mut testscript::Command) -> Result<String, String> {
        let (key, at) = (command.must::<String>("key")?, moment(command, "at")?);
        let current = Current::read(&**self.state.engine(), &encoded(&key)).expect("read");
        let has_expired = has_expired(current.expires_at(), at);
        Ok(match current.0 {
            None => format!("{key}: absent"),
            Some(_) if has_expired => format!("{key}: absent, it has expired"),
            Some(held) => {
                format!("{key}: {}, written at {}", held.value.escape_ascii(), held.version.us())
            }
        })
    }

    /// Every version of every key.
    fn stored(&self) -> String {
        let mut lines = vec!["stored:".to_owned()];
        let mut visit = |stored: &[u8], _: &[u8]| {
            let (key, at) = keys::split_version(stored).expect("a version");
            let found = mvcc::read_exact(&**self.state.engine(), key, at).expect("read");
            let what = match found {
                None => "deleted".to_owned(),
                Some(version) => {
                    let end = version.expires_at.map(|end| format!(", expires at {}", end.us()));
                    format!("{}{}", version.value.escape_ascii(), end.unwrap_or_default())
                }
            };
            lines.push(format!("  {} at {}: {what}", shown(key), at.us()));
            ControlFlow::Continue(())
        };
        let engine = self.state.engine();
        engine.scan(Family::Data, &[], &[], Direction::Forward, &mut visit).expect("scanned");
        lines.join("\n")
    }

    /// Every request that is remembered, with its anchor.
    fn remembered(&self) -> String {
        let mut lines = vec!["remembered:".to_owned()];
        let mut visit = |stored: &[u8], record: &[u8]| {
            let anchor = shown(keys::dedup_anchor(stored).expect("an anchor"));
            let (_, id) = stored[..RequestId::BYTES].split_last_chunk::<8>().expect("an id");
            let record: DedupRecord = codec::decode(record).expect("decodes");
            let (id, at) = (u64::from_be_bytes(*id), record.at.us());
            lines.push(format!("  request {id} under {anchor}, at {at}"));
            ControlFlow::Continue(())
        };
        let engine = self.state.engine();
        engine.scan(Family::Dedup, &[], &[], Direction::Forward, &mut visit).expect("scanned");
        lines.join("\n")
    }
}

/// The request's key, and what it asks.
fn kind(command: &mut testscript::Command) -> Result<(Bytes, WriteKind), String> {
    let kind = match command.name() {
        "put" => {
            let value = Bytes::from(command.must::<String>("value")?);
            let life = match (ttl(command)?, command.may::<String>("life")?.as_deref()) {
                (None, None) => Lifetime::Forever,
                (Some(ttl), None) => Lifetime::For(ttl),
                (None, Some("as-before")) => Lifetime::AsBefore,
                other => return Err(format!("no lifetime: {other:?}")),
            };
            WriteKind::Put { value, condition: condition(command)?, life }
        }
        "delete" => WriteKind::Delete { condition: condition(command)? },
        "increment" => WriteKind::Increment { delta: command.must("by")?, ttl: ttl(command)? },
        "expire" => WriteKind::Expire { ttl: ttl(command)?, condition: condition(command)? },
        "put-many" => {
            let item = |word: &String| -> Result<(Bytes, Bytes), String> {
                let (key, value) = word.split_once(':').ok_or("an item is KEY:VALUE")?;
                Ok((encoded(key), Bytes::from(value.to_owned())))
            };
            let items = command.words().iter().map(item).collect::<Result<Vec<_>, _>>()?;
            let (first, _) = items.first().cloned().ok_or("no items")?;
            return Ok((first, WriteKind::PutMany(PutMany { items, ttl: ttl(command)? })));
        }
        _ => {
            let range = DeleteRange {
                end: encoded(&command.must::<String>("to")?),
                moment: moment(command, "moment")?,
                limit: command.may("limit")?.unwrap_or(1_000),
            };
            let start = encoded(&command.must::<String>("from")?);
            return Ok((start, WriteKind::DeleteRange(range)));
        }
    };
    Ok((encoded(&command.must::<String>("key")?), kind))
}
