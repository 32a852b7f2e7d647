//! Why a call failed: variants by what the caller does about them, as the errors of an API should be.
//!
//! Three sources become one type here: an error answer on a session ([`Error::from_wire`]), the status of a
//! unary call ([`Error::from_status`]), and what the library itself finds.
//!
//! Invariant: a write of which some copy may have acted ends as [`Error::UnknownOutcome`] and as nothing else,
//! so that every other error means "it did not happen and will not". The call (`call.rs`) knows whether a copy may
//! have acted, and says so by [`Error::to_unknown_outcome`]. Checked by `tests/session.rs`.

use std::time::Duration;

use quintet_proto::{details, v1};

use crate::types::{Version, Versioned};

/// Why a call did not bring its result.
///
/// [`code`](Self::code) is stable and for programs; the text is for people. After an error for
/// which [`maybe_committed`](Self::maybe_committed) is true a write may have happened, or may
/// happen still: read before you write again. After any other error it did not and will not happen.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: too large, empty key, unknown keyspace, and so on.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The condition did not hold.
    #[error(
        "conflict: {}",
        match .current {
            Some(current) => format!("the key has version {}", current.version),
            None => "the key does not exist".to_owned(),
        }
    )]
    Conflict {
        /// What stands in the key; `None` if it does not exist.
        current: Option<Versioned>,
        /// The version that stands; 0 if the key does not exist.
        version: Version,
    },
    /// The time of the call ran out; a write was not begun.
    #[error("deadline exceeded: {0}")]
    DeadlineExceeded(String),
    /// No node could be reached, or too few nodes are up; a write was not begun.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The cluster has too much to do; nothing was begun.
    #[error("overloaded: the cluster has too much queued{}",
        .retry_after.map(|after| format!(", try again in {after:?}")).unwrap_or_default())]
    Overloaded {
        /// How long to wait before another try, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The request is older than the cluster remembers requests; it was not done.
    #[error("expired: the request is older than the cluster remembers requests")]
    Expired,
    /// The request id was used before, with another request.
    #[error("request id reused: {0}")]
    RequestIdReused(String),
    /// A node of another cluster, or of another incarnation of it.
    #[error("wrong cluster: {0}")]
    WrongCluster(String),
    /// No cluster has been formed yet.
    #[error("not initialized: {0}")]
    NotInitialized(String),
    /// The node's directory is empty and it takes part in nothing, while the nodes around belong to a
    /// cluster: [`replace_node`](crate::Client::replace_node).
    #[error("empty node: {0}")]
    EmptyNode(String),
    /// The node that shall be replaced has not lost its disk.
    #[error("node not empty: {0}")]
    NodeNotEmpty(String),
    /// The cluster has been formed before.
    #[error("already initialized: {0}")]
    AlreadyInitialized(String),
    /// The value is not a decimal number, or the sum does not fit in 64 bits.
    #[error("not a number: {0}")]
    NotANumber(String),
    /// The write may have happened, or may happen still.
    #[error("unknown outcome: {0}")]
    UnknownOutcome(String),
    /// The scan took too long: the cluster does not keep the versions of its moment any more. Begin it
    /// again.
    #[error("version collected: {0}")]
    VersionCollected(String),
    /// Nothing of a watch was taken for too long; [`Watch`](crate::Watch) goes on by itself where it ended.
    #[error("slow consumer: {0}")]
    SlowConsumer(String),
    /// The node's disk is full or failed.
    #[error("storage: {0}")]
    Storage(String),
    /// The node answered what this version of the library does not understand.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// A stable name of the variant, for programs: `conflict`, `deadline_exceeded`, and so on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument(_) => "invalid_argument",
            Self::Conflict { .. } => "conflict",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::Unavailable(_) => "unavailable",
            Self::Overloaded { .. } => "overloaded",
            Self::Expired => "expired",
            Self::RequestIdReused(_) => "request_id_reused",
            Self::WrongCluster(_) => "wrong_cluster",
            Self::NotInitialized(_) => "not_initialized",
            Self::EmptyNode(_) => "empty_node",
            Self::NodeNotEmpty(_) => "node_not_empty",
            Self::AlreadyInitialized(_) => "already_initialized",
            Self::NotANumber(_) => "not_a_number",
            Self::UnknownOutcome(_) => "unknown_outcome",
            Self::VersionCollected(_) => "version_collected",
            Self::SlowConsumer(_) => "slow_consumer",
            Self::Storage(_) => "storage",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Whether the caller may make the same call again: it is safe, and it may succeed.
    ///
    /// False for an unknown outcome: the library has retried it for as long as the deadline
    /// allowed, and a new call is a new request, which could act a second time.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::DeadlineExceeded(_)
                | Self::Unavailable(_)
                | Self::Overloaded { .. }
                | Self::SlowConsumer(_)
                | Self::Expired
        )
    }

    /// Whether the write may have happened, or may happen still.
    #[must_use]
    pub fn maybe_committed(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }

    /// The error that a definite answer of the server means.
    pub(crate) fn from_wire(error: v1::Error) -> Self {
        let code = error.code();
        let text = error.message;
        match code {
            v1::Code::InvalidArgument => Self::InvalidArgument(text),
            v1::Code::Conflict => {
                let version = Version(error.current.as_ref().map_or(0, |state| state.version));
                Self::Conflict {
                    current: Versioned::from_wire(error.current.map(|state| *state)),
                    version,
                }
            }
            v1::Code::DeadlineExceeded => Self::DeadlineExceeded(text),
            v1::Code::Unavailable
            | v1::Code::StaleRoute
            | v1::Code::NotLeader
            | v1::Code::SeveralRanges => Self::Unavailable(text),
            v1::Code::Overloaded => Self::Overloaded {
                retry_after: (error.retry_after_ms > 0)
                    .then(|| Duration::from_millis(error.retry_after_ms.into())),
            },
            v1::Code::Expired => Self::Expired,
            v1::Code::RequestIdReused => Self::RequestIdReused(text),
            v1::Code::WrongCluster => Self::WrongCluster(text),
            v1::Code::NotInitialized => Self::NotInitialized(text),
            v1::Code::EmptyNode => Self::EmptyNode(text),
            v1::Code::NodeNotEmpty => Self::NodeNotEmpty(text),
            v1::Code::AlreadyInitialized => Self::AlreadyInitialized(text),
            v1::Code::NotANumber => Self::NotANumber(text),
            v1::Code::UnknownOutcome => Self::UnknownOutcome(text),
            v1::Code::VersionCollected => Self::VersionCollected(text),
            v1::Code::SlowConsumer => Self::SlowConsumer(text),
            v1::Code::Storage => Self::Storage(text),
            v1::Code::Unspecified => Self::Protocol(format!("answer without a code: {text}")),
        }
    }

    /// The error that a gRPC status means: the `quintet.v1.Error` in its details, or, where there is
    /// none, what the gRPC code says.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        if let Some(error) = wire_error(status) {
            let maybe_committed = error.maybe_committed;
            let error = Self::from_wire(error);
            return if maybe_committed { error.to_unknown_outcome() } else { error };
        }
        let text = status.message().to_owned();
        match status.code() {
            tonic::Code::InvalidArgument => Self::InvalidArgument(text),
            tonic::Code::DeadlineExceeded => Self::DeadlineExceeded(text),
            tonic::Code::ResourceExhausted => Self::Overloaded { retry_after: None },
            tonic::Code::AlreadyExists => Self::AlreadyInitialized(text),
            tonic::Code::Unimplemented => {
                Self::Protocol(format!("the node does not serve quintet.v1: {text}"))
            }
            _ => Self::Unavailable(text),
        }
    }

    /// The error of a write of which some copy may have acted, with this one as the cause.
    pub(crate) fn to_unknown_outcome(&self) -> Self {
        match self {
            Self::UnknownOutcome(_) => self.clone(),
            cause => Self::UnknownOutcome(format!(
                "the write may have happened, or may happen still ({cause}); read before writing again"
            )),
        }
    }

    /// A node answered an operation with the result of another one.
    pub(crate) fn mismatch() -> Self {
        Self::Protocol("an answer of another kind".to_owned())
    }

    /// Whether trying the same node again is hopeless.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::WrongCluster(_)
                | Self::NotInitialized(_)
                | Self::EmptyNode(_)
                | Self::InvalidArgument(_)
        )
    }
}

/// The error that a node put into the details of a failed gRPC call; none where the call failed below
/// `quintet.v1`, so that nothing is known of it. For those who make such calls themselves, beside this
/// library.
#[must_use]
pub fn wire_error(status: &tonic::Status) -> Option<v1::Error> {
    details::error_in(status.details()).filter(|error| error.code() != v1::Code::Unspecified)
}
