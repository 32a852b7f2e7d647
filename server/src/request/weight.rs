//! Bytes of answers, for those who bound how many of them wait, and what is answered instead of a value for which
//! there is no room.

use bytes::Bytes;
use quintet_proto::v1::{self, Code, session_response::Result as Body};

use super::answer::Answered;
use crate::{error::OpError, range::request::Answer, storage::mvcc::KeyVersion};

/// What an answer takes beside its values.
const OVERHEAD_BYTES: usize = 64;
/// What a record of a page takes beside its key and value.
const RECORD_BYTES: usize = 16;
/// What a change takes beside its key and value: it names its request.
const CHANGE_BYTES: usize = 64;

/// Bytes of an answer, roughly: its values count, and little else.
pub(crate) fn bytes(answered: &Answered) -> usize {
    OVERHEAD_BYTES
        + match answered {
            Answered::Found(Answer::Get { found, .. }) => {
                found.as_ref().map_or(0, |version| version.value.len())
            }
            Answered::Found(Answer::Scan(page)) => {
                let records = page.records.iter();
                records.map(|(key, version)| key.len() + version.value.len() + RECORD_BYTES).sum()
            }
            Answered::Found(Answer::History { versions, .. }) => {
                let value = |version: &KeyVersion| version.value.as_ref().map_or(0, Vec::len);
                versions.iter().map(|version| value(version) + RECORD_BYTES).sum()
            }
            Answered::Passed(Body::History(history)) => {
                history.versions.iter().map(|version| version.value.len() + RECORD_BYTES).sum()
            }
            Answered::Found(Answer::Changes(page)) => {
                let value = |version: &KeyVersion| version.value.as_ref().map_or(0, Vec::len);
                let changes = page.changes.iter();
                changes.map(|(key, version)| key.len() + value(version) + CHANGE_BYTES).sum()
            }
            Answered::Passed(Body::Watch(page)) => page.changes.iter().map(of_change).sum(),
            Answered::Passed(Body::Get(get)) => {
                get.state.as_ref().map_or(0, |state| state.value.len())
            }
            Answered::Passed(Body::Scan(scan)) => {
                let value = |state: &Option<v1::KeyState>| {
                    state.as_ref().map_or(0, |state| state.value.len())
                };
                let records = scan.records.iter();
                records.map(|record| record.key.len() + value(&record.state) + RECORD_BYTES).sum()
            }
            Answered::Passed(Body::Error(error)) => error.message.len(),
            Answered::Failed(error) => {
                error.message.len() + error.current.as_ref().map_or(0, |state| state.value.len())
            }
            Answered::Found(_) | Answered::Passed(_) => 0,
        }
}

/// Bytes of a change, roughly.
pub(crate) fn of_change(change: &v1::Change) -> usize {
    let value = change.version.as_ref().map_or(0, |version| version.value.len());
    change.key.len() + value + CHANGE_BYTES
}

/// Whether an answer has a value, or may have one.
pub(crate) fn has_value(answered: &Answered) -> bool {
    match answered {
        Answered::Found(
            Answer::Get { .. } | Answer::Scan(_) | Answer::History { .. } | Answer::Changes(_),
        )
        | Answered::Passed(Body::Get(_) | Body::Scan(_) | Body::History(_) | Body::Watch(_)) => {
            true
        }
        Answered::Failed(error) => error.current.is_some() || error.code == Code::Conflict,
        Answered::Found(_) | Answered::Passed(_) => false,
    }
}

/// What is answered instead where too many bytes of answers wait already: the caller asks again.
/// Answers without values stay as they are.
pub(crate) fn without_value(answered: Answered) -> Answered {
    if !has_value(&answered) {
        return answered;
    }
    Answered::Failed(match answered {
        // Refused for good, but the caller shall see what stands: the same request id brings it.
        Answered::Failed(_) => {
            OpError::ambiguous("too many bytes of answers wait; ask again with the same request id")
        }
        _ => OpError::no_room(),
    })
}

/// The same for a single call, which has no use for another attempt where its condition did not hold: it
/// is told so without the value.
pub(crate) fn value_left_out(answered: Answered) -> Answered {
    let Answered::Failed(mut error) = answered else { return without_value(answered) };
    if let Some(current) = &mut error.current {
        current.value_left_out = !current.value.is_empty();
        current.value = Bytes::new();
    }
    Answered::Failed(error)
}
