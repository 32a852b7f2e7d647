//! What an answer to a repetition says about the request: the one table for every door.
//!
//! An answer is about one copy of a request. Once a later copy is sent (`attempt` above 0) there is an
//! earlier one whose fate is unknown, so a refusal of the later copy settles nothing unless it says that
//! no copy ever will act ([`settles_all`]). Whatever else comes is *unknown* to the caller, however
//! definite it is of the copy that it answers:
//!
//! ```text
//!   attempt 0        the write acts; its answer is lost
//!   attempt 1        "the disk is full": true of this copy, and no word about the first
//! ```
//!
//! Where a request enters a node, in a session, as a unary call or as an item of a batch, its answers
//! pass here ([`Repetition`], [`told`]). Between nodes copies are answered as they are: the node that
//! the client asked has the last word.

use std::sync::Arc;

use quintet_proto::v1::{self, Code, RetryClass, session_request::Op};

use super::ForwardSink;
use crate::{
    api::{encode_error, encode_response},
    error::OpError,
    ids::NodeId,
    planted::{self, Bug},
    range::request::{OpResult, ReplySink},
    storage::codec::Descriptor,
};

/// Whether an error, as the answer to one copy, says what became of all copies of a write: none did
/// anything or will (or, with `request id reused`, none of *this* request).
///
/// | answer | why it settles, or not |
/// |---|---|
/// | conflict, not a number | the refusal of a repetition is stored (or found stored): no other copy acts after it |
/// | several ranges | spans only shrink, and dedup was looked at first (`range/executor/checked.rs`) |
/// | request id reused | the id's record is another request's: no copy of this one passes it |
/// | expired | an earlier copy may have acted before its record went |
/// | storage, overloaded, deadline exceeded | said of this copy alone, which was not begun |
/// | unavailable, not leader, stale route | the same; an earlier copy may be on its way |
/// | invalid argument, wrong cluster, not initialized, empty node | limits, clocks and clusters are those of the node that was asked now |
pub(crate) fn settles_all(code: Code) -> bool {
    match code {
        Code::Conflict | Code::NotANumber | Code::SeveralRanges | Code::RequestIdReused => true,
        // The careless hand: "a full disk takes no writes".
        Code::Storage => planted::active(Bug::FullDiskDenies),
        Code::Expired
        | Code::Overloaded
        | Code::DeadlineExceeded
        | Code::Unavailable
        | Code::NotLeader
        | Code::StaleRoute
        | Code::InvalidArgument
        | Code::WrongCluster
        | Code::NotInitialized
        | Code::AlreadyInitialized
        | Code::EmptyNode
        | Code::NodeNotEmpty
        | Code::VersionCollected
        | Code::UnknownOutcome
        | Code::Unspecified => false,
    }
}

/// Whether a request is a write of which an earlier copy was sent.
pub(crate) fn is_repetition(op: Option<&Op>) -> bool {
    let context = match op {
        Some(Op::Put(put)) => &put.context,
        Some(Op::Delete(delete)) => &delete.context,
        Some(Op::Increment(increment)) => &increment.context,
        Some(Op::Expire(expire)) => &expire.context,
        Some(Op::PutMany(many)) => &many.context,
        Some(Op::DeleteRange(delete)) => &delete.context,
        Some(Op::Get(_) | Op::Scan(_)) | None => return false,
    };
    context.as_ref().is_some_and(|context| context.attempt > 0)
}

/// What the caller of a request is told of an error that one copy of it got.
pub(crate) fn told(op: Option<&Op>, error: v1::Error) -> v1::Error {
    if is_repetition(op) { unsettled(error) } else { error }
}

/// What the caller of a repetition is told of an error.
fn unsettled(error: v1::Error) -> v1::Error {
    if settles_all(error.code()) || error.code() == Code::UnknownOutcome {
        return error;
    }
    let retry = match error.retry() {
        RetryClass::Never => RetryClass::Never,
        _ => RetryClass::Ambiguous,
    };
    let message = format!(
        "an earlier copy of the request may have acted, or may do so still; this one did not: {}",
        error.message
    );
    v1::Error {
        code: Code::UnknownOutcome.into(),
        message,
        retry: retry.into(),
        maybe_committed: true,
        refused_for: error.code,
        ..error
    }
}

/// The way back of a repetition.
pub(super) struct Repetition<S>(pub(super) Arc<S>);

impl<S: ForwardSink> ReplySink for Repetition<S> {
    fn answer(&self, id: u64, result: OpResult) {
        match result {
            Ok(answer) => self.0.answer(id, Ok(answer)),
            Err(error) => self.encoded(encode_response(id, Err(error))),
        }
    }
}

