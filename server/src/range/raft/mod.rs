//! openraft under a range: log store, state machine, network, runtime. The only user of openraft
//! beside the range's executor and reads.

mod append_stream;
mod log_cache;
pub mod log_store;
pub mod log_writer;
pub mod network;
pub mod runtime;
pub mod state_machine;
pub mod types;
pub mod watch;
pub mod wire;
