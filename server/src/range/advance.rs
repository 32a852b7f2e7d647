//! Moving the range's time by itself: "nothing is written at or below this moment any more".
//!
//! The time rises with each write; a range that nobody writes to needs a command to say that some
//! moment has passed, so that what follows from it (an expired key) holds for every later leader too.
//! A write that was evaluated at or below the new time and comes behind it in the log is evaluated
//! again.

use bytes::Bytes;
use openraft::impls::OneshotResponder;

use super::{
    faults::Doing,
    raft::types::{Applied, Proposal, Raft},
    replica::Shared,
};
use crate::{
    error::OpError,
    storage::codec::{self, Command},
    time::{
        Timestamp,
        local::{Instant, timeout},
    },
};

/// Proposes a command in the term that it belongs to. Raft has it when this returns; what comes then
/// is what became of it once it is applied. `None`, here and there: nobody knows.
pub(super) async fn propose(
    raft: &Raft,
    term: u64,
    command: &Command<'_>,
) -> Option<impl Future<Output = Option<Applied>> + use<>> {
    let (responder, answer) = OneshotResponder::new_pair();
    let proposal = Proposal(Bytes::from(codec::encode(command)));
    raft.write(proposal).responder(responder).with_leader(term).await.ok()?;
    Some(async { Some(answer.await.ok()?.ok()?.data) })
}

/// Proposes an advance in the term that this replica leads, and waits until it is applied. Any error
/// says that the time may not have moved; that it may have is harmless.
pub(super) async fn advance_time(
    shared: &Shared,
    raft: &Raft,
    to: Timestamp,
    deadline: Instant,
) -> Result<(), OpError> {
    if shared.state.time() >= to {
        return Ok(());
    }
    let not_leader = || OpError::not_leader(shared.leader_hint(raft));
    let Ok(leader) = raft.as_leader() else { return Err(not_leader()) };
    let term = leader.term();
    shared.metrics.time_advances.inc();
    // What is evaluated from now on is above it, and not evaluated in vain.
    shared.hlc.observe(to);
    let command = Command::AdvanceTime { evaluated_under: term, to };
    let proposed = async { propose(raft, term, &command).await?.await };
    match timeout(deadline.saturating_duration_since(Instant::now()), proposed).await {
        Ok(Some(Applied::Done)) => Ok(()),
        Ok(Some(_)) => Err(not_leader()),
        Ok(None) => Err(OpError::unavailable("leadership changed; try again")),
        Err(_) => {
            let why = "the range's time was not moved in time";
            shared.faults.note(Doing::Propose, None, why);
            Err(OpError::unavailable("the range's time could not be moved; try again"))
        }
    }
}
