//! The timestamp oracle at work: what the machines of `time/oracle/` say, done over links and disks.
//!
//! ```text
//!   rounds.rs    this node's proposer: rounds for its ranges, and for nodes that delegate to it
//!   servers.rs   which node a time server is on, and how quickly it answers
//!   delegate.rs  whose proposer runs the rounds of this node
//!   naive.rs     what stands in their place where one time server is planted
//!   placement.rs on which nodes time servers are, where an operator has named them
//!   change.rs    another set of time servers, at whoever leads the system range
//!   recover.rs   time begun anew where a majority of the time servers is lost for good
//! ```
//!
//! Every node has a time server, which answers where it belongs to the active set, and a proposer. The ranges of a
//! node ask for rounds through [`Oracle`](crate::time::oracle::handle::Oracle). One proposer a room decides rounds, the
//! other nodes delegate to it, and so do those of the other city: a round of theirs is one trip between the cities.
//! Whose proposer does not answer is not waited for: the node's own runs the round, which is as safe.
//!
//! # Invariants
//!
//! * What a time server answers rests on its disk (`cluster/time_server.rs`).
//! * A request's round begins after the request has come ([`Proposer::request`]): also where it goes to another node,
//!   which sees it as its own.
//!
//! [`Proposer::request`]: crate::time::oracle::proposer::Proposer::request

pub(crate) mod change;
mod delegate;
mod naive;
mod placement;
mod recover;
pub(crate) mod rounds;
mod servers;
