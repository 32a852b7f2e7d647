//! The front doors: decode, validate, identify, map errors.
//!
//! Every request has a caller, checked in one place, [`decode::decode`]; until there are users that
//! is [`decode::Caller::Anonymous`].

pub mod admin;
mod budget;
pub mod decode;
mod delete_range;
pub(crate) mod encode;
#[cfg(not(madsim))]
pub(crate) mod health;
pub mod kv;
pub(crate) mod line;
#[cfg(not(madsim))]
pub(crate) mod outgoing;
mod scan;
mod session;

pub(crate) use encode::{error as encode_error, response as encode_response};
