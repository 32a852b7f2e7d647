//! One event, as it is in memory, and its form in a line of JSON.
//!
//! In memory an event has its key apart from its value; in a line there are exactly the fields of
//! Jepsen, and the key stands in `value`: [`Line`].

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Value as Json, json};

/// A version of a key: greater for every later write of it. 0 stands for "absent".
pub type Version = u64;

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The client asks.
    Invoke,
    /// It was done.
    Ok,
    /// It was definitely not done.
    Fail,
    /// Nobody knows.
    Info,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads one key.
    Read,
    /// Writes one key whatever it holds.
    Write,
    /// Writes a key that nobody else ever writes: material for the acknowledged set.
    Insert,
    /// Writes if the key has the expected version, or is absent.
    Cas,
    /// Removes, with or without an expected version.
    Delete,
    /// Adds to the number in the key; an absent key counts as 0.
    Increment,
    /// Gives a key another expiry, or none, and leaves its value.
    Expire,
    /// Reads all the keys of the acknowledged set.
    Scan,
    /// Read all registers as of one moment.
    ReadAll,
    /// Reads a page of a scan.
    Page,
    /// Appends an element to the list of a key.
    Append,
    /// Reads the list of a key.
    List,
    /// Removes all keys that begin so.
    Sweep,
    /// Follows all keys that begin so for a while.
    Watch,
    /// Takes a timestamp.
    Timestamp,
}

impl Operation {
    /// Whether it is about keys that begin alike, or all of them, or none: about no single one.
    pub fn is_of_many(self) -> bool {
        matches!(
            self,
            Operation::Scan
                | Operation::ReadAll
                | Operation::Page
                | Operation::Sweep
                | Operation::Watch
                | Operation::Timestamp
        )
    }
}

/// A value and the version that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the write.
    pub version: Version,
    /// What was written.
    pub value: String,
}

/// One key of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Version of the write.
    pub version: Version,
    /// What was written.
    pub value: String,
}

/// `{"version"}`: the answer to a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versioned {
    /// Version of the write.
    pub version: Version,
}

/// `{"version","number"}`: the answer to an increment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered {
    /// Version of the write.
    pub version: Version,
    /// The number after it.
    pub number: i64,
}

/// `{"at","deleted"}`: the answer to a deletion of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swept {
    /// What was written up to this version is gone.
    pub at: Version,
    /// How many keys that were.
    pub deleted: u64,
}

/// `{"expected"}`: the condition of a delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The version that the key must have.
    pub expected: Version,
}

/// `{"expected","value"}`, perhaps with `ttl_ms` or `keep_ttl`: a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The version that the key must have; 0: it must be absent.
    pub expected: Version,
    /// What to write then.
    pub value: String,
    /// After how many milliseconds it expires, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// It expires when what was there did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_ttl: bool,
}

/// `{"value","ttl_ms"}`: a write that expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expiring {
    /// What to write.
    pub value: String,
    /// After how many milliseconds it expires.
    pub ttl_ms: u64,
}

/// `{"start","end","reverse","limit","keys_only","at"}`: a page of a scan that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageAsked {
    /// First key.
    pub start: String,
    /// End, exclusive; empty: all keys from the first on.
    pub end: String,
    /// From the end to the start.
    pub reverse: bool,
    /// Most records; 0: as many as a page has.
    pub limit: u64,
    /// Without values.
    pub keys_only: bool,
    /// The version of an earlier page; 0: the newest state.
    pub at: Version,
    /// It was said to show all that was acknowledged before this time of the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
}

/// `{"at","records","next"}`: a page of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paged {
    /// The version that it shows the state at.
    pub at: Version,
    /// In the order of the scan.
    pub records: Vec<Entry>,
    /// Where the scan goes on: a first key, or backwards an end.
    // Named so that a missing field is an error, not the end.
    #[serde(deserialize_with = "Option::deserialize")]
    pub next: Option<String>,
}

/// `{"after","after_key","is_key"}`: where a feed is to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchAsked {
    /// Only what is written behind this version; 0: behind what was acknowledged before.
    pub after: Version,
    /// Where it is not empty: of this version what is behind this key, too.
    pub after_key: String,
    /// Of one key alone, and no prefix of keys.
    pub is_key: bool,
}

/// One version of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The key.
    pub key: String,
    /// Version of the write.
    pub version: Version,
    /// What was written, or that it was removed.
    // Named so that a missing field is an error, not a removal.
    #[serde(deserialize_with = "Option::deserialize")]
    pub value: Option<String>,
}

/// `{"from","changes","upto","upto_key"}`: what a feed has brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchSeen {
    /// The version behind which it began.
    pub from: Version,
    /// In its order.
    pub changes: Vec<Changed>,
    /// All up to this version was brought.
    pub upto: Version,
    /// Where it is not empty: of this version only what is not behind this key.
    pub upto_key: String,
}

/// `{"ttl_ms"}`: another expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifetime {
    /// After how many milliseconds the key expires.
    pub ttl_ms: u64,
}

