//! What a request can fail with, by what its caller does about it.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{Code, RetryClass};

use crate::{ids::NodeId, time::Timestamp};

/// What a key holds, as an answer tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Timestamp of the write.
    pub version: Timestamp,
    /// Its value.
    pub value: Bytes,
    /// From then on the key is absent.
    pub expires_at: Option<Timestamp>,
    /// Milliseconds until then.
    pub ttl_ms: u64,
    /// There is a value, and there was no room to answer it.
    pub value_left_out: bool,
}

/// A request that got no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// The stable code.
    pub code: Code,
    /// One line that says what to do.
    pub message: String,
    /// Whether the request may have taken effect, or may do so still.
    pub maybe_committed: bool,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
    /// With [`Code::Conflict`]: what stands.
    pub current: Option<Box<Standing>>,
    /// Client address of a node that is likely to know better.
    pub hint: Option<String>,
    /// Where an earlier copy may have acted: why this copy was refused, which says whether to ask again.
    pub refused_for: Option<Code>,
}

impl OpError {
    /// An error after which nothing was done and nothing will be.
    pub fn new(code: Code, message: impl Into<String>) -> OpError {
        OpError {
            code,
            message: message.into(),
            maybe_committed: false,
            retry_after: None,
            current: None,
            hint: None,
            refused_for: None,
        }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> OpError {
        OpError::new(Code::InvalidArgument, message)
    }

    /// This node belongs to no cluster, while nodes around it belong to `around`, or to none either.
    pub fn no_cluster(node: NodeId, around: Option<&str>) -> OpError {
        let Some(cluster) = around else {
            let message = "no cluster has been formed yet: run 'quintet cluster init'";
            return OpError::new(Code::NotInitialized, message);
        };
        let message = format!(
            "node {} has an empty directory and takes part in nothing, while the nodes around belong to \
             cluster {cluster}; if it lost its disk, 'quintet replace {}' takes it back",
            node.0, node.0
        );
        OpError::new(Code::EmptyNode, message)
    }

    /// This replica does not lead the range; nothing was begun.
    pub fn not_leader(hint: Option<String>) -> OpError {
        let message = "the range has no leader here; try again, or another node";
        OpError { hint, ..OpError::new(Code::NotLeader, message) }
    }

    /// The disk of the node that leads the range does not answer, and another one takes over; nothing was
    /// begun.
    pub fn hung_leader() -> OpError {
        let message =
            "the disk of the range's leader does not answer; another node takes over, try again";
        OpError::new(Code::NotLeader, message)
    }

    /// The key is not, or no more, in the range that was asked; nothing was begun.
    pub fn stale_route() -> OpError {
        OpError::new(Code::StaleRoute, "the key is in another range by now; try again")
    }

    /// The keys of a batch are not all in the range of the first; no copy of it was done or will be.
    pub fn several_ranges() -> OpError {
        let message = "the keys lie in several ranges: group them anew, under new request ids";
        OpError::new(Code::SeveralRanges, message)
    }

    /// No leader can be reached; nothing was begun.
    pub fn unavailable(message: impl Into<String>) -> OpError {
        OpError::new(Code::Unavailable, message)
    }

    /// The request was begun, and what became of it is not known.
    pub fn ambiguous(message: impl Into<String>) -> OpError {
        OpError { maybe_committed: true, ..OpError::new(Code::UnknownOutcome, message) }
    }

    /// Too much is queued; nothing was begun.
    pub fn overloaded(message: impl Into<String>) -> OpError {
        let retry_after = Some(Duration::from_millis(20));
        OpError { retry_after, ..OpError::new(Code::Overloaded, message) }
    }

    /// The time ran out before the request was begun.
    pub fn deadline() -> OpError {
        let message = "the deadline passed before the request was begun; give it more time";
        OpError::new(Code::DeadlineExceeded, message)
    }

    /// The condition did not hold.
    pub fn conflict(current: Option<Standing>) -> OpError {
        let current = current.map(Box::new);
        let message = match &current {
            Some(standing) => {
                format!("the key has version {} now; read it again", standing.version.0)
            }
            None => "the key does not exist now; read it again".to_owned(),
        };
        OpError { current, ..OpError::new(Code::Conflict, message) }
    }

    /// What may be tried again, and how.
    pub fn retry_class(&self) -> RetryClass {
        if let Some(code) = self.refused_for {
            return match of_refusal(code) {
                RetryClass::Never => RetryClass::Never,
                _ => RetryClass::Ambiguous,
            };
        }
        if self.maybe_committed { RetryClass::Ambiguous } else { of_refusal(self.code) }
    }

    /// The code of an error which says that the request came to the wrong place, and that nothing was begun.
    pub fn misrouted(&self) -> Option<Code> {
        let is_definite = self.retry_class() == RetryClass::Reroute && !self.maybe_committed;
        let is_elsewhere = matches!(self.code, Code::NotLeader | Code::StaleRoute);
        (is_definite && is_elsewhere).then_some(self.code)
    }
}

/// What may be tried again after a refusal, and how.
fn of_refusal(code: Code) -> RetryClass {
    match code {
        Code::Unavailable
        | Code::Overloaded
        | Code::NotLeader
        | Code::StaleRoute
        | Code::NotInitialized
        | Code::EmptyNode => RetryClass::Reroute,
        Code::UnknownOutcome => RetryClass::Ambiguous,
        _ => RetryClass::Never,
    }
}
