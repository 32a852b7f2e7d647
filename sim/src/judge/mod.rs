//! Judges: what a run has to fulfil.
//!
//! Each is pure and knows nothing of the cluster. Those of the clients take the operations of a finished
//! run, trust nothing but what clients were told, and answer with a [`Verdict`] in words. A judge that
//! cannot tell says [`Verdict::Undecided`]: that is never a pass.
//!
//! | judge | what it sees |
//! |---|---|
//! | [`linearizable`] | every key by itself behaves as one register in real time |
//! | [`acknowledged`] | every acknowledged insert is there at the end, nothing else is |
//! | [`counter`] | increments count exactly once |
//! | [`list`] | a list that is only appended to grows in one order |
//! | [`moment`] | a scan, over however many ranges, shows one moment of a model |
//!
//! Those of the replicas look at what nodes did:
//!
//! | judge | what it sees |
//! |---|---|
//! | [`raft`] | as the run goes: one leader a term, one log, nothing committed is lost, quorums |
//! | [`replicas`] | at one applied index all replicas of a range are in one state |

pub mod acknowledged;
pub mod counter;
pub mod linearizable;
pub mod list;
pub mod moment;
pub mod raft;
pub mod replicas;
pub mod verdict;

pub use verdict::{Verdict, Violation};
