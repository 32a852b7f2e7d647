//! Wire schemas of Quintet and the types generated from them. No logic, but for two requests that are
//! decoded within bounds ([`bounded`]), and for how an error goes with a failed gRPC call ([`details`]).
//!
//! [`v1`] is public and stable; [`internal`] is spoken only between the nodes of one cluster.

pub mod bounded;
pub mod details;
mod op;

/// The public interface: `quintet.v1`.
pub mod v1 {

    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    pub use crate::bounded::{BatchGetRequest, BatchPutRequest};
    tonic::include_proto!("quintet.v1");
}

/// Between nodes: `quintet.internal.v1`.
pub mod internal {
    /// Version 1.
    pub mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::allow_attributes_without_reason,
            reason = "generated code"
        )]
        tonic::include_proto!("quintet.internal.v1");
    }
}

/// The encoded descriptor set of the public schema alone, for gRPC reflection: what clients are served.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