impl<S: ForwardSink> ForwardSink for Repetition<S> {
    fn encoded(&self, mut response: v1::SessionResponse) {
        use v1::session_response::Result as Body;
        if let Some(Body::Error(error)) =
            response.result.take_if(|body| matches!(body, Body::Error(_)))
        {
            response.result = Some(Body::Error(unsettled(error)));
        }
        self.0.encoded(response);
    }

    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId) {
        self.0.note_route(route, leader);
    }
}

/// What the caller of a request is told that is refused at the door.
pub(crate) fn refused(op: Option<&Op>, error: OpError) -> v1::Error {
    told(op, encode_error(error))
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use parking_lot::Mutex;
    use quintet_proto::v1::session_response::Result as Body;

    use super::*;

    /// Every code, and whether it settles all copies of a write.
    const TABLE: [(Code, bool); 20] = [
        (Code::Unspecified, false),
        (Code::InvalidArgument, false),
        (Code::Conflict, true),
        (Code::DeadlineExceeded, false),
        (Code::Unavailable, false),
        (Code::Overloaded, false),
        (Code::Expired, false),
        (Code::RequestIdReused, true),
        (Code::WrongCluster, false),
        (Code::NotInitialized, false),
        (Code::AlreadyInitialized, false),
        (Code::NotANumber, true),
        (Code::UnknownOutcome, false),
        (Code::Storage, false),
        (Code::StaleRoute, false),
        (Code::NotLeader, false),
        (Code::VersionCollected, false),
        (Code::SeveralRanges, true),
        (Code::EmptyNode, false),
        (Code::NodeNotEmpty, false),
    ];

    fn put(attempt: u32) -> Op {
        let context = v1::RequestContext { attempt, ..v1::RequestContext::default() };
        Op::Put(v1::PutRequest { context: Some(context), ..v1::PutRequest::default() })
    }

    fn get(attempt: u32) -> Op {
        let context = v1::RequestContext { attempt, ..v1::RequestContext::default() };
        Op::Get(v1::GetRequest { context: Some(context), ..v1::GetRequest::default() })
    }

    #[test]
    fn which_answer_settles_all_copies() {
        let codes = (0..64).filter_map(|code| Code::try_from(code).ok());
        assert_eq!(codes.count(), TABLE.len(), "a code is missing in the table");
        for (code, settles) in TABLE {
            assert_eq!(settles_all(code), settles, "{code:?}");
            let refusal = OpError { hint: Some("a:1".to_owned()), ..OpError::new(code, "why") };
            let error = encode_error(refusal);
            // Of the only copy, and of a read, an answer is what it says.
            assert_eq!(told(Some(&put(0)), error.clone()), error);
            assert_eq!(told(Some(&get(3)), error.clone()), error);
            assert_eq!(told(None, error.clone()), error);
            let of_repetition = told(Some(&put(1)), error.clone());
            if settles || code == Code::UnknownOutcome {
                assert_eq!(of_repetition, error);
                continue;
            }
            assert_eq!(of_repetition.code(), Code::UnknownOutcome, "{code:?}");
            assert!(of_repetition.maybe_committed, "{code:?}");
            assert_eq!(of_repetition.refused_for(), code);
            assert_eq!(of_repetition.hint_address, "a:1");
            let ends = error.retry() == RetryClass::Never;
            let retry = if ends { RetryClass::Never } else { RetryClass::Ambiguous };
            assert_eq!(of_repetition.retry(), retry, "{code:?}");
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<v1::SessionResponse>>);

    impl ReplySink for Heard {
        fn answer(&self, id: u64, result: OpResult) {
            self.encoded(encode_response(id, result));
        }
    }

    impl ForwardSink for Heard {
        fn encoded(&self, response: v1::SessionResponse) {
            self.0.lock().push(response);
        }

        fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
    }

    #[test]
    fn a_repetition_is_told_the_same_by_every_way_back() {
        let heard = Arc::new(Heard::default());
        let way_back = Repetition(heard.clone());
        let full = || OpError::new(Code::Storage, "full");
        way_back.answer(1, Err(full()));
        way_back.encoded(encode_response(2, Err(full())));
        way_back.encoded(encode_response(3, Err(OpError::conflict(None))));
        let codes: Vec<_> = heard
            .0
            .lock()
            .drain(..)
            .map(|response| match response.result {
                Some(Body::Error(error)) => (response.id, error.code()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [(1, Code::UnknownOutcome), (2, Code::UnknownOutcome), (3, Code::Conflict)];
        assert_eq!(codes, expected);
    }
}
