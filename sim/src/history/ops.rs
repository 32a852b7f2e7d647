//! Operations: an invocation and its completion in one piece, typed.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    Current, Entry, Event, Exchange, Expected, Expiring, Kind, Lifetime, Numbered, Operation,
    PageAsked, Paged, Record, Swept, Value, Version, Versioned,
};

/// What a client asked for, with arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads a key.
    Read,
    /// Writes a key whatever it holds.
    Write {
        /// What to write.
        value: String,
        /// After how many milliseconds it expires, if it does.
        ttl_ms: Option<u64>,
    },
    /// Writes a key that nobody else ever writes.
    Insert {
        /// What to write.
        value: String,
    },
    /// Writes if the key has this version.
    Cas {
        /// The version that the key must have; 0: it must be absent.
        expected: Version,
        /// What to write then.
        value: String,
        /// After how many milliseconds it expires, if it does.
        ttl_ms: Option<u64>,
        /// It expires when what was there did.
        keep_ttl: bool,
    },
    /// Removes a key.
    Delete {
        /// The version that the key must have, if any is demanded.
        expected: Option<Version>,
    },
    /// Adds to the number in the key; an absent key counts as 0.
    Increment {
        /// What to add.
        delta: i64,
    },
    /// Gives a key another expiry and leaves its value.
    Expire {
        /// After how many milliseconds it expires; none: it does not any more.
        ttl_ms: Option<u64>,
    },
    /// Reads all keys of the acknowledged set.
    Scan,
    /// Reads all registers as of one moment.
    ReadAll,
    /// Reads a page of a scan, the first one or a later one.
    Page(PageAsked),
    /// Appends to the list of a key: a read and a compare-and-set on it, one operation here.
    Append {
        /// What to append; nobody else ever appends it.
        element: u64,
    },
    /// Reads the list of a key.
    List,
    /// Removes all keys that begin so and were there at one moment.
    Sweep,
}

/// The answer to something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a read: the record, or absent.
    Read(Option<Record>),
    /// To a write, an insert or a compare-and-set.
    Written {
        /// Version of the write.
        version: Version,
    },
    /// To a delete.
    Deleted {
        /// Version of the removal; 0: there was nothing to remove.
        version: Version,
    },
    /// To a change of the expiry.
    Expired {
        /// Version of the write; 0: there was nothing that could expire.
        version: Version,
    },
    /// To an increment.
    Incremented {
        /// The number after it.
        number: i64,
        /// Version of the write.
        version: Version,
    },
    /// To a scan, or a read of all registers.
    Scanned(Vec<Entry>),
    /// To a page of a scan.
    Paged(Paged),
    /// To an append.
    Appended,
    /// To a read of a list; an absent one is empty.
    Listed(Vec<u64>),
    /// To a deletion of a prefix.
    Swept {
        /// Its moment: what was written up to this version is gone.
        at: Version,
        /// How many keys that were.
        deleted: u64,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok(Reply),
    /// Definitely not done: the condition failed, and this is what the key held instead.
    Refused(Option<Record>),
    /// Definitely not done, for a reason that says nothing about the key.
    Failed,
    /// Nobody knows: it may take effect once, at any time after it was asked, or never.
    Unknown,
}

