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
//! `value` is `[key, what]`, as Jepsen's independent tuples are. For a scan, a read of all registers or a
//! page, or a deletion of a prefix (`sweep`), the prefix of the keys stands for the key, `null` for all keys. What `what` holds depends on
//! `f` and `type`:
//!
//! | f | invoke | ok | fail |
//! |---|---|---|---|
//! | `read` | `null` | `null` (absent) or `{"version","value"}` | `null` |
//! | `write`, `insert` | `"text"`; a write that expires `{"value","ttl_ms"}` | `{"version"}` | `null` |
//! | `delete` | `null` or `{"expected"}` | `{"version"}`, 0: there was nothing | `null` or `{"current"}` |
//! | `cas` | `{"expected","value"}`, 0: absent; perhaps `"ttl_ms"` | `{"version"}` | `null` or `{"current"}` |
//! | `increment` | a number | `{"version","number"}` | `null` |
//! | `expire` | `{"ttl_ms"}`; `null`: never | `{"version"}`, 0: there was nothing | `null` |
//! | `scan`, `read-all` | `null` | `[{"key","version","value"}]` | `null` |
//! | `page` | `{"start","end","reverse","limit","keys_only","at"}` | `{"at","records","next"}` | `null` |
//! | `sweep` | `null` | `{"at","deleted"}` | `null` |
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

mod event;
mod ops;

