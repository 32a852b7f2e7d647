//! Judges: what a run has to fulfil.
//!
//! Each is pure and knows nothing of the cluster. Those of the clients take the operations of a finished
//! run, trust nothing but what clients were told, and answer with a [`Verdict`] in words. A judge that
//! cannot tell says [`Verdict::Undecided`]: that is never a pass. Which of them see a history is for its workloads
//! (`sim/src/workload/`).
//!
//! | judge | what it sees |
//! |---|---|
//! | [`linearizable`] | every key by itself behaves as one register in real time |
//! | [`acknowledged`] | every acknowledged insert is there at the end, nothing else is |
//! | [`counter`] | increments count exactly once |
//! | [`list`] | a list that is only appended to grows in one order |
//! | [`moment`] | a scan, over however many ranges, shows one moment of a model |
//! | [`feed`] | a feed brings every version once, in order, none that was not written |
//! | [`order`] | the order of commits is that of timestamps, over all keys and ranges |
//! | [`pages`] | a page of a scan, whichever way it was asked for, shows a moment that is not before the scan |
//! | [`read_all`] | a read of all registers, over however many ranges, shows one moment of them |
//! | [`staleness`] | a state that may be a little old is as new as its answer says, by the time of the run |
//! | [`answered`] | once all faults have ended every call is answered |
//! | [`promise`] | the loss of a part of the cluster costs no more than promised |
//!
//! Those of the replicas look at what nodes did:
//!
//! | judge | what it sees |
//! |---|---|
//! | [`oracle`] | as the run goes: clocks never fall, blocks are published and fresh |
//! | [`raft`] | as the run goes: one leader a term, one log, nothing committed is lost, quorums |
//! | [`replicas`] | at one applied index all replicas of a range are in one state |

pub mod acknowledged;
pub mod answered;
pub mod counter;
pub mod feed;
pub mod linearizable;
pub mod list;
pub mod moment;
pub mod oracle;
pub mod order;
pub mod pages;
pub mod promise;
pub mod raft;
pub mod read_all;
pub mod replicas;
pub mod staleness;
pub mod verdict;

pub use verdict::{Verdict, Violation};

use crate::history::Op;

/// A judge of what clients were told that a workload may ask for. They speak in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// See [`linearizable`].
    Linearizable,
    /// See [`order`].
    Order,
    /// See [`acknowledged`].
    Acknowledged,
    /// See [`moment`].
    Moment,
    /// See [`read_all`].
    ReadAll,
    /// See [`pages`].
    Pages,
    /// See [`feed`].
    Feed,
    /// See [`list`].
    List,
    /// See [`counter`].
    Counter,
    /// See [`staleness`].
    Staleness,
}

impl Judge {
    /// Judges a finished run. `skew_ns`: how far two clocks of the cluster may be apart.
    pub fn check(self, ops: &[Op], skew_ns: u64) -> Verdict {
        match self {
            Judge::Linearizable => {
                let limits = linearizable::Limits { skew_ns, ..linearizable::Limits::default() };
                linearizable::check_within(ops, limits)
            }
            Judge::Order => order::check(ops),
            Judge::Acknowledged => acknowledged::check(ops),
            Judge::Moment => moment::check(ops),
            Judge::ReadAll => read_all::check(ops),
            Judge::Pages => pages::check(ops, skew_ns),
            Judge::Feed => feed::check(ops),
            Judge::List => list::check(ops),
            Judge::Counter => counter::check(ops),
            Judge::Staleness => staleness::check(ops),
        }
    }
}
