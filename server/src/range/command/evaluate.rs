//! What a request means on a given state at a given moment: the leader's half, pure.
//!
//! It gets what stands at the key and the timestamp of the write, and says what is written and what the caller is
//! told. Nothing is read, and no clock is looked at, so that the same request on the same state gives the same result
//! on every leader. Followers do not evaluate: the log carries results (`apply.rs`).
//!
//! Conditions are one rule for all requests that have one; what a request does where it holds is in the file of the
//! request. Requests on several keys have no condition, and no effect on *a* key: `put_many.rs`,
//! `delete_range.rs`.

use super::{delete, expire, increment, put};
use crate::{
    range::{held::Current, request::WriteKind},
    storage::format::{command::Effect, request::Outcome},
    time::Timestamp,
};

/// What a request does at the timestamp `at` to a state as it is then ([`Current::seen_at`]), and
/// what its caller is told.
pub fn evaluate(current: &Current, kind: &WriteKind, at: Timestamp) -> (Effect, Outcome) {
    match kind {
        WriteKind::Put { condition, .. }
        | WriteKind::Delete { condition }
        | WriteKind::Expire { condition, .. }
            if !current.holds(*condition) =>
        {
            (Effect::Nothing, Outcome::Conflict(current.version()))
        }
        WriteKind::Put { value, life, .. } => put::evaluate(current, value, *life, at),
        WriteKind::Delete { .. } => delete::evaluate(current),
        WriteKind::Increment { delta, ttl } => increment::evaluate(current, *delta, *ttl, at),
        WriteKind::Expire { ttl, .. } => expire::evaluate(current, *ttl, at),
        WriteKind::PutMany(_) | WriteKind::DeleteRange(_) => (Effect::Nothing, Outcome::Written),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::range::{
        expiry::expiry,
        held::Held,
        request::{Condition, Lifetime},
    };

    const AT: Timestamp = Timestamp(100);

    fn holding(version: u64, value: &'static str) -> Current {
        expiring(version, value, None)
    }

    fn expiring(version: u64, value: &'static str, expires_at: Option<u64>) -> Current {
        let value = Bytes::from_static(value.as_bytes());
        let expires_at = expires_at.map(Timestamp);
        Current(Some(Held { version: Timestamp(version), value, expires_at }))
    }

    fn evaluate(current: &Current, kind: &WriteKind) -> (Effect, Outcome) {
        super::evaluate(current, kind, AT)
    }

    /// When what a request leaves expires.
    fn left(current: &Current, kind: &WriteKind) -> Option<Timestamp> {
        match evaluate(current, kind).0 {
            Effect::Put { expires_at, .. } => expires_at,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conditions() {
        let put = |condition| WriteKind::Put {
            value: Bytes::from_static(b"new"),
            condition,
            life: Lifetime::Forever,
        };
        let refused = |current: &Current, condition| {
            evaluate(current, &put(condition))
                == (Effect::Nothing, Outcome::Conflict(current.version()))
        };
        assert!(refused(&holding(5, "x"), Condition::Absent));
        assert!(refused(&holding(5, "x"), Condition::Version(Timestamp(4))));
        assert!(refused(&Current(None), Condition::Version(Timestamp(4))));
        assert!(!refused(&Current(None), Condition::Absent));
        assert!(!refused(&holding(5, "x"), Condition::Version(Timestamp(5))));
    }

    #[test]
    fn increments() {
        let add = |current: &Current, delta| {
            evaluate(current, &WriteKind::Increment { delta, ttl: None }).1
        };
        assert_eq!(add(&Current(None), 3), Outcome::Number(3));
        assert_eq!(add(&holding(1, "-5"), 3), Outcome::Number(-2));
        assert_eq!(add(&holding(1, "five"), 3), Outcome::NotANumber);
        assert_eq!(add(&holding(1, "9223372036854775807"), 1), Outcome::NotANumber);
    }

    #[test]
    fn deleting_nothing_does_nothing() {
        let delete = WriteKind::Delete { condition: Condition::Always };
        assert_eq!(evaluate(&Current(None), &delete), (Effect::Nothing, Outcome::NothingToDelete));
        assert_eq!(evaluate(&holding(1, "x"), &delete), (Effect::Delete, Outcome::Written));
    }

    #[test]
    fn a_key_is_absent_from_its_expiry_on() {
        let (current, before) = (expiring(5, "7", Some(AT.0)), Timestamp(AT.0 - 1));
        assert_eq!(current.clone().seen_at(before), current);
        assert_eq!(current.seen_at(AT), Current(None));
        let forever = holding(5, "7");
        assert_eq!(forever.clone().seen_at(Timestamp::MAX), forever);
    }

    #[test]
    fn who_sets_an_expiry_and_who_keeps_it() {
        let ms = Duration::from_millis(1);
        let after_ms = Some(AT.saturating_add(ms));
        let put = |life| WriteKind::Put {
            value: Bytes::from_static(b"1"),
            condition: Condition::Always,
            life,
        };
        let add = |ttl| WriteKind::Increment { delta: 1, ttl };
        let expire = |ttl| WriteKind::Expire { ttl, condition: Condition::Always };
        let (lasting, expiring) = (holding(5, "7"), expiring(5, "7", Some(200)));
        for current in [&lasting, &expiring, &Current(None)] {
            assert_eq!(left(current, &put(Lifetime::Forever)), None);
            assert_eq!(left(current, &put(Lifetime::For(ms))), after_ms);
            assert_eq!(left(current, &add(Some(ms))), after_ms);
            assert_eq!(left(current, &put(Lifetime::AsBefore)), current.expires_at());
            assert!(!put(Lifetime::AsBefore).is_unconditional(), "it needs to know what is there");
        }
        assert_eq!(left(&expiring, &add(None)), Some(Timestamp(200)));
        assert_eq!(left(&lasting, &add(None)), None);
        for current in [&lasting, &expiring] {
            assert_eq!(left(current, &expire(None)), None);
            assert_eq!(left(current, &expire(Some(ms))), after_ms);
            let (effect, outcome) = evaluate(current, &expire(None));
            let value = Bytes::from_static(b"7");
            assert_eq!(effect, Effect::Put { value, expires_at: None });
            assert_eq!(outcome, Outcome::Written);
        }
        let nothing = (Effect::Nothing, Outcome::NoSuchKey);
        assert_eq!(evaluate(&Current(None), &expire(None)), nothing);
        let other = WriteKind::Expire { ttl: None, condition: Condition::Version(Timestamp(4)) };
        let conflict = (Effect::Nothing, Outcome::Conflict(Timestamp(5)));
        assert_eq!(evaluate(&lasting, &other), conflict);
        // The end of time is reached, not passed.
        assert!(expiry(AT, Some(Duration::MAX)) > Some(Timestamp(u64::MAX >> 1)));
    }
}
