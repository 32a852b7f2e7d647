//! The deterministic simulation of a Quintet cluster.
//!
//! The history of what clients asked and saw, the judges that read it and the scenario files are
//! pure: nothing in them knows how a cluster is run. The rest exists only under `--cfg madsim`.

pub mod dice;
pub mod history;
pub mod judge;
pub mod net;
pub mod plan;
pub mod scenario;
pub mod timeline;

#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod faults;
#[cfg(madsim)]
pub mod random;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
