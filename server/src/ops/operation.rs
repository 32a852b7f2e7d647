//! What clients ask for, and how that ends: the words of metrics and of the log.

use quintet_proto::v1::Code;

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
    /// The versions of a key.
    History,
    /// One page of a watch.
    Watch,
    /// A timestamp.
    Timestamp,
}

impl Operation {
    pub(crate) const ALL: [(Operation, &str); 13] = [
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
        (Operation::History, "history"),
        (Operation::Watch, "watch"),
        (Operation::Timestamp, "timestamp"),
    ];

    /// As in the labels.
    pub fn name(self) -> &'static str {
        Operation::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationOutcome {
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

impl OperationOutcome {
    pub(crate) const ALL: [(OperationOutcome, &str); 7] = [
        (OperationOutcome::Ok, "ok"),
        (OperationOutcome::Refused, "refused"),
        (OperationOutcome::Invalid, "invalid"),
        (OperationOutcome::Unavailable, "unavailable"),
        (OperationOutcome::Overloaded, "overloaded"),
        (OperationOutcome::Unknown, "unknown"),
        (OperationOutcome::Storage, "storage"),
    ];

    /// As in the labels.
    pub fn name(self) -> &'static str {
        OperationOutcome::ALL.get(self as usize).map_or("", |(_, name)| name)
    }

    /// The outcome that an error on the wire stands for.
    pub fn of(error: &quintet_proto::v1::Error) -> OperationOutcome {
        OperationOutcome::of_code(error.code(), error.maybe_committed)
    }

    /// The outcome that an error code stands for.
    pub fn of_code(code: Code, maybe_committed: bool) -> OperationOutcome {
        if maybe_committed {
            return OperationOutcome::Unknown;
        }
        match code {
            Code::Conflict | Code::NotANumber => OperationOutcome::Refused,
            Code::InvalidArgument
            | Code::Expired
            | Code::SeveralRanges
            | Code::RequestIdReused
            | Code::VersionCollected
            | Code::WrongCluster
            | Code::AlreadyInitialized
            | Code::NodeNotEmpty => OperationOutcome::Invalid,
            Code::Unspecified
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::NotInitialized
            | Code::EmptyNode
            | Code::StaleRoute
            | Code::NotLeader => OperationOutcome::Unavailable,
            Code::Overloaded | Code::SlowConsumer => OperationOutcome::Overloaded,
            Code::UnknownOutcome => OperationOutcome::Unknown,
            Code::Storage => OperationOutcome::Storage,
        }
    }
}
