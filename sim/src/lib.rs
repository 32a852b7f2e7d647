//! The deterministic simulation of a Quintet cluster.
//!
//! What is here is pure: the history of what clients asked and saw, the judges that read it, and
//! scenario files. Nothing in these modules knows how a cluster is run.

pub mod history;
pub mod judge;
pub mod scenario;
