//! Judges: what a history of clients has to fulfil.
//!
//! Each takes the operations of a finished run and answers with a [`Verdict`] in words. They are
//! pure, know nothing of the cluster, and trust nothing but what clients were told. A judge that
//! cannot tell says [`Verdict::Undecided`]: that is never a pass.
//!
//! | judge | what it sees |
//! |---|---|
//! | [`linearizable`] | every key by itself behaves as one register in real time |
//! | [`acknowledged`] | every acknowledged insert is there at the end, nothing else is |
//! | [`counter`] | increments count exactly once |
//! | [`moment`] | a scan, over however many ranges, shows one moment |

pub mod acknowledged;
pub mod counter;
pub mod linearizable;
pub mod moment;
pub mod verdict;

pub use verdict::{Verdict, Violation};
