//! What came of a unary call in the end, and that in the history's words.

use quintet_client::v1;

use super::request::Answer;
use crate::{
    client::recording::Ended,
    history::{Entry, OpOutcome, Record, Reply},
};

/// What came of a call in the end.
pub(super) enum Told {
    Answer(Answer),
    Conflict(Option<v1::KeyState>),
    Unknown,
    Failed(&'static str),
}

/// What came of a request, in the history's words.
pub(super) fn outcome(told: Told) -> Ended {
    let answer = match told {
        Told::Answer(answer) => answer,
        Told::Conflict(current) => return (OpOutcome::Refused(current.and_then(record)), None),
        Told::Unknown => return (OpOutcome::Unknown, Some("unknown_outcome")),
        Told::Failed(code) => return (OpOutcome::Failed, Some(code)),
    };
    let reply = match answer {
        Answer::Get(get) => Reply::Read(get.state.and_then(record)),
        Answer::Put(put) => Reply::Written { version: put.version },
        Answer::Delete(delete) => Reply::Deleted { version: delete.version },
        Answer::Expire(expire) => Reply::Expired { version: expire.version },
        Answer::Timestamp(told) => Reply::Timestamp { version: told.timestamp },
        Answer::Increment(sum) => Reply::Incremented { number: sum.value, version: sum.version },
        Answer::Scan(records) => {
            let entry = |found: v1::Record| {
                let state = found.state.unwrap_or_default();
                Entry {
                    key: String::from_utf8_lossy(&found.key).into_owned(),
                    value: String::from_utf8_lossy(&state.value).into_owned(),
                    version: state.version,
                }
            };
            Reply::Scanned(records.into_iter().map(entry).collect())
        }
        Answer::BatchGet(_) | Answer::BatchPut(_) | Answer::DeleteRange(_) => {
            unreachable!("taken apart before")
        }
    };
    (OpOutcome::Ok(reply), None)
}

fn record(state: v1::KeyState) -> Option<Record> {
    (state.version > 0).then(|| Record {
        value: String::from_utf8_lossy(&state.value).into_owned(),
        version: state.version,
    })
}

/// How an error is counted.
pub(super) fn code(error: &v1::Error) -> &'static str {
    match error.code() {
        v1::Code::DeadlineExceeded => "deadline_exceeded",
        v1::Code::Unavailable | v1::Code::NotLeader | v1::Code::StaleRoute => "unavailable",
        v1::Code::UnknownOutcome => "unknown_outcome",
        v1::Code::Overloaded => "overloaded",
        v1::Code::Expired => "expired",
        v1::Code::Storage => "storage",
        v1::Code::NotANumber => "not_a_number",
        _ => "other",
    }
}
