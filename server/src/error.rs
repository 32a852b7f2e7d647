//! What a request can fail with, by what its caller does about it.
//!
//! One type from the range up to the doors, and between nodes: an error of another node comes off the wire as it was
//! sent ([`v1::Error`]), but for codes that only a later version knows.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, Code, RetryClass};

use crate::{
    ids::NodeId,
    time::{Timestamp, oracle::handle::NoTime},
};

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

impl From<NoTime> for OpError {
    fn from(why: NoTime) -> OpError {
        match why {
            NoTime::TooLate => OpError::deadline(),
            NoTime::Overloaded => OpError::overloaded(why.to_string()),
            NoTime::Silent | NoTime::Stopping => OpError::unavailable(why.to_string()),
        }
    }
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

    /// What a read is told of a moment that is not kept.
    pub fn collected() -> OpError {
        OpError::new(
            Code::VersionCollected,
            "the moment that is asked for is further back than versions are kept; ask for a later one",
        )
    }

    /// Too much is queued; nothing was begun.
    pub fn overloaded(message: impl Into<String>) -> OpError {
        let retry_after = Some(Duration::from_millis(20));
        OpError { retry_after, ..OpError::new(Code::Overloaded, message) }
    }

    /// What a read is answered for which there is no room.
    pub fn no_room() -> OpError {
        OpError::overloaded("too many bytes of answers wait; take them, then ask again")
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

    /// Whether this version knows the codes of an error that another node answered.
    pub fn knows(error: &v1::Error) -> bool {
        [error.code, error.refused_for].iter().all(|code| Code::try_from(*code).is_ok())
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
        | Code::EmptyNode
        | Code::SlowConsumer => RetryClass::Reroute,
        Code::UnknownOutcome => RetryClass::Ambiguous,
        _ => RetryClass::Never,
    }
}

impl From<OpError> for v1::Error {
    fn from(error: OpError) -> v1::Error {
        let current = (error.code == Code::Conflict).then(|| match error.current.as_deref() {
            Some(Standing { version, value, expires_at, ttl_ms, value_left_out }) => v1::KeyState {
                version: version.0,
                value: value.clone(),
                expires_at: expires_at.map_or(0, |at| at.0),
                ttl_ms: *ttl_ms,
                value_left_out: *value_left_out,
            },
            None => v1::KeyState::default(),
        });
        let retry_after = error.retry_after.map_or(0, |wait| wait.as_millis());
        v1::Error {
            code: error.code.into(),
            retry: error.retry_class().into(),
            maybe_committed: error.maybe_committed,
            retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
            current: current.map(Box::new),
            hint_address: error.hint.unwrap_or_default(),
            message: error.message,
            refused_for: error.refused_for.unwrap_or(Code::Unspecified).into(),
        }
    }
}

/// What stands for a code that this version does not know.
fn instead_of(retry: RetryClass) -> Code {
    match retry {
        RetryClass::Reroute => Code::Unavailable,
        RetryClass::Ambiguous => Code::UnknownOutcome,
        RetryClass::Never | RetryClass::RetryTxn | RetryClass::Unspecified => Code::Unspecified,
    }
}

/// An error that another node answered. Where a later version uses a code that this one does not know, the retry
/// class says what it is to this node.
impl From<v1::Error> for OpError {
    fn from(error: v1::Error) -> OpError {
        let retry = error.retry();
        let known = |code| Code::try_from(code).unwrap_or_else(|_| instead_of(retry));
        let code = known(error.code);
        let standing = |current: v1::KeyState| Standing {
            version: Timestamp(current.version),
            value: current.value,
            expires_at: (current.expires_at > 0).then_some(Timestamp(current.expires_at)),
            ttl_ms: current.ttl_ms,
            value_left_out: current.value_left_out,
        };
        let current = error.current.filter(|current| current.version > 0);
        let retry_after = Duration::from_millis(error.retry_after_ms.into());
        OpError {
            code,
            message: error.message,
            maybe_committed: error.maybe_committed,
            retry_after: (!retry_after.is_zero()).then_some(retry_after),
            current: current.map(|current| Box::new(standing(*current))),
            hint: Some(error.hint_address).filter(|hint| !hint.is_empty()),
            refused_for: (error.refused_for != 0).then(|| known(error.refused_for)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_out_of_another_nodes_answer_as_it_went_in() {
        let standing = Standing {
            version: Timestamp(7),
            value: Bytes::from("v"),
            expires_at: Some(Timestamp(9)),
            ttl_ms: 3,
            value_left_out: false,
        };
        let errors = [
            OpError::conflict(None),
            OpError::conflict(Some(standing)),
            OpError::overloaded("full"),
            OpError::not_leader(Some("a:1".to_owned())),
            OpError::ambiguous("who knows"),
            OpError {
                refused_for: Some(Code::Storage),
                ..OpError::ambiguous("full, and who knows")
            },
        ];
        for told in errors {
            let wire = v1::Error::from(told.clone());
            assert_eq!(v1::Error::from(OpError::from(wire.clone())), wire, "{told:?}");
        }
        let later =
            v1::Error { code: 1_000, retry: RetryClass::Reroute.into(), ..v1::Error::default() };
        assert_eq!(OpError::from(later).code, Code::Unavailable);
    }
}
