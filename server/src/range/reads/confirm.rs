//! That this replica leads, for a batch of reads.
//!
//! The first round of a leadership goes through Raft, which also waits for the leader's first entry; further ones
//! are shared with the node's other ranges (`range/leadership.rs`).

use std::{sync::Arc, time::Duration};

use crate::{
    planted::{self, Bug},
    range::{
        leadership::claim::Claim,
        raft::{group::Group, log_store::LogStore},
        shared::Shared,
    },
    time::local::Instant,
};

/// How long the first round of a leadership may take before its reads are turned away.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Only with [`Bug::StaleLeaderRead`]: how long a confirmation is taken for a new one; longer than
/// followers wait for a leader before they elect another.
const STALE_MAX: Duration = Duration::from_secs(2);

/// Confirms that a replica leads.
pub(super) struct Confirming {
    pub(super) shared: Arc<Shared>,
    pub(super) raft: Group,
    log: LogStore,
    /// Only with [`Bug::StaleLeaderRead`]: the term that was confirmed last, and when.
    stale: Option<(u64, Instant)>,
}

/// That this replica led in a term, and had applied what was committed before.
pub(super) struct Confirmed {
    pub(super) term: u64,
    /// It did so when this round began, see `Leaderships::arrived`; without one, after it was asked.
    pub(super) round: Option<u64>,
}

impl Confirming {
    pub(super) fn new(shared: Arc<Shared>, raft: Group, log: LogStore) -> Confirming {
        Confirming { shared, raft, log, stale: None }
    }

    /// `None`: it does not lead, or nobody knows.
    pub(super) async fn confirm(&mut self) -> Option<Confirmed> {
        let claim = Claim::of(self.shared.range, &self.raft)?;
        let term = claim.term();
        if planted::active(Bug::ReadUnconfirmed) {
            // The careless hand: "who else".
            return Some(Confirmed { term, round: None });
        }
        if planted::active(Bug::StaleLeaderRead)
            && self.stale.is_some_and(|(of, at)| of == term && at.elapsed() < STALE_MAX)
        {
            // The careless hand: "I have just asked".
            return Some(Confirmed { term, round: None });
        }
        if self.shared.is_prepared(term) || planted::active(Bug::LeaderServesUnprepared) {
            let asked = planted::active(Bug::StaleLeaderRead).then(Instant::now);
            let round = self.shared.leaderships.confirm(claim, self.log.clone()).await?;
            self.stale = asked.map(|at| (term, at));
            return Some(Confirmed { term, round: Some(round) });
        }
        if !self.shared.prepare_now(&self.raft, term, ROUND_TIMEOUT).await {
            return None;
        }
        Some(Confirmed { term, round: None })
    }
}
