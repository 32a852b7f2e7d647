//! What clients ask for, how it ends, and how long that takes.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use quintet_proto::v1::Code;

use super::{Histogram, add, with};

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One key's value.
    Get,
    /// A write, conditional or not.
    Put,
    /// A removal, conditional or not.
    Delete,
    /// An increment.
    Increment,
    /// A change of the expiry.
    Expire,
    /// Several keys' values; counted once, beside its items.
    BatchGet,
    /// Several writes; counted once, beside its items.
    BatchPut,
    /// Several writes as one request; counted once.
    PutMany,
    /// One page of a scan.
    Scan,
    /// One page of a deletion.
    DeleteRange,
}

impl Operation {
    pub(super) const ALL: [(Operation, &str); 10] = [
        (Operation::Get, "get"),
        (Operation::Put, "put"),
        (Operation::Delete, "delete"),
        (Operation::Increment, "increment"),
        (Operation::Expire, "expire"),
        (Operation::BatchGet, "batch_get"),
        (Operation::BatchPut, "batch_put"),
        (Operation::PutMany, "put_many"),
        (Operation::Scan, "scan"),
        (Operation::DeleteRange, "delete_range"),
    ];

    /// As in the labels.
    pub fn name(self) -> &'static str {
        Operation::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// The condition did not hold, or the value is not a number.
    Refused,
    /// The request was wrong, or not for this cluster.
    Invalid,
    /// No leader could be reached in time; nothing was done.
    Unavailable,
    /// Too much was queued; nothing was done.
    Overloaded,
    /// It may have been done.
    Unknown,
    /// The node's storage failed or is full.
    Storage,
}

impl Outcome {
    pub(super) const ALL: [(Outcome, &str); 7] = [
        (Outcome::Ok, "ok"),
        (Outcome::Refused, "refused"),
        (Outcome::Invalid, "invalid"),
        (Outcome::Unavailable, "unavailable"),
        (Outcome::Overloaded, "overloaded"),
        (Outcome::Unknown, "unknown"),
        (Outcome::Storage, "storage"),
    ];

    /// As in the labels.
    pub fn name(self) -> &'static str {
        Outcome::ALL.get(self as usize).map_or("", |(_, name)| name)
    }

    /// The outcome that an error on the wire stands for.
    pub fn of(error: &quintet_proto::v1::Error) -> Outcome {
        Outcome::of_code(error.code(), error.maybe_committed)
    }

    /// The outcome that an error code stands for.
    pub fn of_code(code: Code, maybe_committed: bool) -> Outcome {
        if maybe_committed {
            return Outcome::Unknown;
        }
        match code {
            Code::Conflict | Code::NotANumber => Outcome::Refused,
            Code::InvalidArgument
            | Code::Expired
            | Code::SeveralRanges
            | Code::RequestIdReused
            | Code::VersionCollected
            | Code::WrongCluster
            | Code::AlreadyInitialized
            | Code::NodeNotEmpty => Outcome::Invalid,
            Code::Unspecified
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::NotInitialized
            | Code::EmptyNode
            | Code::StaleRoute
            | Code::NotLeader => Outcome::Unavailable,
            Code::Overloaded => Outcome::Overloaded,
            Code::UnknownOutcome => Outcome::Unknown,
            Code::Storage => Outcome::Storage,
        }
    }
}

/// The handle of one kind of operation.
#[derive(Clone, Debug)]
pub struct OperationMetrics {
    outcomes: [Counter; Outcome::ALL.len()],
    latency: Histogram,
}

impl OperationMetrics {
    /// Counts an operation that has ended.
    pub fn done(&self, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
        self.latency.observe_duration(took);
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
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
        outcomes: Outcome::ALL
            .map(|(_, outcome)| ended.get_or_create_owned(&OutcomeLabels { operation, outcome })),
        latency: latency.get_or_create_owned(&OperationLabels { operation }),
    })
}
