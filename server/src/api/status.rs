//! Errors and answers in gRPC's model: the one place where a code of ours becomes one of gRPC's.

use quintet_proto::{
    details,
    v1::{self, Code},
};
use tonic::Status;

use crate::{error::OpError, router::Router};

/// The gRPC status of an error, with the error and what gRPC's clients understand of it in its details.
pub(super) fn status(error: OpError) -> Status {
    let error = v1::Error::from(error);
    let code = match error.code() {
        Code::InvalidArgument | Code::NotANumber => tonic::Code::InvalidArgument,
        Code::Conflict | Code::RequestIdReused | Code::Expired => tonic::Code::FailedPrecondition,
        Code::VersionCollected => tonic::Code::OutOfRange,
        Code::AlreadyInitialized => tonic::Code::AlreadyExists,
        Code::WrongCluster | Code::NotInitialized | Code::EmptyNode | Code::NodeNotEmpty => {
            tonic::Code::FailedPrecondition
        }
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Overloaded | Code::Storage | Code::SlowConsumer => tonic::Code::ResourceExhausted,
        Code::Unavailable | Code::NotLeader | Code::StaleRoute => tonic::Code::Unavailable,
        Code::SeveralRanges => tonic::Code::FailedPrecondition,
        Code::UnknownOutcome | Code::Unspecified => tonic::Code::Unknown,
    };
    let details = details::of(code.into(), &error);
    Status::with_details(code, error.message, details)
}

pub(super) fn unexpected() -> Status {
    Status::internal("an answer of another kind")
}

pub(super) fn stamp(router: &Router) -> Option<v1::ResponseContext> {
    Some(v1::ResponseContext { cluster_time: router.oracle().now().0 })
}
