//! Operations as they stand in events: what is asked and what is answered, as a name and a value, and back.
//!
//! Which form belongs to which operation is the table in the parent module's header; what does not fit it is no
//! history, and `decode` says why.

use super::{
    event::{
        Current, Exchange, Expected, Expiring, Kind, Lifetime, Numbered, Operation, Swept, Value,
        Versioned,
    },
    ops::{Call, OpOutcome, Reply},
};

impl Call {
    pub(super) fn encode(&self) -> (Operation, Value) {
        match self {
            Call::Read => (Operation::Read, Value::Null),
            Call::Scan => (Operation::Scan, Value::Null),
            Call::ReadAll => (Operation::ReadAll, Value::Null),
            Call::Page(asked) => (Operation::Page, Value::PageAsked(asked.clone())),
            Call::Sweep => (Operation::Sweep, Value::Null),
            Call::Timestamp => (Operation::Timestamp, Value::Null),
            Call::Watch(asked) => (Operation::Watch, Value::WatchAsked(asked.clone())),
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
            (Operation::Timestamp, Value::Null) => Call::Timestamp,
            (Operation::Watch, Value::WatchAsked(asked)) => Call::Watch(asked),
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
}

impl OpOutcome {
    pub(super) fn encode(&self) -> (Kind, Value) {
        match self {
            OpOutcome::Unknown => (Kind::Info, Value::Null),
            OpOutcome::Failed => (Kind::Fail, Value::Null),
            OpOutcome::Refused(current) => {
                (Kind::Fail, Value::Current(Current { current: current.clone() }))
            }
            OpOutcome::Ok(reply) => (
                Kind::Ok,
                match reply.clone() {
                    Reply::Read(None) => Value::Null,
                    Reply::Read(Some(record)) => Value::Record(record),
                    Reply::Written { version }
                    | Reply::Deleted { version }
                    | Reply::Expired { version }
                    | Reply::Timestamp { version } => Value::Version(Versioned { version }),
                    Reply::Incremented { number, version } => {
                        Value::Number(Numbered { version, number })
                    }
                    Reply::Scanned(entries) => Value::Entries(entries),
                    Reply::Paged(page) => Value::Paged(page),
                    Reply::Swept { at, deleted } => Value::Swept(Swept { at, deleted }),
                    Reply::Watched(seen) => Value::WatchSeen(seen),
                    // Whoever records it puts in what was asked.
                    Reply::Appended => Value::Null,
                    Reply::Listed(elements) => Value::Elements(elements),
                },
            ),
        }
    }

    pub(super) fn decode(f: Operation, kind: Kind, value: &Value) -> Result<OpOutcome, String> {
        use Operation::{
            Append, Cas, Delete, Expire, Increment, Insert, List, Page, Read, ReadAll, Scan, Write,
        };
        Ok(match (kind, f, value.clone()) {
            (Kind::Ok, Append, Value::Element(_)) => OpOutcome::Ok(Reply::Appended),
            (Kind::Fail, Append, Value::Element(_)) => OpOutcome::Failed,
            (Kind::Info, Append, Value::Element(_)) => OpOutcome::Unknown,
            (Kind::Ok, List, Value::Elements(elements)) => OpOutcome::Ok(Reply::Listed(elements)),
            (Kind::Info, _, Value::Null) => OpOutcome::Unknown,
            (Kind::Fail, _, Value::Null) => OpOutcome::Failed,
            (Kind::Fail, Cas | Delete, Value::Current(Current { current })) => {
                OpOutcome::Refused(current)
            }
            (Kind::Ok, Read, Value::Null) => OpOutcome::Ok(Reply::Read(None)),
            (Kind::Ok, Read, Value::Record(record)) => OpOutcome::Ok(Reply::Read(Some(record))),
            (Kind::Ok, Write | Insert | Cas, Value::Version(Versioned { version })) => {
                OpOutcome::Ok(Reply::Written { version })
            }
            (Kind::Ok, Delete, Value::Version(Versioned { version })) => {
                OpOutcome::Ok(Reply::Deleted { version })
            }
            (Kind::Ok, Expire, Value::Version(Versioned { version })) => {
                OpOutcome::Ok(Reply::Expired { version })
            }
            (Kind::Ok, Operation::Timestamp, Value::Version(Versioned { version })) => {
                OpOutcome::Ok(Reply::Timestamp { version })
            }
            (Kind::Ok, Increment, Value::Number(Numbered { version, number })) => {
                OpOutcome::Ok(Reply::Incremented { number, version })
            }
            (Kind::Ok, Scan | ReadAll, Value::Entries(entries)) => {
                OpOutcome::Ok(Reply::Scanned(entries))
            }
            (Kind::Ok, Page, Value::Paged(page)) => OpOutcome::Ok(Reply::Paged(page)),
            (Kind::Ok, Operation::Sweep, Value::Swept(Swept { at, deleted })) => {
                OpOutcome::Ok(Reply::Swept { at, deleted })
            }
            (Kind::Ok, Operation::Watch, Value::WatchSeen(seen)) => {
                OpOutcome::Ok(Reply::Watched(seen))
            }
            (kind, f, value) => return Err(format!("{f:?} cannot end as {kind:?} with {value:?}")),
        })
    }
}
