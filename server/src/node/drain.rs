//! Draining: all leaders move off a node, by planned switches, and stay away until it is undone.
//!
//! What an operator drains is noted on the node's disk, so that a restart for maintenance does not
//! call leaders back before the operator does. A node that is about to stop drains itself without a
//! note.

use std::{sync::Arc, time::Duration};

use quintet_proto::{internal::v1 as wire, v1};

use super::{bootstrap::Bootstrap, leaders, records, upkeep};
use crate::{
    api::encode_error,
    error::OpError,
    ids::NodeId,
    peer::{Kind, Lane},
    range::replica::Replica,
    time::local::Instant,
};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

impl Bootstrap {
    /// Drains a node or undoes it; waits until its leaders have moved.
    pub async fn drain(
        self: &Arc<Self>,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, v1::Error> {
        let node = NodeId(request.node_id);
        if self.cluster().is_none() {
            return Err(encode_error(self.peers().no_cluster()));
        }
        if node == self.peers().me() {
            return self.drain_self(request).await;
        }
        if self.peers().book().get(node).is_none() {
            let message = format!("there is no node {}; 'quintet status' lists them", node.0);
            return Err(encode_error(OpError::invalid(message)));
        }
        let message =
            wire::PeerMessage { kind: Some(Kind::Drain(request)), ..wire::PeerMessage::default() };
        match self.peers().ask(node, Lane::Urgent, message).await {
            Ok(Ok(Kind::DrainAnswer(wire::DrainAnswer { result: Some(result) }))) => match result {
                wire::drain_answer::Result::Ok(done) => Ok(done),
                wire::drain_answer::Result::Error(error) => Err(error),
            },
            _ => {
                let message = format!("node {} can't be reached; is it up?", node.0);
                Err(encode_error(OpError::unavailable(message)))
            }
        }
    }

    /// Drains this node or undoes it.
    pub(super) async fn drain_self(
        &self,
        request: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, v1::Error> {
        let noted = records::set_drained(&self.host().writer, !request.undo).await;
        noted.map_err(|error| {
            encode_error(OpError::new(v1::Code::Storage, format!("not noted: {error}")))
        })?;
        if request.undo {
            self.set_draining(false);
            upkeep::ping_once(self).await;
            return Ok(v1::DrainResponse { leaders_left: 0 });
        }
        let timeout = match request.timeout_ms {
            0 => TIMEOUT_DEFAULT,
            ms => Duration::from_millis(ms.into()).min(TIMEOUT_MAX),
        };
        tracing::info!(node = %self.peers().me(), "leaders move off the node: it is drained");
        leaders::drain(self, Instant::now() + timeout).await;
        let left = self.replicas().iter().filter(|replica| Replica::is_leader(replica)).count();
        Ok(v1::DrainResponse { leaders_left: u32::try_from(left).unwrap_or(u32::MAX) })
    }

    /// Whether this node takes leaders.
    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.lock().insert(self.peers().me(), draining);
    }
}
