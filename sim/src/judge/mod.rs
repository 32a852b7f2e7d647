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
//! | [`pages`] | a page of a scan, whichever way it was asked for, shows a moment that is not before the scan |
//! | [`read_all`] | a read of all registers, over however many ranges, shows one moment of them |
//! | [`answered`] | once all faults have ended every call is answered |
//! | [`promise`] | the loss of a part of the cluster costs no more than promised |
//!
//! Those of the replicas look at what nodes did:
//!
//! | judge | what it sees |
//! |---|---|
//! | [`raft`] | as the run goes: one leader a term, one log, nothing committed is lost, quorums |
//! | [`replicas`] | at one applied index all replicas of a range are in one state |

pub mod acknowledged;
pub mod answered;
pub mod counter;
pub mod linearizable;
pub mod list;
pub mod moment;
pub mod pages;
pub mod promise;
pub mod raft;
pub mod read_all;
pub mod replicas;
pub mod verdict;

pub use verdict::{Verdict, Violation};

use crate::{history::Op, scenario::Mix};

/// Puts a finished run of a workload before every judge that its mix has something for. `skew_ns`: how
/// far two clocks of the cluster may be apart.
pub fn workload(ops: &[Op], mix: &Mix, skew_ns: u64) -> Verdict {
    let limits = linearizable::Limits { skew_ns, ..linearizable::Limits::default() };
    let mut verdict = linearizable::check_within(ops, limits);
    if mix.insert > 0 {
        verdict = verdict.and(acknowledged::check(ops));
    }
    if mix.scan > 0 {
        verdict = verdict.and(moment::check(ops));
    }
    if mix.read_all > 0 {
        verdict = verdict.and(read_all::check(ops));
    }
    if mix.pages > 0 {
        verdict = verdict.and(pages::check(ops, skew_ns));
    }
    if mix.append > 0 {
        verdict = verdict.and(list::check(ops));
    }
    if mix.increment > 0 {
        verdict = verdict.and(counter::check(ops));
    }
    verdict
}
