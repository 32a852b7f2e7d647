//! How many operations of clients end how, and how long they take.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Histogram, add, with};
use crate::ops::operation::{Operation, OperationOutcome};

/// The handle of one kind of operation.
#[derive(Clone, Debug)]
pub struct OperationMetrics {
    outcomes: [Counter; OperationOutcome::ALL.len()],
    latency: Histogram,
}

impl OperationMetrics {
    /// Counts an operation that has ended.
    pub fn done(&self, outcome: OperationOutcome, took: Duration) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
        self.latency.observe_duration(took);
    }

    /// How many ended so.
    pub fn count(&self, outcome: OperationOutcome) -> u64 {
        self.outcomes.get(outcome as usize).map_or(0, Counter::get)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    operation: &'static str,
    outcome: &'static str,
}

/// The handles of all kinds, in the order of [`Operation::ALL`].
pub(super) fn operations(registry: &mut Registry) -> [OperationMetrics; Operation::ALL.len()] {
    let ended: Family<OutcomeLabels, Counter> =
        add(registry, "operations", "Operations of clients by kind and outcome");
    let latency = with(
        registry,
        "operation_seconds",
        "Time from the arrival of an operation at this node to its answer",
        Family::<OperationLabels, Histogram>::new_with_constructor(Histogram::of_durations),
    );
    Operation::ALL.map(|(_, operation)| OperationMetrics {
        outcomes: OperationOutcome::ALL
            .map(|(_, outcome)| ended.get_or_create_owned(&OutcomeLabels { operation, outcome })),
        latency: latency.get_or_create_owned(&OperationLabels { operation }),
    })
}
