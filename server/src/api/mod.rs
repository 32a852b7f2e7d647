//! The front doors: decode, validate, identify, map errors.
//!
//! Every request has a caller, checked in one place, [`decode::decode`]; until there are users that
//! is [`decode::Caller::Anonymous`].

pub mod admin;
pub mod decode;
mod delete_range;
pub(crate) mod encode;
pub mod kv;
mod scan;
mod session;

pub(crate) use encode::{error as encode_error, response as encode_response};
