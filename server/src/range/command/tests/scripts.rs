//! The commands of `range/command/testscripts/`: requests on one range, as a leader evaluates them and every replica
//! applies them, without a log between the two.
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
//!   advance-time to=T   move-dedup-threshold to=T   move-gc-threshold to=T   reserve-replica
//!   span from=K to=K                 what the range holds
//!   get key=K clock=T   stored   remembered   range
//! ```

use std::{collections::BTreeMap, ops::ControlFlow, str::FromStr, time::Duration};

use quintet_proto::v1::Code;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::{
    ids::KeyspaceId,
    range::{
        answer::answer,
        command::evaluate::evaluate,
        dedup,
        held::{Current, Held},
        request::{
            Answer, Condition, DeleteRange, Lifetime, OpResult, PutMany, Reply, ReplySink, Write,
            WriteKind,
        },
    },
    storage::{
        keys,
        life::{Life, life},
    },
    testscript,
    time::local::Instant,
};

#[test]
fn scripts() {
    testscript::run("range/command/testscripts", || {
        let mut scenario = Scenario::new();
        move |command: &mut testscript::Command| scenario.run(command)
    });
}

struct Scenario {
    range: Range,
    term: u64,
    requests: u64,
    /// Evaluated and not applied.
    proposed: BTreeMap<String, Proposed>,
}

/// What a leader has proposed.
struct Proposed {
    what: String,
    kind: WriteKind,
    at: Timestamp,
    outcome: Outcome,
    /// What its key holds, where that is why it was refused.
    stood: Option<Held>,
    /// The command, as it stands in the log.
    entry: Vec<u8>,
}

struct Nobody;

impl ReplySink for Nobody {
    fn answer(&self, _: u64, _: OpResult) {}
}

fn encoded(key: &str) -> Bytes {
    keys::encode(KeyspaceId::DEFAULT, key.as_bytes())
}

