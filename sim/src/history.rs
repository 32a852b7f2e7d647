//! What the clients of a run asked and what they were told.
//!
//! The shape is Jepsen's: one event a line of JSON, an `invoke` and later an `ok`, `fail` or `info`
//! of the same process. A judge never looks at events but at [`Op`]s, which [`History::operations`]
//! pairs up.
//!
//! ```text
//! {"index":0,"time":1000,"process":1,"type":"invoke","f":"write","key":"a","value":"x"}
//! {"index":1,"time":9000,"process":1,"type":"ok","f":"write","key":"a","value":{"version":7}}
//! ```
//!
//! What `value` holds depends on `f` and `type`:
//!
//! | f | invoke | ok | fail |
//! |---|---|---|---|
//! | `read` | `null` | `null` (absent) or `{"version","value"}` | `null` |
//! | `write`, `insert` | `"text"`; a write that expires `{"value","ttl_ms"}` | `{"version"}` | `null` |
//! | `delete` | `null` or `{"expected"}` | `{"version"}`, 0: there was nothing | `null` or `{"current"}` |
//! | `cas` | `{"expected","value"}`, 0: absent; perhaps `"ttl_ms"` | `{"version"}` | `null` or `{"current"}` |
//! | `increment` | a number | `{"version","number"}` | `null` |
//! | `scan` | `null` | `[{"key","version","value"}]` | `null` |
//!
//! `ok`: done, and this was the answer. `fail`: definitely not done, now or later; with
//! `{"current": null or {"version","value"}}` it is a refusal that reports the state it rests on.
//! `info`: nobody knows; it may take effect once, at any later time, or never. An `invoke` without
//! a second event counts as `info`.
//!
//! Invariants, checked by [`History::push`] and so for every file read:
//! - indexes count up from 0, times never fall. Real-time order is the order of indexes, so that
//!   two events of one nanosecond still have an order.
//! - a process has at most one operation open, and after an `info` it never acts again: the
//!   operation may still be at work, and "a process is sequential" would otherwise be a lie. The
//!   client goes on under a new process number.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

mod ops;

pub use ops::{Call, Op, Outcome, Reply, millis};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Reads all the keys of the acknowledged set.
    Scan,
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

/// `{"expected"}`: the condition of a delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The version that the key must have.
    pub expected: Version,
}

/// `{"expected","value"}`: a compare-and-set.
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
    /// A compare-and-set.
    Exchange(Exchange),
    /// A conditional delete.
    Expected(Expected),
    /// A refusal.
    Current(Current),
    /// A scan's result.
    Entries(Vec<Entry>),
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Position in the history, from 0.
    pub index: u64,
    /// Simulated time in nanoseconds.
    pub time: u64,
    /// Who: one sequential client.
    pub process: u64,
    /// Invocation or which completion.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What is asked.
    pub f: Operation,
    /// Of which key; empty for a scan.
    pub key: String,
    /// Arguments or answer.
    pub value: Value,
}

/// What makes a history no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file could not be read.
    #[error("line {line}: {source}")]
    Io {
        /// Line, from 1.
        line: usize,
        /// The cause.
        source: io::Error,
    },
    /// A line is not an event.
    #[error("line {line}: not an event: {source}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// A line is an event that cannot stand where it stands.
    #[error("line {line}: {reason}")]
    Order {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// What a process is doing.
#[derive(Clone, Copy, Debug)]
enum ProcessState {
    /// The event with this index waits for its completion.
    Open(usize),
    /// Free to ask.
    Idle,
    /// Its last operation has an unknown outcome.
    Retired,
}

/// A recorded history: events in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: Vec<Event>,
    processes: BTreeMap<u64, ProcessState>,
}

