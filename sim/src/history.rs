//! What the clients of a run asked and what they were told.
//!
//! The shape is Jepsen's: one event a line of JSON with exactly the fields `process`, `type`, `f`,
//! `value`, `time` (ns) and `index`, an `invoke` and later an `ok`, `fail` or `info` of the same
//! process. A judge never looks at events but at [`Op`]s, which [`History::operations`] pairs up.
//!
//! ```text
//! {"process":1,"type":"invoke","f":"write","value":["a","x"],"time":1000,"index":0}
//! {"process":1,"type":"ok","f":"write","value":["a",{"version":7}],"time":9000,"index":1}
//! {"process":1,"type":"invoke","f":"txn","value":[["append","l",4]],"time":9500,"index":2}
//! {"process":1,"type":"info","f":"txn","value":[["append","l",4]],"time":9900,"index":3}
//! ```
//!
//! `value` is `[key, what]`, as Jepsen's independent tuples are. For a scan, a read of all registers, a
//! page, a deletion of a prefix (`sweep`) or a feed (`watch`) the prefix of the keys stands for the key, `null` for all
//! keys. What `what` holds depends on `f` and `type`:
//!
//! | f | invoke | ok | fail |
//! |---|---|---|---|
//! | `read` | `null` | `null` (absent) or `{"version","value"}` | `null` |
//! | `write`, `insert` | `"text"`; a write that expires `{"value","ttl_ms"}` | `{"version"}` | `null` |
//! | `delete` | `null` or `{"expected"}` | `{"version"}`, 0: there was nothing | `null` or `{"current"}` |
//! | `cas` | `{"expected","value"}`, 0: absent; perhaps `"ttl_ms"`, or `"keep_ttl":true` | `{"version"}` | `null` or `{"current"}` |
//! | `increment` | a number | `{"version","number"}` | `null` |
//! | `expire` | `{"ttl_ms"}`; `null`: never | `{"version"}`, 0: there was nothing | `null` |
//! | `scan`, `read-all` | `null` | `[{"key","version","value"}]` | `null` |
//! | `page` | `{"start","end","reverse","limit","keys_only","at"}` | `{"at","records","next"}` | `null` |
//! | `sweep` | `null` | `{"at","deleted"}` | `null` |
//! | `timestamp` | `null` | `{"version"}` | `null` |
//! | `watch` | `{"after","after_key","is_key"}`, 0: what is written from now on | `{"from","changes","upto","upto_key"}`, each change `{"key","version","value"}`, `null`: removed | `null` |
//!
//! and `null` for `info`. Operations on lists are transactions of one micro-operation, as Elle reads
//! them, with `f` `"txn"`; lists are of whole numbers, each appended once in a run, and an absent list
//! is an empty one:
//!
//! | micro-operation | invoke | ok | fail, info |
//! |---|---|---|---|
//! | append | `[["append",key,n]]` | `[["append",key,n]]` | `[["append",key,n]]` |
//! | read a list | `[["r",key,null]]` | `[["r",key,[n, …]]]` | `[["r",key,null]]` |
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

mod codec;
mod event;
mod ops;
mod words;

pub use event::{
    Changed, Current, Entry, Event, Exchange, Expected, Expiring, Kind, Lifetime, Numbered,
    Operation, PageAsked, Paged, Record, Swept, Value, Version, Versioned, WatchAsked, WatchSeen,
};
pub use ops::{Call, Op, OpOutcome, Reply};
pub use words::millis;

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

    /// By the index of an invocation: when the event came that ended it, whatever that said.
    pub fn ends(&self) -> BTreeMap<u64, u64> {
        let (mut open, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for event in &self.events {
            match open.remove(&event.process) {
                Some(invoke) => drop(ends.insert(invoke, event.time)),
                None => drop(open.insert(event.process, event.index)),
            }
        }
        ends
    }

    /// Records that `process` asks. Panics where the process may not: that is a fault of the
    /// caller's, and a judge fed with such a history would judge something else.
    pub fn invoke(&mut self, process: u64, time_ns: u64, key: &str, call: &Call) {
        let (f, value) = call.encode();
        self.record(process, time_ns, Kind::Invoke, f, key.to_string(), value);
    }

    /// Records what `process` was told. Panics if it asked nothing.
    pub fn complete(&mut self, process: u64, time_ns: u64, outcome: &OpOutcome) {
        let Some(ProcessState::Open(invoke)) = self.processes.get(&process).copied() else {
            panic!("process {process} completes an operation that it never began");
        };
        let asked = &self.events[invoke];
        let (f, key) = (asked.f, asked.key.clone());
        let (kind, value) = outcome.encode();
        let value = if f == Operation::Append { asked.value.clone() } else { value };
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
                if asked.f == Operation::Append && asked.value != event.value {
                    return Err(format!(
                        "process {process} completes an append of {:?} but began one of {:?}",
                        event.value, asked.value
                    ));
                }
                OpOutcome::decode(event.f, kind, &event.value)?;
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
mod tests;