/// One operation of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who.
    pub process: u64,
    /// Which key; for a scan, a page, a read of all registers or a deletion of a prefix the prefix of its keys,
    /// empty: all.
    pub key: String,
    /// What was asked.
    pub call: Call,
    /// When it was asked.
    pub invoke_ns: u64,
    /// When it ended; `None` if the outcome is unknown: an effect may come at any later time.
    pub complete_ns: Option<u64>,
    /// Index of the invocation. Indexes, not times, give the real-time order.
    pub invoke_index: u64,
    /// Index of the completion; `None` if the outcome is unknown.
    pub complete_index: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// The name of it.
    pub fn operation(&self) -> Operation {
        self.encode().0
    }

    pub(super) fn encode(&self) -> (Operation, Value) {
        match self {
            Call::Read => (Operation::Read, Value::Null),
            Call::Scan => (Operation::Scan, Value::Null),
            Call::ReadAll => (Operation::ReadAll, Value::Null),
            Call::Page(asked) => (Operation::Page, Value::PageAsked(asked.clone())),
            Call::Sweep => (Operation::Sweep, Value::Null),
            Call::Write { value, ttl_ms: None } => (Operation::Write, Value::Text(value.clone())),
            Call::Write { value, ttl_ms: Some(ttl_ms) } => {
                let (value, ttl_ms) = (value.clone(), *ttl_ms);
                (Operation::Write, Value::Expiring(Expiring { value, ttl_ms }))
            }
            Call::Insert { value } => (Operation::Insert, Value::Text(value.clone())),
            Call::Cas { expected, value, ttl_ms, keep_ttl } => {
                let (expected, value) = (*expected, value.clone());
                let (ttl_ms, keep_ttl) = (*ttl_ms, *keep_ttl);
                (Operation::Cas, Value::Exchange(Exchange { expected, value, ttl_ms, keep_ttl }))
            }
            Call::Delete { expected: None } => (Operation::Delete, Value::Null),
            Call::Delete { expected: Some(expected) } => {
                (Operation::Delete, Value::Expected(Expected { expected: *expected }))
            }
            Call::Increment { delta } => (Operation::Increment, Value::Delta(*delta)),
            Call::Expire { ttl_ms: None } => (Operation::Expire, Value::Null),
            Call::Expire { ttl_ms: Some(ttl_ms) } => {
                (Operation::Expire, Value::Lifetime(Lifetime { ttl_ms: *ttl_ms }))
            }
            Call::Append { element } => (Operation::Append, Value::Element(*element)),
            Call::List => (Operation::List, Value::Null),
        }
    }

    pub(super) fn decode(f: Operation, value: &Value) -> Result<Call, String> {
        Ok(match (f, value.clone()) {
            (Operation::Read, Value::Null) => Call::Read,
            (Operation::Scan, Value::Null) => Call::Scan,
            (Operation::ReadAll, Value::Null) => Call::ReadAll,
            (Operation::Page, Value::PageAsked(asked)) => Call::Page(asked),
            (Operation::Sweep, Value::Null) => Call::Sweep,
            (Operation::Write, Value::Text(value)) => Call::Write { value, ttl_ms: None },
            (Operation::Write, Value::Expiring(Expiring { value, ttl_ms })) => {
                Call::Write { value, ttl_ms: Some(ttl_ms) }
            }
            (Operation::Insert, Value::Text(value)) => Call::Insert { value },
            (Operation::Cas, Value::Exchange(Exchange { expected, value, ttl_ms, keep_ttl })) => {
                Call::Cas { expected, value, ttl_ms, keep_ttl }
            }
            (Operation::Delete, Value::Null) => Call::Delete { expected: None },
            (Operation::Delete, Value::Expected(Expected { expected })) => {
                Call::Delete { expected: Some(expected) }
            }
            (Operation::Increment, Value::Delta(delta)) => Call::Increment { delta },
            (Operation::Expire, Value::Null) => Call::Expire { ttl_ms: None },
            (Operation::Expire, Value::Lifetime(Lifetime { ttl_ms })) => {
                Call::Expire { ttl_ms: Some(ttl_ms) }
            }
            (Operation::Append, Value::Element(element)) => Call::Append { element },
            (Operation::List, Value::Null) => Call::List,
            (f, value) => return Err(format!("{f:?} cannot be asked with {value:?}")),
        })
    }

    /// After how many milliseconds what it writes expires, if it does.
    pub fn ttl_ms(&self) -> Option<u64> {
        match self {
            Call::Write { ttl_ms, .. } | Call::Cas { ttl_ms, .. } | Call::Expire { ttl_ms } => {
                *ttl_ms
            }
            _ => None,
        }
    }

    /// Does it change the key when it succeeds?
    pub fn is_mutation(&self) -> bool {
        !matches!(self, Call::Read | Call::Scan | Call::ReadAll | Call::Page(_) | Call::List)
    }
}

impl Outcome {
    pub(super) fn encode(&self) -> (Kind, Value) {
        match self {
            Outcome::Unknown => (Kind::Info, Value::Null),
            Outcome::Failed => (Kind::Fail, Value::Null),
            Outcome::Refused(current) => {
                (Kind::Fail, Value::Current(Current { current: current.clone() }))
            }
            Outcome::Ok(reply) => (
                Kind::Ok,
                match reply.clone() {
                    Reply::Read(None) => Value::Null,
                    Reply::Read(Some(record)) => Value::Record(record),
                    Reply::Written { version }
                    | Reply::Deleted { version }
                    | Reply::Expired { version } => Value::Version(Versioned { version }),
                    Reply::Incremented { number, version } => {
                        Value::Number(Numbered { version, number })
                    }
                    Reply::Scanned(entries) => Value::Entries(entries),
                    Reply::Paged(page) => Value::Paged(page),
                    Reply::Swept { at, deleted } => Value::Swept(Swept { at, deleted }),
                    // Whoever records it puts in what was asked.
                    Reply::Appended => Value::Null,
                    Reply::Listed(elements) => Value::Elements(elements),
                },
            ),
        }
    }

