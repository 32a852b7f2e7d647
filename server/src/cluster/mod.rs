//! What a node knows of its cluster, and what it does as a member of it.
//!
//! ```text
//!   state.rs          what the node knows and is: one value a node     records.rs  what of it is on disk
//!   forming.rs        the cluster is formed, once                      plan.rs     how that looks on the wire
//!   registry.rs       what the system range holds of the cluster       orders.rs   what operators have written there
//!   retention.rs      for how long versions are kept, by prefix        set_retention.rs  how that is set
//!   holds.rs          what keeps them while they are read              hold_versions.rs  in every range
//!   drain.rs          leaders move off a node, and stay away           leaders.rs  moves them (candidates.rs: whom to)
//!   replace/          a node that lost its disk is taken back
//!   oracle/           the timestamp oracle at work: rounds, changes    time_server.rs  this node's time server
//!   news.rs           what this node's leaders know, told to all       around.rs disks.rs  what others said
//!   reach.rs          whom a node reaches at the moment
//!   known_leader.rs   who leads a range, as far as can be told
//!   status.rs figures.rs readiness.rs debug.rs   the node as people, monitors and load balancers see it
//!   answers/          what a node answers its peers
//! ```
//!
//! Operations are methods of [`state::NodeState`] in the file of their name. They return
//! [`OpError`](crate::error::OpError); the doors and the answers to peers put it on the wire.

pub mod answers;
mod around;
mod candidates;
pub(crate) mod closed_age;
pub mod debug;
mod disks;
mod drain;
pub(crate) mod figures;
mod forming;
pub(crate) mod hold_versions;
pub(crate) mod holds;
mod known_leader;
pub(crate) mod leaders;
pub(crate) mod news;
pub(crate) mod oracle;
mod orders;
mod plan;
pub(crate) mod reach;
pub mod readiness;
pub mod records;
pub mod registry;
mod replace;
pub(crate) mod retention;
mod set_retention;
pub mod state;
pub mod status;
pub(crate) mod time_server;
