//! What a workload is.

use futures::future::BoxFuture;

use crate::{
    client::{Caller, Walk},
    history::Call,
    judge::Judge,
};

/// One kind of work that clients do. It keeps no state of a run: numbers that nobody had come from the caller
/// ([`Caller::unique`]), and so do all draws.
///
/// One that the scenario gives no weight is asked all the same: others may write to its keys.
pub(super) trait Workload: Send + Sync {
    /// How often a client chooses it, against the other workloads of the scenario; 0: never.
    fn weight(&self) -> u64;

    /// What has to be done before the first client begins, in this order; each must be acknowledged. Mostly nothing.
    fn setup(&self) -> Vec<(String, Call)> {
        Vec::new()
    }

    /// What a client does when it has drawn this workload.
    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()>;

    /// What is read once all faults have ended, each of which must be answered.
    fn last_reads(&self) -> Vec<LastRead> {
        Vec::new()
    }

    /// The judges of the history that it asks for, beside that of linearizability, which sees every history.
    fn judges(&self) -> &'static [Judge] {
        &[]
    }
}

/// What was drawn for one step of a client, before it did anything. Two numbers of keys are drawn for every step,
/// asked for or not: seeds keep their meaning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The number of a register.
    pub(super) register: u64,
    /// The number of a counter.
    pub(super) counter: u64,
    /// What is left of the draw among the weights of this workload: below [`Workload::weight`].
    pub(super) fall: u64,
    /// All bits of that draw.
    pub(super) random: u64,
}

/// Something that is read at the end.
#[derive(Debug)]
pub(super) struct LastRead {
    /// Where it stands among all that is read.
    pub(super) place: Place,
    /// What is read.
    pub(super) read: Read,
}

impl LastRead {
    /// A call on a key.
    pub(super) fn call(place: Place, key: impl Into<String>, call: Call) -> LastRead {
        LastRead { place, read: Read::Call(key.into(), call) }
    }
}

/// What is read.
#[derive(Debug)]
pub(super) enum Read {
    /// By one call on a key.
    Call(String, Call),
    /// Page by page.
    Walk(Walk),
    /// All feeds of a prefix that clients have followed, to their end.
    Feeds(String),
}

/// Where a read stands among the last ones: that belongs to what a seed means, so a new workload takes a place behind
/// all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64, u64);

impl Place {
    /// Beside the keys of this number of other workloads, in the order of `seat`.
    pub(super) const fn beside(number: u64, seat: u64) -> Place {
        Place(number, seat)
    }

    /// After all of these, in the order of `turn`.
    pub(super) const fn after(turn: u64) -> Place {
        Place(u64::MAX, turn)
    }
}
