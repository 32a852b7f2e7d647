//! What a request is answered: one shape, whether this node found the answer or another one did.
//!
//! An answer of another node is on the wire already, and goes on as it came: to decode its values only to encode
//! them again would cost a forwarding node as much as serving. Errors are decoded, so that the router and the doors
//! decide by an [`OpError`] and by nothing else. Only an error whose codes a later version brought goes on as it
//! came: this node could only spoil it.

use std::sync::Arc;

use parking_lot::Mutex;
use quintet_proto::v1::{self, session_response::Result as Body};
use tokio::sync::oneshot;

use super::encode;
use crate::{
    error::OpError,
    ids::NodeId,
    range::request::{Answer, OpResult, ReplySink},
    storage::format::descriptor::Descriptor,
};

/// What a request was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answered {
    /// By this node.
    Found(Answer),
    /// By another one, as it came: also an error that only a later version knows. Any other error is decoded.
    Passed(Body),
    /// Not at all.
    Failed(OpError),
}

impl Answered {
    /// What another node answered.
    pub(crate) fn from_wire(response: v1::SessionResponse) -> Answered {
        match response.result {
            Some(Body::Error(error)) if OpError::knows(&error) => Answered::Failed(error.into()),
            Some(body) => Answered::Passed(body),
            None => Answered::Failed(OpError::ambiguous("the node gave the request up")),
        }
    }

    /// The answer to request `id` on the wire.
    pub(crate) fn into_wire(self, id: u64) -> v1::SessionResponse {
        let body = match self {
            Answered::Found(answer) => encode::body(answer),
            Answered::Passed(body) => body,
            Answered::Failed(error) => Body::Error(error.into()),
        };
        v1::SessionResponse { id, result: Some(body) }
    }

    /// The answer, or why there is none.
    pub(crate) fn into_body(self) -> Result<Body, OpError> {
        match self {
            Answered::Found(answer) => Ok(encode::body(answer)),
            Answered::Passed(Body::Error(error)) => Err(error.into()),
            Answered::Passed(body) => Ok(body),
            Answered::Failed(error) => Err(error),
        }
    }

    /// Why there is no answer, where there is none.
    pub(crate) fn error(&self) -> Option<&OpError> {
        match self {
            Answered::Failed(error) => Some(error),
            Answered::Found(_) | Answered::Passed(_) => None,
        }
    }
}

impl From<OpResult> for Answered {
    fn from(result: OpResult) -> Answered {
        result.map_or_else(Answered::Failed, Answered::Found)
    }
}

/// Takes what the router answers: a session, a call that waits. Dropped unanswered it is for whoever waits to
/// know that the outcome is unknown.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The answer to request `id`. Must not block.
    fn answered(&self, id: u64, answered: Answered);

    /// Whether there is room for a value: see [`ReplySink::has_room`].
    fn has_room(&self) -> bool;

    /// Another node leads the range of what was asked.
    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId);
}

impl<S: Answers> ReplySink for S {
    fn answer(&self, id: u64, result: OpResult) {
        self.answered(id, result.into());
    }

    fn has_room(&self) -> bool {
        Answers::has_room(self)
    }
}

/// Hands the first answer to whoever holds the other end.
pub(crate) struct Once(Mutex<Option<oneshot::Sender<Answered>>>);

impl Once {
    /// Both ends.
    pub(crate) fn new() -> (Arc<Once>, oneshot::Receiver<Answered>) {
        let (tx, rx) = oneshot::channel();
        (Arc::new(Once(Mutex::new(Some(tx)))), rx)
    }
}

impl Answers for Once {
    fn answered(&self, _id: u64, answered: Answered) {
        if let Some(waiting) = self.0.lock().take() {
            // The caller may have gone.
            waiting.send(answered).ok();
        }
    }

    fn has_room(&self) -> bool {
        true
    }

    fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
}

#[cfg(test)]
mod tests {
    use quintet_proto::v1::RetryClass;

    use super::*;

    #[test]
    fn an_error_of_a_later_version_goes_on_as_it_came() {
        let error = v1::Error {
            code: 1_000,
            retry: RetryClass::RetryTxn.into(),
            message: "another transaction was faster".to_owned(),
            ..v1::Error::default()
        };
        let response = v1::SessionResponse { id: 7, result: Some(Body::Error(error.clone())) };
        let answered = Answered::from_wire(response.clone());
        assert!(answered.error().is_none(), "no decision of this node rests on it");
        assert_eq!(answered.clone().into_wire(7), response);
        let told = answered.into_body().expect_err("an error");
        assert_eq!((told.message, told.maybe_committed), (error.message, false));
    }

    #[test]
    fn a_known_error_and_a_value_come_out_as_they_went_in() {
        let refused = encode::response(1, Err(OpError::conflict(None)));
        assert_eq!(Answered::from_wire(refused.clone()).into_wire(1), refused);
        let put = Body::Put(v1::PutResponse { context: None, version: 9 });
        let response = v1::SessionResponse { id: 2, result: Some(put) };
        assert_eq!(Answered::from_wire(response.clone()).into_wire(2), response);
    }
}