pub use event::{
    Current, Entry, Event, Exchange, Expected, Expiring, Kind, Lifetime, Numbered, Operation,
    PageAsked, Paged, Record, Swept, Value, Version, Versioned,
};
pub use ops::{Call, Op, Outcome, Reply, millis};

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
    pub fn complete(&mut self, process: u64, time_ns: u64, outcome: &Outcome) {
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
        history.invoke(
            1,
            10,
            "a",
            &Call::Cas { expected: 0, value: "x".into(), ttl_ms: None, keep_ttl: false },
        );
        history.invoke(2, 10, "a", &Call::Delete { expected: Some(4) });
        history.complete(1, 20, &Outcome::Ok(Reply::Written { version: 7 }));
        history.complete(2, 25, &Outcome::Refused(Some(Record { version: 7, value: "x".into() })));
        history.invoke(1, 30, "n", &Call::Increment { delta: -3 });
        history.complete(1, 40, &Outcome::Unknown);
        history.invoke(2, 41, "", &Call::Scan);
        history.complete(2, 42, &Outcome::Ok(Reply::Scanned(Vec::new())));
        history.invoke(2, 43, "set/", &Call::Scan);
        history.complete(2, 44, &Outcome::Failed);
        history.invoke(2, 45, "l", &Call::Append { element: 4 });
        history.complete(2, 46, &Outcome::Ok(Reply::Appended));
        history.invoke(2, 47, "l", &Call::List);
        history.complete(2, 48, &Outcome::Ok(Reply::Listed(vec![4])));
        history.invoke(2, 49, "l", &Call::List);
        history.complete(2, 50, &Outcome::Failed);
        history.invoke(2, 51, "l", &Call::Append { element: 5 });
        history.complete(2, 52, &Outcome::Unknown);
        history.invoke(3, 53, "a", &Call::Read);
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

    /// Outside checkers read this: nothing more, nothing less, nothing else.
    #[test]
    fn lines_are_of_jepsens_shape() {
        let mut bytes = Vec::new();
        sample().write_jsonl(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, expected) in [
            (
                1,
                r#"{"process":2,"type":"invoke","f":"delete","value":["a",{"expected":4}],"time":10,"index":1}"#,
            ),
            (
                3,
                r#"{"process":2,"type":"fail","f":"delete","value":["a",{"current":{"value":"x","version":7}}],"time":25,"index":3}"#,
            ),
            (
                4,
                r#"{"process":1,"type":"invoke","f":"increment","value":["n",-3],"time":30,"index":4}"#,
            ),
            (
                5,
                r#"{"process":1,"type":"info","f":"increment","value":["n",null],"time":40,"index":5}"#,
            ),
            (
                6,
                r#"{"process":2,"type":"invoke","f":"scan","value":[null,null],"time":41,"index":6}"#,
            ),
            (7, r#"{"process":2,"type":"ok","f":"scan","value":[null,[]],"time":42,"index":7}"#),
            (
                9,
                r#"{"process":2,"type":"fail","f":"scan","value":["set/",null],"time":44,"index":9}"#,
            ),
            (
                11,
                r#"{"process":2,"type":"ok","f":"txn","value":[["append","l",4]],"time":46,"index":11}"#,
            ),
            (
                12,
                r#"{"process":2,"type":"invoke","f":"txn","value":[["r","l",null]],"time":47,"index":12}"#,
            ),
            (
                13,
                r#"{"process":2,"type":"ok","f":"txn","value":[["r","l",[4]]],"time":48,"index":13}"#,
            ),
            (
                15,
                r#"{"process":2,"type":"fail","f":"txn","value":[["r","l",null]],"time":50,"index":15}"#,
            ),
            (
                17,
                r#"{"process":2,"type":"info","f":"txn","value":[["append","l",5]],"time":52,"index":17}"#,
            ),
        ] {
            assert_eq!(lines[at], expected);
        }
    }

    #[test]
    fn events_become_operations() {
        let ops = sample().operations();
        assert_eq!(ops.len(), 10);
        assert_eq!(ops[5].outcome, Outcome::Ok(Reply::Appended));
        assert_eq!(ops[6].outcome, Outcome::Ok(Reply::Listed(vec![4])));
        assert_eq!(ops[7].outcome, Outcome::Failed);
        assert_eq!(ops[8].outcome, Outcome::Unknown);
        assert_eq!(ops[9].outcome, Outcome::Unknown, "never completed");
        assert_eq!(ops[0].outcome, Outcome::Ok(Reply::Written { version: 7 }));
        assert_eq!((ops[0].invoke_ns, ops[0].complete_ns), (10, Some(20)));
        assert!(matches!(ops[1].outcome, Outcome::Refused(Some(_))));
        assert_eq!((ops[2].outcome.clone(), ops[2].complete_ns), (Outcome::Unknown, None));
        assert_eq!(ops[3].outcome, Outcome::Ok(Reply::Scanned(Vec::new())));
    }

    #[test]
    fn a_page_comes_back_as_it_was_written() {
        let mut history = History::new();
        let asked =
            PageAsked { end: "b".into(), reverse: true, limit: 1, at: 7, ..PageAsked::default() };
        history.invoke(1, 10, "", &Call::Page(asked));
        let records = vec![Entry { key: "a".into(), version: 7, value: "x".into() }];
        let page = Paged { at: 7, records, next: None };
        history.complete(1, 20, &Outcome::Ok(Reply::Paged(page)));
        let mut bytes = Vec::new();
        history.write_jsonl(&mut bytes).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let expected = [
            r#"{"process":1,"type":"invoke","f":"page","value":[null,{"at":7,"end":"b","keys_only":false,"limit":1,"reverse":true,"start":""}],"time":10,"index":0}"#,
            r#"{"process":1,"type":"ok","f":"page","value":[null,{"at":7,"next":null,"records":[{"key":"a","value":"x","version":7}]}],"time":20,"index":1}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        let back = History::read_jsonl(&bytes[..]).unwrap();
        assert_eq!(back.operations(), history.operations());
    }

    #[test]
    fn errors_name_the_line() {
        let good =
            r#"{"process":1,"type":"invoke","f":"read","value":["a",null],"time":5,"index":0}"#;
        let cases = [
            ("{", "line 2: not an event"),
            (
                r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":4,"index":1}"#,
                "line 2: time 4",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":9,"index":2}"#,
                "line 2: index 2",
            ),
            (
                r#"{"process":1,"type":"invoke","f":"read","value":["a",null],"time":9,"index":1}"#,
                "line 2: process 1 asks",
            ),
            (
                r#"{"process":1,"type":"ok","f":"read","value":["a","text"],"time":9,"index":1}"#,
                "line 2: ",
            ),
            (
                r#"{"process":1,"type":"ok","f":"read","value":["b",null],"time":9,"index":1}"#,
                "line 2: process 1 completes",
            ),
            (
                r#"{"process":2,"type":"ok","f":"read","value":["a",null],"time":9,"index":1}"#,
                "line 2: process 2 completes",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":9,"index":1,"x":1}"#,
                "line 2: not an event",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"read","value":"a","time":9,"index":1}"#,
                "line 2: not an event",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"read","value":[null,null],"time":9,"index":1}"#,
                "line 2: not an event: only a scan",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"touch","value":["a",null],"time":9,"index":1}"#,
                "line 2: not an event: \"touch\" is no operation",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"txn","value":[["w","a",1]],"time":9,"index":1}"#,
                "line 2: not an event: \"w\" is no micro",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"txn","value":[["append","a",1],["append","a",2]],"time":9,"index":1}"#,
                "line 2: not an event",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"txn","value":[["append","a","1"]],"time":9,"index":1}"#,
                "line 2: not an event",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"txn","value":[["r","a",[1]]],"time":9,"index":1}"#,
                "line 2: List cannot be asked",
            ),
            (
                r#"{"process":2,"type":"invoke","f":"read","time":9,"index":1}"#,
                "line 2: not an event: missing field `value`",
            ),
        ];
        for (bad, expect) in cases {
            let error = History::read_jsonl(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error} for {bad}");
        }
    }

    #[test]
    fn an_append_ends_with_the_element_that_it_began_with() {
        let good = r#"{"process":1,"type":"invoke","f":"txn","value":[["append","a",1]],"time":5,"index":0}"#;
        let bad =
            r#"{"process":1,"type":"ok","f":"txn","value":[["append","a",2]],"time":9,"index":1}"#;
        let error = History::read_jsonl(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 2: process 1 completes an append"), "{error}");
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
