//! Increment: the sum of a number and the decimal number in the key, absent being 0. A value that is no number, or a
//! sum that does not fit, is a refusal.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    planted::{Bug, active},
    range::{expiry::expiry, held::Current},
    storage::format::{command::Effect, request::Outcome},
    time::Timestamp,
};

/// What an increment at `at` does. Without a `ttl` the key's expiry stays as it is.
pub(super) fn evaluate(
    current: &Current,
    delta: i64,
    ttl: Option<Duration>,
    at: Timestamp,
) -> (Effect, Outcome) {
    let Some(sum) = sum(current, delta) else { return (Effect::Nothing, Outcome::NotANumber) };
    let value = Bytes::from(sum.to_string());
    // The careless hand: "a new value is a new value".
    let kept = current.expires_at().filter(|_| !active(Bug::IncrementDropsExpiry));
    let expires_at = expiry(at, ttl).or(kept);
    (Effect::Put { value, expires_at }, Outcome::Number(sum))
}

fn sum(current: &Current, delta: i64) -> Option<i64> {
    let number = match &current.0 {
        None => 0,
        Some(held) => std::str::from_utf8(&held.value).ok()?.parse::<i64>().ok()?,
    };
    number.checked_add(delta)
}
