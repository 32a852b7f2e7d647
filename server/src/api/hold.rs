//! `KV.HoldSnapshot`: a moment is held for as long as the call is open (`cluster/holds.rs`).
//!
//! # Bounds
//!
//! An open call costs a timer and what is held. Their number is bounded where moments are taken in.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use quintet_proto::v1;
use tonic::Status;

use super::status::{stamp, status};
use crate::{
    cluster::{
        holds::{Hold, LEASE},
        state::NodeState,
    },
    error::OpError,
    request::{
        context::{check_cluster, timeout_of},
        limits::{client_keyspace, stored_span},
    },
    time::{
        Timestamp,
        local::{Instant, sleep},
    },
};

/// Between two messages: several in the time for which ranges keep a hold of which they hear nothing.
const EVERY: Duration = Duration::from_secs(LEASE.as_secs() / 6);

/// Messages to whoever holds a moment.
pub(super) type Messages =
    Pin<Box<dyn Stream<Item = Result<v1::HoldSnapshotResponse, Status>> + Send>>;

/// Holds a moment. It is held once this returns, until the stream is dropped.
pub(super) async fn run(
    node_state: &Arc<NodeState>,
    request: v1::HoldSnapshotRequest,
) -> Result<Messages, OpError> {
    let context = request.context.unwrap_or_default();
    let identity = node_state.peers().identity();
    check_cluster(&identity, "request", &context.cluster_id, context.incarnation)?;
    let until = Instant::now() + timeout_of(&context);
    let keyspace = client_keyspace(&context.keyspace)?;
    let span = stored_span(keyspace, (&request.start, &request.end, &request.prefix))?;
    let at = Some(Timestamp(request.at)).filter(|at| *at > Timestamp::ZERO);
    let (at, hold) = node_state.hold_versions(span, at, until).await?;
    let held = Holding { node_state: node_state.clone(), hold, at, is_first: true };
    Ok(Box::pin(stream::unfold(Some(held), async |held| held?.next().await)))
}

struct Holding {
    node_state: Arc<NodeState>,
    hold: Hold,
    at: Timestamp,
    is_first: bool,
}

type Next = (Result<v1::HoldSnapshotResponse, Status>, Option<Holding>);

impl Holding {
    async fn next(mut self) -> Option<Next> {
        if !std::mem::take(&mut self.is_first) {
            sleep(EVERY).await;
        }
        if self.hold.is_lost() {
            return Some((Err(status(OpError::collected())), None));
        }
        let context = stamp(self.node_state.router());
        let message = v1::HoldSnapshotResponse { context, at: self.at.0 };
        Some((Ok(message), Some(self)))
    }
}
