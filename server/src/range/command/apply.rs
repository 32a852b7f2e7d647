//! Applies a committed command to the state.

use super::{delete_range, outcome::Applied, reserve_replica, target::Target, thresholds, write};
use crate::storage::{engine::Error, format::command::Command};

/// Applies a command whose entry was proposed in `term`.
pub fn apply(target: &mut Target<'_>, term: u64, command: Command<'_>) -> Result<Applied, Error> {
    match command {
        Command::Write(write) => write::apply(target, term, &write),
        Command::Remove(page) => delete_range::apply(target, term, &page),
        Command::MoveDedupThreshold { evaluated_under, .. }
        | Command::AdvanceTime { evaluated_under, .. }
        | Command::MoveGcThreshold { evaluated_under, .. }
        | Command::ReserveReplica { evaluated_under }
            if evaluated_under != term =>
        {
            Ok(Applied::ReEvaluate)
        }
        Command::MoveDedupThreshold { threshold, .. } => {
            Ok(thresholds::move_dedup(target.applied, threshold))
        }
        Command::AdvanceTime { to, .. } => Ok(thresholds::advance_time(target.applied, to)),
        Command::MoveGcThreshold { threshold, .. } => {
            Ok(thresholds::move_gc(target.applied, threshold))
        }
        Command::ReserveReplica { .. } => Ok(reserve_replica::apply(target.descriptor)),
    }
}
