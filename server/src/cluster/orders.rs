//! Orders of operators that become records of the system range (`registry.rs`): any node takes them, and whoever leads
//! that range carries them out.
//!
//! # Invariants
//!
//! * To carry one out twice does no harm: it is asked again where nobody knows what became of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1::Code;

use super::{
    registry::{self, Name, Registry},
    state::NodeState,
};
use crate::{
    error::OpError,
    ids::{RequestId, SYSTEM_RANGE},
    peer::ask::{Ask, NoAnswer},
    range::replica::Replica,
    request::answer::Once,
    storage,
    time::{
        Timestamp,
        local::{Instant, sleep},
        patience,
    },
};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take beyond what its question allows.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// Until when an order may be tried that allows a number of milliseconds; 0 is the default.
pub(super) fn until(timeout_ms: u32) -> Instant {
    Instant::now() + patience(timeout_ms, TIMEOUT_DEFAULT, TIMEOUT_MAX)
}

impl NodeState {
    /// Has the leader of the system range, whoever that is by then, carry an order out: this node by `here`, another
    /// one by asking it.
    pub(super) async fn order_of_leader<A, T, Here>(
        self: &Arc<Self>,
        until: Instant,
        question: impl Fn() -> A,
        here: impl Fn() -> Here,
    ) -> Result<T, OpError>
    where
        A: Ask<Answer = Result<T, OpError>>,
        Here: Future<Output = Result<T, OpError>>,
    {
        let mut perhaps_done = false;
        loop {
            let why = match self.router().leader_of(SYSTEM_RANGE) {
                Some(leader) => {
                    let within = until.saturating_duration_since(Instant::now()) + ANSWER_GRACE;
                    match self.at(leader, None, question(), within, here()).await {
                        Ok(Ok(done)) => return Ok(done),
                        Ok(Err(error)) if error.code == Code::InvalidArgument => return Err(error),
                        Ok(Err(error)) => {
                            perhaps_done |= error.maybe_committed;
                            error.message
                        }
                        Err(NoAnswer) => {
                            perhaps_done = true;
                            format!("node {} went away", leader.0)
                        }
                    }
                }
                None => "the system range has no leader".to_owned(),
            };
            if Instant::now() >= until {
                return Err(match perhaps_done {
                    true => OpError::ambiguous(format!("perhaps it is not set: {why}; ask again")),
                    false => OpError::unavailable(format!("it is not set: {why}; ask again")),
                });
            }
            sleep(POLL).await;
        }
    }

    /// This node's replica of the system range, which it is to lead, and what is in it.
    pub(super) fn led_registry(&self) -> Result<(Replica, Registry), OpError> {
        let leads = self.router().replica(SYSTEM_RANGE).filter(Replica::is_leader);
        let replica = leads.ok_or_else(|| OpError::not_leader(None))?;
        let unreadable = |error: storage::Error| OpError::unavailable(error.to_string());
        let registry = Registry::read(&replica).map_err(unreadable)?;
        Ok((replica, registry))
    }

    /// Writes a record as the leader of the system range or, without a value, removes it, if it is still of the version
    /// `instead_of`. It is done when this returns `Ok`.
    pub(super) async fn write_record(
        &self,
        replica: &Replica,
        name: &Name,
        value: Option<Bytes>,
        instead_of: Option<Timestamp>,
    ) -> Result<(), OpError> {
        let request = RequestId { origin_room: 0, client: self.draw_client(), sequence: 1 };
        let (sink, done) = Once::new();
        registry::write(self, replica, request, name, value, instead_of, sink);
        let answered =
            done.await.map_err(|_| OpError::ambiguous("the node gave the request up"))?;
        answered.into_body().map(drop)
    }
}
