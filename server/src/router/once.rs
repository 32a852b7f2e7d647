//! One answer for one who waits.

use std::sync::Arc;

use parking_lot::Mutex;
use quintet_proto::v1;
use tokio::sync::oneshot;

use super::ForwardSink;
use crate::{
    api::encode_response,
    ids::NodeId,
    range::request::{OpResult, ReplySink},
    storage::codec::Descriptor,
};

/// Hands the first answer to whoever holds the other end.
pub(crate) struct Once(Mutex<Option<oneshot::Sender<v1::SessionResponse>>>);

impl Once {
    /// Both ends.
    pub(crate) fn new() -> (Arc<Once>, oneshot::Receiver<v1::SessionResponse>) {
        let (tx, rx) = oneshot::channel();
        (Arc::new(Once(Mutex::new(Some(tx)))), rx)
    }

    fn push(&self, response: v1::SessionResponse) {
        if let Some(waiting) = self.0.lock().take() {
            // The caller may have gone.
            waiting.send(response).ok();
        }
    }
}

impl ReplySink for Once {
    fn answer(&self, id: u64, result: OpResult) {
        self.push(encode_response(id, result));
    }
}

impl ForwardSink for Once {
    fn encoded(&self, response: v1::SessionResponse) {
        self.push(response);
    }

    fn note_route(&self, _route: &Arc<Descriptor>, _leader: NodeId) {}
}
