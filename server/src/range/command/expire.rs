//! Expire: the same value with another expiry, or with none. It is a new version, as every change of a key.

use std::time::Duration;

use crate::{
    planted::{Bug, active},
    range::{expiry::expiry, held::Current},
    storage::format::{command::Effect, request::Outcome},
    time::Timestamp,
};

/// What a change of the expiry at `at` does; its condition holds.
pub(super) fn evaluate(
    current: &Current,
    ttl: Option<Duration>,
    at: Timestamp,
) -> (Effect, Outcome) {
    let Some(held) = &current.0 else { return (Effect::Nothing, Outcome::NoSuchKey) };
    let expires_at = match ttl {
        // The careless hand: "nothing is asked for, so nothing changes".
        None if active(Bug::PersistForgotten) => held.expires_at,
        ttl => expiry(at, ttl),
    };
    (Effect::Put { value: held.value.clone(), expires_at }, Outcome::Written)
}
