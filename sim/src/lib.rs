//! The deterministic simulation of a Quintet cluster.
//!
//! The history of what clients asked and saw, the judges that read it, the scenario files and what is
//! shown of runs are pure: nothing in them knows how a cluster is run. The rest exists only under
//! `--cfg madsim`.

pub mod campaign;
pub mod dice;
pub mod diff;
pub mod failure;
pub mod history;
pub mod html;
pub mod judge;
pub mod plan;
pub mod scenario;
pub mod shrink;
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
