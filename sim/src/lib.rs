//! The deterministic simulation of a Quintet cluster.
//!
//! The history of what clients asked and saw, the judges that read it, the scenario files and what is
//! shown of runs are pure, and clients and workloads know only the client library and the wire: nothing in them
//! knows how a cluster is run. The simulation exists only under `--cfg madsim`, and the crash test of real
//! processes only without.

pub mod campaign;
pub mod client;
pub mod dice;
pub mod diff;
pub mod failure;
pub mod history;
pub mod html;
pub mod judge;
pub mod net;
pub mod plan;
pub mod scenario;
pub mod shrink;
pub mod speed;
pub mod timeline;
pub mod workload;

#[cfg(madsim)]
pub mod cluster;
#[cfg(not(madsim))]
pub mod crashtest;
#[cfg(madsim)]
mod crowd;
#[cfg(not(madsim))]
pub mod failover;
// The product's own file, as nothing else of a node is needed here, nor RocksDB.
#[cfg(madsim)]
pub mod faults;
#[cfg(not(madsim))]
#[path = "../../server/src/ports.rs"]
pub mod ports;
#[cfg(madsim)]
pub mod random;
#[cfg(madsim)]
pub mod rounds;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod trace;