/// `{"current"}`: what a refusal rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Current {
    /// What the key held, or absent.
    // Named so that a missing field is an error, not "absent".
    #[serde(deserialize_with = "Option::deserialize")]
    pub current: Option<Record>,
}

/// The `value` of an event. Which form belongs where is the table in the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `null`.
    Null,
    /// What to write.
    Text(String),
    /// What to add.
    Delta(i64),
    /// What was read.
    Record(Record),
    /// What an increment made.
    Number(Numbered),
    /// What a write made.
    Version(Versioned),
    /// A write that expires.
    Expiring(Expiring),
    /// Another expiry.
    Lifetime(Lifetime),
    /// A compare-and-set.
    Exchange(Exchange),
    /// A conditional delete.
    Expected(Expected),
    /// A refusal.
    Current(Current),
    /// What a deletion of a prefix did.
    Swept(Swept),
    /// A scan's result.
    Entries(Vec<Entry>),
    /// A page that is asked for.
    PageAsked(PageAsked),
    /// A page of a scan.
    Paged(Paged),
    /// What to append, in the question and in every answer. Its form is a micro-operation.
    #[serde(skip)]
    Element(u64),
    /// The list that was read. Its form is a micro-operation.
    #[serde(skip)]
    Elements(Vec<u64>),
    /// A feed that is to go on.
    WatchAsked(WatchAsked),
    /// What a feed has brought.
    WatchSeen(WatchSeen),
}

/// One event of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Event {
    /// Position in the history, from 0.
    pub index: u64,
    /// Nanoseconds since a moment before the run, simulated or real.
    pub time: u64,
    /// Who: one sequential client.
    pub process: u64,
    /// Invocation or which completion.
    pub kind: Kind,
    /// What is asked.
    pub f: Operation,
    /// Of which key. For a scan it is the prefix of the keys that it reads; empty: all.
    pub key: String,
    /// Arguments or answer.
    pub value: Value,
}

/// A line of a history: exactly the fields of Jepsen. Its forms of `value` are in the table of the
/// parent module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    process: u64,
    #[serde(rename = "type")]
    kind: Kind,
    f: String,
    // Named so that a missing field is an error, not `null`.
    #[serde(deserialize_with = "Json::deserialize")]
    value: Json,
    time: u64,
    index: u64,
}

/// What operations on lists are called: transactions of one micro-operation.
const TXN: &str = "txn";

const NAMES: [(Operation, &str); 15] = [
    (Operation::Read, "read"),
    (Operation::Write, "write"),
    (Operation::Insert, "insert"),
    (Operation::Cas, "cas"),
    (Operation::Delete, "delete"),
    (Operation::Increment, "increment"),
    (Operation::Expire, "expire"),
    (Operation::Scan, "scan"),
    (Operation::ReadAll, "read-all"),
    (Operation::Page, "page"),
    (Operation::Append, TXN),
    (Operation::List, TXN),
    (Operation::Sweep, "sweep"),
    (Operation::Watch, "watch"),
    (Operation::Timestamp, "timestamp"),
];

impl From<Event> for Line {
    fn from(event: Event) -> Line {
        let Event { index, time, process, kind, f, key, value } = event;
        let name = NAMES.iter().find(|(named, _)| *named == f).map_or("", |(_, name)| name);
        let value = match (f, value) {
            (Operation::Append, Value::Element(element)) => json!([["append", key, element]]),
            (Operation::List, Value::Elements(elements)) => json!([["r", key, elements]]),
            (Operation::List, _) => json!([["r", key, null]]),
            (f, value) if key.is_empty() && f.is_of_many() => json!([null, value]),
            (_, value) => json!([key, value]),
        };
        Line { process, kind, f: name.to_owned(), value, time, index }
    }
}

impl TryFrom<Line> for Event {
    type Error = serde_json::Error;

    fn try_from(line: Line) -> Result<Event, serde_json::Error> {
        let Line { process, kind, f, value, time, index } = line;
        let (f, key, value) = if f == TXN {
            let [(micro, key, argument)] =
                serde_json::from_value::<[(String, String, Json); 1]>(value)?;
            match &micro[..] {
                "append" => {
                    (Operation::Append, key, Value::Element(serde_json::from_value(argument)?))
                }
                "r" if argument.is_null() => (Operation::List, key, Value::Null),
                "r" => (Operation::List, key, Value::Elements(serde_json::from_value(argument)?)),
                _ => {
                    return Err(serde_json::Error::custom(format!(
                        "{micro:?} is no micro-operation"
                    )));
                }
            }
        } else {
            let named = NAMES.iter().find(|(_, name)| *name == f);
            let Some((f, _)) = named else {
                return Err(serde_json::Error::custom(format!("{f:?} is no operation")));
            };
            let (key, value) = serde_json::from_value::<(Option<String>, Value)>(value)?;
            if key.is_none() && !f.is_of_many() {
                return Err(serde_json::Error::custom(
                    "only a scan or a timestamp does without a key",
                ));
            }
            (*f, key.unwrap_or_default(), value)
        };
        Ok(Event { index, time, process, kind, f, key, value })
    }
}
