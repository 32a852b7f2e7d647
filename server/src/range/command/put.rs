//! Put: a new value, whatever the key held.

use bytes::Bytes;

use crate::{
    planted::{Bug, active},
    range::{expiry::expiry, held::Current, request::Lifetime},
    storage::format::{command::Effect, request::Outcome},
    time::Timestamp,
};

/// What a put at `at` does; its condition holds.
pub(super) fn evaluate(
    current: &Current,
    value: &Bytes,
    life: Lifetime,
    at: Timestamp,
) -> (Effect, Outcome) {
    let expires_at = match life {
        // The careless hand: "a new value is a new value".
        Lifetime::AsBefore if active(Bug::KeptExpiryDropped) => None,
        Lifetime::AsBefore => current.expires_at(),
        Lifetime::Forever | Lifetime::For(_) => expiry(at, life.ttl()),
    };
    (Effect::Put { value: value.clone(), expires_at }, Outcome::Written)
}
