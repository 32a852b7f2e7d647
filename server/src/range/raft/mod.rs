//! openraft under a range, and the only user of it.
//!
//! ```text
//!   group.rs           a Raft group's handle, a thin method for each thing that others do with it
//!     receive.rs         messages and raft snapshots of the range's other replicas
//!     step_down.rs       ending a leadership from outside
//!     progress.rs        what a group knows of itself, in our words
//!   config.rs types.rs runtime.rs watch.rs snapshot_data.rs    what openraft is built with
//!   log_store.rs       a group's log as openraft sees it
//!     group_log.rs       what is known of it in memory    log_records.rs  its records on disk
//!     log_cache.rs       memory for entries, per node     log_writer.rs   one writer and one sync for all groups
//!   state_machine.rs   entries to `range/state.rs`
//!   network.rs         to the other replicas              append_stream.rs  appends, many under way
//!     wire.rs            openraft's messages to and from the wire
//! ```

mod append_stream;
mod config;
pub mod group;
mod group_log;
mod log_cache;
pub mod log_records;
pub mod log_store;
pub mod log_writer;
pub(super) mod network;
pub mod progress;
mod receive;
mod runtime;
mod snapshot_data;
pub(super) mod state_machine;
pub mod step_down;
mod types;
mod watch;
mod wire;
