//! Proposed: entries that Raft has, and what they ask.
//!
//! # Invariants
//!
//! * A proposal is tied to the term that it was evaluated in: it is appended only where that term's leader still leads,
//!   and carries the term, which apply looks at again.
//! * Any error may come after the entry was appended: all of them are ambiguous.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use futures::{StreamExt, stream::FuturesUnordered};

use super::entry::Entry;
use crate::{
    planted::{self, Bug},
    range::{
        command::outcome::Applied,
        faults::Doing,
        guards::Raised,
        raft::{group::Group, log_store::LogStore},
        request::Reply,
        shared::Shared,
    },
};

/// A proposal that has ended.
pub(super) struct Finished {
    /// The leadership that it was evaluated in, see `Executor::epoch`.
    pub(super) epoch: u64,
    /// What became of it; nobody knows where it is none.
    pub(super) applied: Option<Applied>,
    number: u64,
}

type InFlight = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// The proposals in flight.
#[derive(Default)]
pub(super) struct Proposals {
    in_flight: FuturesUnordered<InFlight>,
    /// What these ask, by number.
    entries: BTreeMap<u64, Entry>,
    made: u64,
    /// Their requests; a batch is one.
    requests: usize,
}

impl Proposals {
    /// How many there are, and how many requests they have.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.in_flight.len(), self.requests)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Hands an entry to Raft, as evaluated in a term.
    pub(super) async fn propose(
        &mut self,
        (raft, log): (&Group, &LogStore),
        shared: &Shared,
        (term, epoch): (u64, u64),
        entry: Entry,
        guard: Raised,
    ) {
        let command = entry.encode(term, shared.time_domain);
        let counted = shared.cadence.begin();
        self.requests += entry.requests();
        let accepted = planted::active(Bug::AcknowledgedBeforeCommit).then(|| entry.accepted());
        let sent = raft.propose(term, command).await;
        if planted::active(Bug::UncommittedReadable) {
            // The careless hand: "it is in the log, readers may have it".
            shared.state.engine().write(entry.versions()).ok();
        }
        let (faults, log) = (shared.faults.clone(), log.clone());
        self.made += 1;
        let number = self.made;
        self.entries.insert(number, entry);
        self.in_flight.push(Box::pin(async move {
            let _counted = counted;
            let applied = match (sent, accepted) {
                // The careless hand: "it is in the log".
                (Ok(_), Some(accepted)) => Ok(accepted),
                (Ok(applied), None) => applied.await,
                (Err(error), _) => Err(error),
            };
            let applied = applied.inspect_err(|why| faults.note(Doing::Propose, None, why)).ok();
            match applied {
                Some(_) => guard.settle(),
                None => guard.lose(log.last().map(|last| last.index)),
            }
            Finished { epoch, applied, number }
        }));
    }

    /// The next one that ends; none where there are none.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        self.in_flight.next().await
    }

    /// What a proposal asked that has ended.
    pub(super) fn take(&mut self, finished: &Finished) -> Option<Entry> {
        let entry = self.entries.remove(&finished.number)?;
        self.requests -= entry.requests();
        Some(entry)
    }

    /// Everybody who waits for them.
    pub(super) fn replies(&mut self) -> impl Iterator<Item = &mut Reply> {
        self.entries.values_mut().flat_map(Entry::replies)
    }
}
