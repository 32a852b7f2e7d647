//! The background jobs that a node runs as long as it is up, one file per job.
//!
//! Each job looks at the node's state from time to time, and does a bounded piece of work. No request waits for a
//! job, and no job answers one: what they find out is kept in [`crate::cluster::state::NodeState`], and
//! operations on the cluster are in [`crate::cluster`].
//!
//! ```text
//!   pings.rs            tells others what this node's leaders know   clocks.rs      the node's own clock
//!   leaders.rs          leaders move to where they belong            disk.rs        the node's own disk
//!   heartbeats.rs       of all groups at one moment                  lost_leaders.rs  elections after a process ended
//!   truncation.rs       of logs                                      addresses.rs   the address book's copy on disk
//!   thresholds.rs       how far back requests count            gc_thresholds.rs  how far back versions do
//!   holds.rs            what keeps versions meanwhile
//!   request_records.rs  remembered requests go                       versions.rs    old versions go
//!   collector.rs        the loop of these two                        registry.rs    the system range is kept true
//!   time_servers.rs     the set of time servers is what it should be   closed_timestamps.rs  moments that are over
//! ```
//!
//! # On a crash
//!
//! A job has no state of its own that matters: the next start begins it anew.

mod addresses;
mod clocks;
mod closed_timestamps;
mod collector;
mod disk;
mod gc_thresholds;
mod heartbeats;
mod holds;
mod leaders;
mod lost_leaders;
mod pause;
mod pings;
mod registry;
mod request_records;
mod thresholds;
mod time_servers;
mod truncation;
mod versions;

use std::sync::Arc;

use tokio::task::JoinHandle;

use self::{request_records::RequestRecords, versions::Versions};
use crate::{
    cluster::state::NodeState, config::Limits, range::elections::RaftTimes, storage::Engine,
};

/// Begins all jobs of a node, whose log engine is `log`.
pub(crate) fn start(
    node_state: &Arc<NodeState>,
    times: RaftTimes,
    limits: &Limits,
    log: Arc<dyn Engine>,
) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(leaders::run(node_state.clone())),
        tokio::spawn(disk::run(node_state.clone())),
        tokio::spawn(heartbeats::run(node_state.clone(), times)),
        tokio::spawn(lost_leaders::run(node_state.clone(), times)),
        tokio::spawn(pings::run(node_state.clone())),
        tokio::spawn(truncation::run(node_state.clone())),
        tokio::spawn(thresholds::move_dedup(node_state.clone(), limits.dedup_window())),
        tokio::spawn(collector::run(node_state.clone(), RequestRecords::default())),
        tokio::spawn(gc_thresholds::run(node_state.clone(), limits.version_retention())),
        tokio::spawn(holds::run(node_state.clone())),
        tokio::spawn(collector::run(node_state.clone(), Versions::default())),
        tokio::spawn(registry::run(node_state.clone())),
        tokio::spawn(time_servers::run(node_state.clone())),
        tokio::spawn(closed_timestamps::run(node_state.clone())),
        tokio::spawn(addresses::run(node_state.clone(), log)),
    ]
}