    pub(super) fn decode(f: Operation, kind: Kind, value: &Value) -> Result<Outcome, String> {
        use Operation::{
            Append, Cas, Delete, Expire, Increment, Insert, List, Page, Read, ReadAll, Scan, Write,
        };
        Ok(match (kind, f, value.clone()) {
            (Kind::Ok, Append, Value::Element(_)) => Outcome::Ok(Reply::Appended),
            (Kind::Fail, Append, Value::Element(_)) => Outcome::Failed,
            (Kind::Info, Append, Value::Element(_)) => Outcome::Unknown,
            (Kind::Ok, List, Value::Elements(elements)) => Outcome::Ok(Reply::Listed(elements)),
            (Kind::Info, _, Value::Null) => Outcome::Unknown,
            (Kind::Fail, _, Value::Null) => Outcome::Failed,
            (Kind::Fail, Cas | Delete, Value::Current(Current { current })) => {
                Outcome::Refused(current)
            }
            (Kind::Ok, Read, Value::Null) => Outcome::Ok(Reply::Read(None)),
            (Kind::Ok, Read, Value::Record(record)) => Outcome::Ok(Reply::Read(Some(record))),
            (Kind::Ok, Write | Insert | Cas, Value::Version(Versioned { version })) => {
                Outcome::Ok(Reply::Written { version })
            }
            (Kind::Ok, Delete, Value::Version(Versioned { version })) => {
                Outcome::Ok(Reply::Deleted { version })
            }
            (Kind::Ok, Expire, Value::Version(Versioned { version })) => {
                Outcome::Ok(Reply::Expired { version })
            }
            (Kind::Ok, Increment, Value::Number(Numbered { version, number })) => {
                Outcome::Ok(Reply::Incremented { number, version })
            }
            (Kind::Ok, Scan | ReadAll, Value::Entries(entries)) => {
                Outcome::Ok(Reply::Scanned(entries))
            }
            (Kind::Ok, Page, Value::Paged(page)) => Outcome::Ok(Reply::Paged(page)),
            (Kind::Ok, Operation::Sweep, Value::Swept(Swept { at, deleted })) => {
                Outcome::Ok(Reply::Swept { at, deleted })
            }
            (kind, f, value) => return Err(format!("{f:?} cannot end as {kind:?} with {value:?}")),
        })
    }
}

impl Op {
    /// Was it over before `other` began?
    pub fn precedes(&self, other: &Op) -> bool {
        self.complete_index.is_some_and(|complete| complete < other.invoke_index)
    }

    /// Were the two open at the same time?
    pub fn overlaps(&self, other: &Op) -> bool {
        !self.precedes(other) && !other.precedes(self)
    }

    /// The version that it made, if it was acknowledged and made one.
    pub fn version_made(&self) -> Option<Version> {
        match self.outcome {
            Outcome::Ok(
                Reply::Written { version }
                | Reply::Incremented { version, .. }
                | Reply::Deleted { version }
                | Reply::Expired { version },
            ) => Some(version).filter(|v| *v > 0),
            _ => None,
        }
    }
}

/// Pairs events that [`super::History::push`] has accepted.
pub(super) fn pair(events: &[Event]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::with_capacity(events.len() / 2);
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events {
        if event.kind == Kind::Invoke {
            let call = Call::decode(event.f, &event.value).expect("checked when it was recorded");
            open.insert(event.process, ops.len());
            ops.push(Op {
                process: event.process,
                key: event.key.clone(),
                call,
                invoke_ns: event.time,
                complete_ns: None,
                invoke_index: event.index,
                complete_index: None,
                outcome: Outcome::Unknown,
            });
            continue;
        }
        let position = open.remove(&event.process).expect("checked when it was recorded");
        let op = &mut ops[position];
        op.outcome = Outcome::decode(event.f, event.kind, &event.value)
            .expect("checked when it was recorded");
        if op.outcome != Outcome::Unknown {
            op.complete_ns = Some(event.time);
            op.complete_index = Some(event.index);
        }
    }
    ops
}

/// A time as people read it: milliseconds with three decimals.
pub fn millis(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000)
}

/// A record in words.
pub(crate) fn record_in_words(record: &Option<Record>) -> String {
    match record {
        None => "absent".to_string(),
        Some(record) => format!("{:?} at version {}", record.value, record.version),
    }
}

