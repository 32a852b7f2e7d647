//! Moving the range's time by itself: "nothing is written at or below this moment any more".
//!
//! The time rises with each write; a range that nobody writes to needs a command to say that some
//! moment has passed, so that what follows from it (an expired key) holds for every later leader too.
//! A write that was evaluated at or below the new time and comes behind it in the log is evaluated
//! again.

use super::{command::outcome::Applied, faults::Doing, raft::group::Group, shared::Shared};
use crate::{
    error::OpError,
    storage::format::command::Command,
    time::{
        Timestamp,
        local::{Instant, timeout},
    },
};

/// Proposes an advance in the term that this replica leads, and waits until it is applied. Any error
/// says that the time may not have moved; that it may have is harmless.
pub(super) async fn advance_time(
    shared: &Shared,
    raft: &Group,
    to: Timestamp,
    deadline: Instant,
) -> Result<(), OpError> {
    if shared.state.time() >= to {
        return Ok(());
    }
    let not_leader = || OpError::not_leader(shared.leader_hint(raft));
    let Some(term) = raft.leads() else { return Err(not_leader()) };
    shared.metrics.time_advances.inc();
    // What is evaluated from now on is above it, and not evaluated in vain.
    shared.hlc.observe(to);
    let command = Command::AdvanceTime { evaluated_under: term, to };
    let proposed = async { raft.propose_command(term, &command).await?.await };
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