impl History {
    /// An empty history.
    pub fn new() -> History {
        History::default()
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Records that `process` asks. Panics where the process may not: that is a fault of the
    /// caller's, and a judge fed with such a history would judge something else.
    pub fn invoke(&mut self, process: u64, time_ns: u64, key: &str, call: &Call) {
        let (f, value) = call.encode();
        self.record(process, time_ns, Kind::Invoke, f, key.to_string(), value);
    }

    /// Records what `process` was told. Panics if it asked nothing.
    pub fn complete(&mut self, process: u64, time_ns: u64, outcome: &Outcome) {
        let Some(ProcessState::Open(invoke)) = self.processes.get(&process).copied() else {
            panic!("process {process} completes an operation that it never began");
        };
        let (f, key) = (self.events[invoke].f, self.events[invoke].key.clone());
        let (kind, value) = outcome.encode();
        self.record(process, time_ns, kind, f, key, value);
    }

    fn record(
        &mut self,
        process: u64,
        time: u64,
        kind: Kind,
        f: Operation,
        key: String,
        value: Value,
    ) {
        let index = self.events.len() as u64;
        if let Err(reason) = self.push(Event { index, time, process, kind, f, key, value }) {
            panic!("history: {reason}");
        }
    }

    /// Appends an event, or says why it cannot stand here.
    pub fn push(&mut self, event: Event) -> Result<(), String> {
        let next = self.events.len();
        if event.index != next as u64 {
            return Err(format!("index {} where {next} must follow", event.index));
        }
        if let Some(last) = self.events.last()
            && event.time < last.time
        {
            return Err(format!("time {} lies before {}", event.time, last.time));
        }
        let process = event.process;
        let state = self.processes.get(&process).copied().unwrap_or(ProcessState::Idle);
        let state_after = match (event.kind, state) {
            (_, ProcessState::Retired) => {
                return Err(format!(
                    "process {process} acts again although the outcome of its last operation is \
                     unknown"
                ));
            }
            (Kind::Invoke, ProcessState::Open(_)) => {
                return Err(format!("process {process} asks while it still waits"));
            }
            (Kind::Invoke, ProcessState::Idle) => {
                Call::decode(event.f, &event.value)?;
                ProcessState::Open(next)
            }
            (_, ProcessState::Idle) => {
                return Err(format!("process {process} completes what it never began"));
            }
            (kind, ProcessState::Open(invoke)) => {
                let asked = &self.events[invoke];
                if asked.f != event.f || asked.key != event.key {
                    return Err(format!(
                        "process {process} completes {:?} of {:?} but began {:?} of {:?}",
                        event.f, event.key, asked.f, asked.key
                    ));
                }
                Outcome::decode(event.f, kind, &event.value)?;
                if kind == Kind::Info { ProcessState::Retired } else { ProcessState::Idle }
            }
        };
        self.processes.insert(process, state_after);
        self.events.push(event);
        Ok(())
    }

    /// The operations, in the order in which they began.
    pub fn operations(&self) -> Vec<Op> {
        ops::pair(&self.events)
    }

    /// Writes one event a line.
    pub fn write_jsonl(&self, mut out: impl Write) -> io::Result<()> {
        for event in &self.events {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads one event a line. Empty lines are skipped; errors name the line, from 1.
    pub fn read_jsonl(input: impl BufRead) -> Result<History, HistoryError> {
        let mut history = History::new();
        for (position, text) in input.lines().enumerate() {
            let line = position + 1;
            let text = text.map_err(|source| HistoryError::Io { line, source })?;
            if text.trim().is_empty() {
                continue;
            }
            let event: Event = serde_json::from_str(&text)
                .map_err(|source| HistoryError::Syntax { line, source })?;
            history.push(event).map_err(|reason| HistoryError::Order { line, reason })?;
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> History {
        let mut history = History::new();
        history.invoke(1, 10, "a", &Call::Cas { expected: 0, value: "x".into(), ttl_ms: None });
        history.invoke(2, 10, "a", &Call::Delete { expected: Some(4) });
        history.complete(1, 20, &Outcome::Ok(Reply::Written { version: 7 }));
        history.complete(2, 25, &Outcome::Refused(Some(Record { version: 7, value: "x".into() })));
        history.invoke(1, 30, "n", &Call::Increment { delta: -3 });
        history.complete(1, 40, &Outcome::Unknown);
        history.invoke(2, 41, "", &Call::Scan);
        history
    }

    #[test]
    fn lines_come_back_as_they_were_written() {
        let history = sample();
        let mut bytes = Vec::new();
        history.write_jsonl(&mut bytes).unwrap();
        let back = History::read_jsonl(&bytes[..]).unwrap();
        assert_eq!(back.events(), history.events());
        assert_eq!(back.operations(), history.operations());
    }

    #[test]
    fn events_become_operations() {
        let ops = sample().operations();
        assert_eq!(ops.len(), 4);
        assert_eq!(ops[0].outcome, Outcome::Ok(Reply::Written { version: 7 }));
        assert_eq!((ops[0].invoke_ns, ops[0].complete_ns), (10, Some(20)));
        assert!(matches!(ops[1].outcome, Outcome::Refused(Some(_))));
        assert_eq!((ops[2].outcome.clone(), ops[2].complete_ns), (Outcome::Unknown, None));
        assert_eq!(ops[3].outcome, Outcome::Unknown, "never completed");
    }

    #[test]
    fn errors_name_the_line() {
        let good =
            r#"{"index":0,"time":5,"process":1,"type":"invoke","f":"read","key":"a","value":null}"#;
        let cases = [
            ("{", "line 2: not an event"),
            (
                r#"{"index":1,"time":4,"process":2,"type":"invoke","f":"read","key":"a","value":null}"#,
                "line 2: time 4",
            ),
            (
                r#"{"index":2,"time":9,"process":2,"type":"invoke","f":"read","key":"a","value":null}"#,
                "line 2: index 2",
            ),
            (
                r#"{"index":1,"time":9,"process":1,"type":"invoke","f":"read","key":"a","value":null}"#,
                "line 2: process 1 asks",
            ),
            (
                r#"{"index":1,"time":9,"process":1,"type":"ok","f":"read","key":"a","value":"text"}"#,
                "line 2: ",
            ),
            (
                r#"{"index":1,"time":9,"process":1,"type":"ok","f":"read","key":"b","value":null}"#,
                "line 2: process 1 completes",
            ),
            (
                r#"{"index":1,"time":9,"process":2,"type":"ok","f":"read","key":"a","value":null}"#,
                "line 2: process 2 completes",
            ),
            (
                r#"{"index":1,"time":9,"process":2,"type":"invoke","f":"read","key":"a","value":null,"x":1}"#,
                "line 2: not an event",
            ),
        ];
        for (bad, expect) in cases {
            let error = History::read_jsonl(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error} for {bad}");
        }
    }

    #[test]
    #[should_panic(expected = "acts again")]
    fn a_process_with_an_unknown_outcome_is_retired() {
        let mut history = History::new();
        history.invoke(1, 0, "a", &Call::Write { value: "x".into(), ttl_ms: None });
        history.complete(1, 1, &Outcome::Unknown);
        history.invoke(1, 2, "a", &Call::Read);
    }
}
