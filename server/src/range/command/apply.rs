//! Applies a committed command to the state.

use super::{
    delete_range, outcome::Applied, reserve_replica, target::Target, thresholds, time_servers,
    write,
};
use crate::storage::{engine::Error, format::command::Command};

/// Applies a command whose entry was proposed in `term`.
pub fn apply(target: &mut Target<'_>, term: u64, command: Command<'_>) -> Result<Applied, Error> {
    match command {
        Command::Write(write) => write::apply(target, term, &write),
        Command::Remove(page) => delete_range::apply(target, term, &page),
        Command::MoveDedupThreshold { evaluated_under, .. }
        | Command::MoveGcThresholds { evaluated_under, .. }
        | Command::HoldVersions { evaluated_under, .. }
        | Command::ReserveReplica { evaluated_under }
        | Command::BeginTimeServers { evaluated_under, .. }
        | Command::ActivateTimeServers { evaluated_under, .. }
        | Command::RecoverTimeServers { evaluated_under, .. }
            if evaluated_under != term =>
        {
            Ok(Applied::ReEvaluate)
        }
        Command::MoveDedupThreshold { threshold, .. } => {
            Ok(thresholds::move_dedup(target.applied, threshold))
        }
        Command::MoveGcThresholds { now, threshold, prefixes, .. } => {
            Ok(thresholds::move_gc(target.applied, now, threshold, &prefixes))
        }
        Command::HoldVersions { hold, .. } => Ok(thresholds::hold(target.applied, hold)),
        Command::ReserveReplica { .. } => Ok(reserve_replica::apply(target.descriptor)),
        Command::BeginTimeServers { after, members, .. } => {
            Ok(time_servers::begin(&mut target.applied.time_servers, after, members))
        }
        Command::RecoverTimeServers { after, members, lost, .. } => {
            Ok(time_servers::recover(&mut target.applied.time_servers, after, members, lost))
        }
        Command::ActivateTimeServers { epoch, .. } => {
            Ok(time_servers::activate(&mut target.applied.time_servers, epoch))
        }
    }
}
