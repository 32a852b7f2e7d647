//! What a request is answered: one shape, whether this node found the answer or another one did.
//!
//! An answer of another node is on the wire already, and goes on as it came: to decode its values only to encode
//! them again would cost a forwarding node as much as serving. Errors are always decoded, so that code which decides
//! by one looks at an [`OpError`] and nothing else.

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
    /// By another one, as it came. Never [`Body::Error`].
    Passed(Body),
    /// Not at all.
    Failed(OpError),
}

impl Answered {
    /// What another node answered.
    pub(crate) fn from_wire(response: v1::SessionResponse) -> Answered {
        match response.result {
            Some(Body::Error(error)) => Answered::Failed(error.into()),
            Some(body) => Answered::Passed(body),
            None => Answered::Failed(OpError::ambiguous("the node gave the request up")),
        }
    }

    /// The answer to request `id` on the wire.
    pub(crate) fn into_wire(self, id: u64) -> v1::SessionResponse {
        encode::response(id, self.into_body())
    }

    /// The answer, or why there is none.
    pub(crate) fn into_body(self) -> Result<Body, OpError> {
        match self {
            Answered::Found(answer) => Ok(encode::body(answer)),
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

    /// Another node leads the range of what was asked.
    fn note_route(&self, route: &Arc<Descriptor>, leader: NodeId);
}

impl<S: Answers> ReplySink for S {
    fn answer(&self, id: u64, result: OpResult) {
        self.answered(id, result.into());
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

    fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
}
