//! The timestamp oracle: rounds of this node's proposer, and where cluster time stands beside the node's clock.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Gauge, Histogram, SecondsGauge, add, with};

/// The figures of the oracle at one node.
#[derive(Clone, Debug)]
pub struct TimeMetrics {
    one_trip: Counter,
    two_trips: Counter,
    requests: Histogram,
    /// Rounds that another node was asked for and did not bring in time.
    pub delegated_late: Counter,
    /// How long a request for a round waited for it.
    pub round_latency: Histogram,
    /// The epoch of the set of time servers that rounds of this node are decided in.
    pub epoch: Gauge,
    /// 1 while this node's time server answers rounds.
    pub is_server: Gauge,
    /// By how many seconds the node's wall clock is ahead of cluster time, or behind where it is negative; 0 while it
    /// is close.
    pub clock_wrong_by: SecondsGauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TripsLabels {
    trips: &'static str,
}

impl TimeMetrics {
    pub(super) fn new(r: &mut Registry) -> TimeMetrics {
        let rounds: Family<TripsLabels, Counter> = add(
            r,
            "time_rounds",
            "Rounds of this node's proposer that decided a block of timestamps, by how many trips to the time \
             servers they took",
        );
        let of = |trips| rounds.get_or_create_owned(&TripsLabels { trips });
        TimeMetrics {
            one_trip: of("1"),
            two_trips: of("2"),
            requests: with(
                r,
                "time_round_requests",
                "Requests that shared a round of this node's proposer",
                Histogram::of_counts(),
            ),
            delegated_late: add(
                r,
                "time_rounds_delegated_late",
                "Rounds that another node was asked for and did not bring in time, so that this node's proposer \
                 ran one too",
            ),
            round_latency: with(
                r,
                "time_round_seconds",
                "Time from a request of this node for a timestamp to the timestamp",
                Histogram::of_durations(),
            ),
            epoch: add(
                r,
                "time_epoch",
                "Epoch of the set of time servers in which rounds of this node are decided; 0: none is known",
            ),
            is_server: add(
                r,
                "time_server_answers",
                "1 while the time server of this node belongs to the set and is seeded",
            ),
            clock_wrong_by: add(
                r,
                "clock_wrong_by_seconds",
                "Seconds by which this node's wall clock is ahead of cluster time, or behind where it is negative; \
                 0 while it is within a second",
            ),
        }
    }

    /// A round was decided, in one trip or two, for as many requests.
    pub fn round(&self, at_once: bool, requests: usize) {
        if at_once {
            self.one_trip.inc()
        } else {
            self.two_trips.inc()
        };
        self.requests.observe(requests as u64);
    }
}
