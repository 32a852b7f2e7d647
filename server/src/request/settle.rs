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

use quintet_proto::v1::{Code, session_request::Op, session_response::Result as Body};

use super::answer::{Answered, Answers};
use crate::{
    error::OpError,
    ids::NodeId,
    planted::{self, Bug},
    storage::format::descriptor::Descriptor,
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
        | Code::SlowConsumer
        | Code::Unspecified => false,
    }
}

/// What the caller of a request is told of an error that one copy of it got.
pub(crate) fn told(op: Option<&Op>, error: OpError) -> OpError {
    if op.is_some_and(Op::is_repetition) { unsettled(error) } else { error }
}

/// What the caller of a repetition is told of an error.
fn unsettled(error: OpError) -> OpError {
    if settles_all(error.code) || error.code == Code::UnknownOutcome {
        return error;
    }
    let message = format!(
        "an earlier copy of the request may have acted, or may do so still; this one did not: {}",
        error.message
    );
    OpError {
        code: Code::UnknownOutcome,
        message,
        maybe_committed: true,
        refused_for: Some(error.code),
        ..error
    }
}

/// The way back of a repetition.
pub(crate) struct Repetition<S>(pub(crate) Arc<S>);

impl<S: Answers> Answers for Repetition<S> {
    fn answered(&self, id: u64, answered: Answered) {
        self.0.answered(
            id,
            match answered {
                Answered::Failed(error) => Answered::Failed(unsettled(error)),
                // A later version's: whatever it says, it says of this copy.
                Answered::Passed(Body::Error(error)) => Answered::Failed(unsettled(error.into())),
                answered => answered,
            },
        );
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId) {
        self.0.note_route(route, leader);
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use parking_lot::Mutex;
    use quintet_proto::v1::{self, RetryClass};

    use super::*;
    use crate::{range::request::ReplySink, request::encode};

    /// Every code, and whether it settles all copies of a write.
    const TABLE: [(Code, bool); 21] = [
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
        (Code::SlowConsumer, false),
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
            let error = OpError { hint: Some("a:1".to_owned()), ..OpError::new(code, "why") };
            // Of the only copy, and of a read, an answer is what it says.
            assert_eq!(told(Some(&put(0)), error.clone()), error);
            assert_eq!(told(Some(&get(3)), error.clone()), error);
            assert_eq!(told(None, error.clone()), error);
            let of_repetition = told(Some(&put(1)), error.clone());
            if settles || code == Code::UnknownOutcome {
                assert_eq!(of_repetition, error);
                continue;
            }
            assert_eq!(of_repetition.code, Code::UnknownOutcome, "{code:?}");
            assert!(of_repetition.maybe_committed, "{code:?}");
            assert_eq!(of_repetition.refused_for, Some(code));
            assert_eq!(of_repetition.hint.as_deref(), Some("a:1"));
            let ends = error.retry_class() == RetryClass::Never;
            let retry = if ends { RetryClass::Never } else { RetryClass::Ambiguous };
            assert_eq!(of_repetition.retry_class(), retry, "{code:?}");
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Answered)>>);

    impl Answers for Heard {
        fn answered(&self, id: u64, answered: Answered) {
            self.0.lock().push((id, answered));
        }

        fn has_room(&self) -> bool {
            true
        }

        fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
    }

    #[test]
    fn a_repetition_is_told_the_same_by_every_way_back() {
        let heard = Arc::new(Heard::default());
        let way_back = Repetition(heard.clone());
        let full = || OpError::new(Code::Storage, "full");
        way_back.answer(1, Err(full()));
        let of_another = |error| encode::response(2, Err(error));
        way_back.answered(2, Answered::from_wire(of_another(full())));
        way_back.answered(3, Answered::from_wire(of_another(OpError::conflict(None))));
        let heard = heard.0.lock();
        let codes = heard.iter().map(|(id, answered)| (*id, answered.error().map(|why| why.code)));
        let (unknown, conflict) = (Some(Code::UnknownOutcome), Some(Code::Conflict));
        assert_eq!(codes.collect::<Vec<_>>(), [(1, unknown), (2, unknown), (3, conflict)]);
    }
}
