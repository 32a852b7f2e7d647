//! A moment is held in every range of what somebody reads: `holds.rs` has what is held, and why that is enough.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};

use super::{
    holds::{Hold, LEASE},
    state::NodeState,
};
use crate::{
    error::OpError,
    ids::RangeId,
    peer::ask::{self, NoAnswer},
    range::command::outcome::Applied,
    router::routes::RANGES_MAX,
    storage::format::{command::Command, descriptor::Descriptor, gc::GcHold},
    time::{
        Timestamp,
        local::{Instant, sleep},
    },
};

/// Ranges that are told at the same time.
pub(crate) const RANGES_AT_ONCE: usize = 64;
/// How long a range may take for a hold.
const RANGE_WITHIN: Duration = Duration::from_secs(5);
/// And to hear of one again: those without a leader, in which nothing is collected meanwhile, must not hold up others.
const RENEWED_WITHIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

impl NodeState {
    /// Holds a moment of the stored keys in `[start, end)`, where an empty end is none, until what is returned is
    /// dropped; none is now. The moment is held everywhere when this returns.
    pub(crate) async fn hold_versions(
        self: &Arc<Self>,
        (start, end): (Vec<u8>, Vec<u8>),
        at: Option<Timestamp>,
        until: Instant,
    ) -> Result<(Timestamp, Hold), OpError> {
        let ranges = self.router().routes().covering(&start, &end, RANGES_MAX);
        if ranges.is_empty() {
            return Err(self.peers().no_cluster());
        }
        let oracle = &self.host().oracle;
        let at = match at {
            None => oracle.round().await?.last(),
            Some(at) if oracle.now() >= at || oracle.round().await?.last() >= at => at,
            Some(_) => {
                let message = "the moment is yet to come; name one that is over";
                return Err(OpError::invalid(message));
            }
        };
        let Some(hold) = self.holds().take((start.clone(), end.clone()), at) else {
            let message =
                "too many moments are held at this node; end some of those that read them";
            return Err(OpError::overloaded(message));
        };
        let told = stream::iter(ranges).map(|range| {
            let span = (start.clone(), end.clone());
            async move { self.hold_in(&range, span, until).await }
        });
        let mut told = told.buffer_unordered(RANGES_AT_ONCE);
        while let Some(threshold) = told.next().await {
            if at < threshold? {
                return Err(OpError::collected());
            }
        }
        Ok((at, hold.tell()))
    }

    /// Tells the leader of a range what this node holds there; what is refused of the span by then.
    async fn hold_in(
        self: &Arc<Self>,
        range: &Descriptor,
        span: (Vec<u8>, Vec<u8>),
        until: Instant,
    ) -> Result<Timestamp, OpError> {
        let mut last = "it has no leader".to_owned();
        loop {
            if let Some(leader) = self.router().leader_of(range.range) {
                let lease = self.host().oracle.round().await?.last().saturating_add(LEASE);
                let hold = self.holds().due(range, lease);
                let here = self.hold_versions_here(range.range, hold.clone(), span.clone());
                let question = ask::HoldVersions { hold, span: span.clone() };
                match self.at(leader, Some(range.range), question, RANGE_WITHIN, here).await {
                    Ok(ask::Held::Since(threshold)) => return Ok(threshold),
                    Ok(ask::Held::NotHeld(why)) => last = why,
                    Err(NoAnswer) => last = format!("node {} went away", leader.0),
                }
            }
            if Instant::now() + POLL >= until {
                let message = format!("range {} does not hold the moment: {last}", range.range);
                return Err(OpError::unavailable(message));
            }
            sleep(POLL).await;
        }
    }

    /// The same, by the leader of the range, which this node is to be.
    pub(super) async fn hold_versions_here(
        &self,
        range: RangeId,
        hold: GcHold,
        (start, end): (Vec<u8>, Vec<u8>),
    ) -> ask::Held {
        let Some(replica) = self.router().replica(range) else {
            return ask::Held::NotHeld("the node has no replica of it".to_owned());
        };
        let Some(term) = replica.raft.leads() else {
            return ask::Held::NotHeld("the node does not lead it".to_owned());
        };
        let command = Command::HoldVersions { evaluated_under: term, hold };
        // What is applied after it finds it there.
        match replica.committed(term, &command).await {
            Some(Applied::Done) => {
                ask::Held::Since(replica.shared.state.gc_threshold_over(&start, &end))
            }
            Some(_) => {
                let why = "another leader came, or too many hold moments of it";
                ask::Held::NotHeld(why.to_owned())
            }
            None => ask::Held::NotHeld("its leader did not get a majority".to_owned()),
        }
    }

    /// Tells a range again what this node holds there, or that it is needed no more; whether it has heard.
    pub(crate) async fn renew_hold(self: &Arc<Self>, range: &Descriptor) -> bool {
        let span = (range.start.clone(), range.end.clone());
        let told = self.hold_in(range, span, Instant::now() + RENEWED_WITHIN).await;
        if let Err(error) = &told {
            tracing::warn!(range = %range.range, why = %error.message, "versions not held");
        }
        // Whoever reads what is gone is told so in any case; this tells those who do not read at the moment.
        if let Some(replica) = self.router().replica(range.range) {
            self.holds().note_lost(range, &replica.shared.state);
        }
        told.is_ok()
    }
}
