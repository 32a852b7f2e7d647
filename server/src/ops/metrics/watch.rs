//! Watches of clients: how many there are, what they are sent, how far they are behind, why they ended.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Gauge, SecondsGauge, add};

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// Its client went.
    ClientGone,
    /// Its client took nothing of it for too long.
    SlowConsumer,
    /// What it was to go on with is not kept any more.
    Collected,
    /// Some range of it did not get on for too long.
    Unavailable,
    /// The node stops.
    Stopping,
    /// It asked for what makes no sense.
    Invalid,
}

impl WatchEnd {
    const ALL: [(WatchEnd, &'static str); 6] = [
        (WatchEnd::ClientGone, "client_gone"),
        (WatchEnd::SlowConsumer, "slow_consumer"),
        (WatchEnd::Collected, "collected"),
        (WatchEnd::Unavailable, "unavailable"),
        (WatchEnd::Stopping, "stopping"),
        (WatchEnd::Invalid, "invalid"),
    ];
}

/// The figures of the watches of a node.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    /// Watches that clients hold open.
    pub open: Gauge,
    /// Changes sent to them.
    pub changes: Counter,
    /// Passes over a range for those that catch up.
    pub passes: Counter,
    /// How far the one is behind that is furthest behind.
    pub lag: SecondsGauge,
    ended: [Counter; WatchEnd::ALL.len()],
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    reason: &'static str,
}

impl WatchMetrics {
    pub(super) fn new(r: &mut Registry) -> WatchMetrics {
        let ended: Family<EndLabels, Counter> =
            add(r, "watches_ended", "Watches that ended, by reason");
        WatchMetrics {
            open: add(r, "watches_open", "Watches that clients hold open"),
            changes: add(r, "watch_changes_sent", "Changes sent to watches"),
            passes: add(
                r,
                "watch_passes",
                "Passes over all versions of a range for watches that catch up, because its list of recent versions \
                 does not go back so far",
            ),
            lag: add(
                r,
                "watch_lag_seconds",
                "How far the watch of this node that is furthest behind is behind cluster time; 0: none is open",
            ),
            ended: WatchEnd::ALL
                .map(|(_, reason)| ended.get_or_create_owned(&EndLabels { reason })),
        }
    }

    /// How often a watch ended so.
    pub fn ended(&self, end: WatchEnd) -> &Counter {
        let [client_gone, slow_consumer, collected, unavailable, stopping, invalid] = &self.ended;
        match end {
            WatchEnd::ClientGone => client_gone,
            WatchEnd::SlowConsumer => slow_consumer,
            WatchEnd::Collected => collected,
            WatchEnd::Unavailable => unavailable,
            WatchEnd::Stopping => stopping,
            WatchEnd::Invalid => invalid,
        }
    }
}