fn shown(encoded: &[u8]) -> String {
    let (_, key, _) = keys::decode(encoded).expect("a stored key");
    key.escape_ascii().to_string()
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
        Scenario { range: Range::new(), term: 1, requests: 100, proposed: BTreeMap::new() }
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
            "advance-time" => {
                let to = moment(command, "to")?;
                Ok(self.move_up(Command::AdvanceTime { evaluated_under: term, to }))
            }
            "move-dedup-threshold" => {
                let threshold = moment(command, "to")?;
                Ok(self.move_up(Command::MoveDedupThreshold { evaluated_under: term, threshold }))
            }
            "move-gc-threshold" => {
                let threshold = moment(command, "to")?;
                Ok(self.move_up(Command::MoveGcThreshold { evaluated_under: term, threshold }))
            }
            "reserve-replica" => {
                let reserve = Command::ReserveReplica { evaluated_under: term };
                match &self.range.apply_in(term, vec![reserve])[..] {
                    [Applied::Replica(id)] => Ok(format!("{id} is reserved")),
                    other => panic!("{other:?}"),
                }
            }
            "span" => {
                let descriptor = Arc::make_mut(&mut self.range.descriptor);
                descriptor.start = encoded(&command.must::<String>("from")?).to_vec();
                descriptor.end = encoded(&command.must::<String>("to")?).to_vec();
                Ok(String::new())
            }
            "get" => self.get(command),
            "stored" => Ok(self.stored()),
            "remembered" => Ok(self.remembered()),
            "range" => Ok(self.range_shown()),
            other => Err(format!("no command {other}")),
        }
    }

    /// What only ever rises.
    fn move_up(&mut self, command: Command<'_>) -> String {
        assert_eq!(self.range.apply_in(self.term, vec![command]), [Applied::Done]);
        self.range_shown()
    }

    fn range_shown(&self) -> String {
        let applied = &self.range.applied;
        format!(
            "time {}, newest version {}, dedup threshold {}, gc threshold {}",
            applied.time.us(),
            applied.newest.us(),
            applied.dedup_threshold.us(),
            applied.gc_threshold.us()
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
        let write = Write {
            request: RequestId { origin_room: 1, client: 1, sequence },
            first_attempt,
            later_attempt: false,
            refusal_not_remembered: false,
            hash: xxh3_64(format!("{key:?} {kind:?}").as_bytes()),
            deadline: Instant::now(),
            reply: Reply::uncounted(Arc::new(Nobody), 0),
            key,
            kind,
        };
        let engine = &*self.range.engine;
        if let Some(result) = dedup::look_up(engine, &write, || at).expect("read") {
            let reused = result.as_ref().is_err_and(|error| error.code == Code::RequestIdReused);
            let how = if reused { "" } else { " (as remembered)" };
            return Ok(format!("{what}: {}{how}", told(&result)));
        }
        if let Some(error) = dedup::is_too_old(&write, self.range.applied.dedup_threshold) {
            return Ok(format!("{what}: {}", told(&Err(error))));
        }
        let proposed = self.evaluate(what, write, at);
        match name {
            None => Ok(self.apply_all(vec![proposed])),
            Some(name) => {
                let said = format!("{}: proposed as {name}", proposed.what);
                self.proposed.insert(name, proposed);
                Ok(said)
            }
        }
    }

    /// The leader's half.
    fn evaluate(&self, what: String, write: Write, at: Timestamp) -> Proposed {
        let (evaluated_under, time_domain) = (self.term, TimeDomain(0));
        let Write { key, kind, request, first_attempt, hash, .. } = write;
        let time = self.range.applied.time;
        let proposed = |outcome, stood, command: &Command<'_>| {
            let entry = codec::encode(command);
            Proposed { what, kind: kind.clone(), at, outcome, stood, entry }
        };
        let write = |groups, batches| {
            Command::Write(WriteCommand { evaluated_under, time_domain, groups, batches })
        };
        match &kind {
            WriteKind::PutMany(many) => {
                let items = many.items.iter().map(|(key, value)| BatchItem { key, value });
                let items = items.collect();
                let expires_at = many.ttl.map(|ttl| at.saturating_add(ttl));
                let batch = PutBatch { request, first_attempt, hash, at, expires_at, items };
                proposed(Outcome::Written, None, &write(Vec::new(), vec![batch]))
            }
            WriteKind::DeleteRange(range) => {
                let records = usize::try_from(range.limit).expect("a limit");
                let limit = mvcc::PageLimit { records, bytes: 1_000, versions: 1_000 };
                let (span, moment) = ((&key[..], &range.end[..]), range.moment);
                let engine = &*self.range.engine;
                let found = mvcc::held_since(engine, span, moment, (time, at), limit);
                let found = found.expect("found");
                let count = u32::try_from(found.keys.len()).expect("a page");
                let removed = Removed { keys: count, moment, next: found.next };
                let page = Command::Remove(RemoveCommand {
                    evaluated_under,
                    time_domain,
                    request,
                    first_attempt,
                    hash,
                    at,
                    start: &key,
                    keys: found.keys.iter().map(|key| serde_bytes::Bytes::new(key)).collect(),
                    removed: removed.clone(),
                });
                proposed(Outcome::Removed(removed), None, &page)
            }
            _ => {
                let current = Current::read(&*self.range.engine, &key).expect("read");
                let (current, _) = current.seen_at(time, at);
                let (effect, outcome) = evaluate(&current, &kind, at);
                let operation = Operation {
                    request,
                    first_attempt,
                    hash,
                    at,
                    effect,
                    outcome: outcome.clone(),
                };
                let group = Group { key: key.clone(), operations: vec![operation] };
                proposed(outcome, current.0, &write(vec![group], Vec::new()))
            }
        }
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
        let decode = |one| codec::decode_borrowed(one).expect("decodes");
        let commands = proposed.iter().map(|one| decode(&one.entry[..])).collect();
        let results = self.range.apply_in(self.term, commands);
        let say = |(one, applied): (&Proposed, &Applied)| {
            let said = match applied {
                Applied::Groups(flags) if flags[..] == [true] => {
                    let outcome = one.outcome.clone();
                    told(&answer(&one.kind, outcome, one.at, one.stood.as_ref(), || one.at))
                }
                Applied::Groups(flags) if flags[..] == [false] => {
                    "left no trace, is to be evaluated again".to_owned()
                }
                Applied::ReEvaluate => "of another term, is to be evaluated again".to_owned(),
                other => panic!("{other:?}"),
            };
            format!("{}: {said}", one.what)
        };
        proposed.iter().zip(&results).map(say).collect::<Vec<_>>().join("\n")
    }

    fn get(&self, command: &mut testscript::Command) -> Result<String, String> {
        let (key, clock) = (command.must::<String>("key")?, moment(command, "clock")?);
        let current = Current::read(&*self.range.engine, &encoded(&key)).expect("read");
        let life = life(current.expires_at(), self.range.applied.time, clock);
        Ok(match (current.0, life) {
            (None, _) => format!("{key}: absent"),
            (Some(_), Life::Expired) => format!("{key}: absent, it has expired"),
            (Some(_), Life::Expiring(end)) => {
                format!("{key}: absent as soon as the range's time is {}", end.us())
            }
            (Some(held), Life::Alive) => {
                format!("{key}: {}, written at {}", held.value.escape_ascii(), held.version.us())
            }
        })
    }

    /// Every version of every key.
    fn stored(&self) -> String {
        let mut lines = vec!["stored:".to_owned()];
        let mut visit = |stored: &[u8], _: &[u8]| {
            let (key, at) = keys::split_version(stored).expect("a version");
            let found = mvcc::read_exact(&*self.range.engine, key, at).expect("read");
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
        let engine = &self.range.engine;
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
        let engine = &self.range.engine;
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