fn page_in_words(f: &mut fmt::Formatter<'_>, asked: &PageAsked) -> fmt::Result {
    let PageAsked { start, end, reverse, limit, keys_only, at } = asked;
    write!(f, "scans a page of {start:?} to {end:?}")?;
    if *limit > 0 {
        write!(f, ", {limit} at most")?;
    }
    if *reverse {
        write!(f, ", backwards")?;
    }
    if *keys_only {
        write!(f, ", keys only")?;
    }
    if *at > 0 {
        write!(f, ", at version {at}")?;
    }
    Ok(())
}

/// One line for people: `process 3 reads "a" -> "x" at version 7 (1.000 .. 2.500 ms, events 4 and 9)`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        write!(f, "process {} ", self.process)?;
        match &self.call {
            Call::Read => write!(f, "reads {key:?}")?,
            Call::Scan if key.is_empty() => write!(f, "scans")?,
            Call::Scan => write!(f, "scans {key:?}")?,
            Call::ReadAll => write!(f, "reads all of {key:?}")?,
            Call::Page(asked) => page_in_words(f, asked)?,
            Call::Sweep => write!(f, "deletes all of {key:?}")?,
            Call::Write { value, .. } => write!(f, "writes {value:?} to {key:?}")?,
            Call::Insert { value } => write!(f, "inserts {value:?} as {key:?}")?,
            Call::Cas { expected: 0, value, .. } => {
                write!(f, "writes {value:?} to {key:?} if absent")?
            }
            Call::Cas { expected, value, .. } => {
                write!(f, "writes {value:?} to {key:?} if at version {expected}")?;
            }
            Call::Delete { expected: None } => write!(f, "deletes {key:?}")?,
            Call::Delete { expected: Some(v) } => write!(f, "deletes {key:?} if at version {v}")?,
            Call::Increment { delta } => write!(f, "adds {delta} to {key:?}")?,
            Call::Expire { ttl_ms: None } => write!(f, "keeps {key:?} for ever")?,
            Call::Expire { .. } => write!(f, "keeps {key:?}")?,
            Call::Append { element } => write!(f, "appends {element} to {key:?}")?,
            Call::List => write!(f, "reads the list {key:?}")?,
        }
        if let Some(ttl_ms) = self.call.ttl_ms() {
            write!(f, " for {ttl_ms} ms")?;
        }
        match &self.outcome {
            Outcome::Ok(Reply::Read(record)) => write!(f, " -> {}", record_in_words(record))?,
            Outcome::Ok(Reply::Written { version }) => write!(f, " -> version {version}")?,
            Outcome::Ok(Reply::Deleted { version: 0 }) => write!(f, " -> nothing to delete")?,
            Outcome::Ok(Reply::Deleted { version }) => write!(f, " -> version {version}")?,
            Outcome::Ok(Reply::Expired { version: 0 }) => write!(f, " -> no such key")?,
            Outcome::Ok(Reply::Expired { version }) => write!(f, " -> version {version}")?,
            Outcome::Ok(Reply::Incremented { number, version }) => {
                write!(f, " -> {number} at version {version}")?;
            }
            Outcome::Ok(Reply::Scanned(entries)) => write!(f, " -> {} keys", entries.len())?,
            Outcome::Ok(Reply::Paged(page)) => {
                let keys: Vec<_> = page.records.iter().map(|entry| &entry.key).collect();
                write!(f, " -> {keys:?} at version {}", page.at)?;
                match &page.next {
                    Some(next) => write!(f, ", next {next:?}")?,
                    None => write!(f, ", the end")?,
                }
            }
            Outcome::Ok(Reply::Appended) => write!(f, " -> done")?,
            Outcome::Ok(Reply::Swept { at, deleted }) => {
                write!(f, " -> {deleted} keys up to version {at}")?;
            }
            Outcome::Ok(Reply::Listed(elements)) => {
                // The end of a long one says the most.
                const SHOWN_MAX: usize = 12;
                let skipped = elements.len().saturating_sub(SHOWN_MAX);
                let shown = elements.get(skipped..).unwrap_or_default();
                match skipped {
                    0 => write!(f, " -> {shown:?}")?,
                    _ => write!(f, " -> {skipped} elements and {shown:?}")?,
                }
            }
            Outcome::Refused(current) => write!(f, " -> refused: {}", record_in_words(current))?,
            Outcome::Failed => write!(f, " -> not done")?,
            Outcome::Unknown => write!(f, " -> outcome unknown")?,
        }
        let (begin, began) = (millis(self.invoke_ns), self.invoke_index);
        match self.complete_ns.zip(self.complete_index) {
            Some((end, ended)) => {
                write!(f, " ({begin} .. {} ms, events {began} and {ended})", millis(end))
            }
            None => write!(f, " (from {begin} ms, event {began})"),
        }
    }
}
