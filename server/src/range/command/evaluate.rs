//! What a request means on a given state: the leader's half, pure.

use bytes::Bytes;

use crate::{
    storage::codec::{Effect, Outcome},
    time::Timestamp,
};

/// When a write may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this version.
    Version(Timestamp),
}

/// What a request asks of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A new value.
    Put {
        /// The value.
        value: Bytes,
        /// When it may happen.
        condition: Condition,
    },
    /// Absence.
    Delete {
        /// When it may happen.
        condition: Condition,
    },
    /// The sum of the decimal number in the key, absent being 0, and a number.
    Increment {
        /// The number.
        delta: i64,
    },
}

/// A key's newest state: version and value, or absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current(pub Option<(Timestamp, Bytes)>);

impl Current {
    /// The version, or `ZERO` where the key is absent.
    pub fn version(&self) -> Timestamp {
        self.0.as_ref().map_or(Timestamp::ZERO, |(at, _)| *at)
    }

    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Absent => self.0.is_none(),
            Condition::Version(version) => self.version() == version && self.0.is_some(),
        }
    }

    /// The state after an effect at a timestamp.
    pub fn after(&self, effect: &Effect, at: Timestamp) -> Current {
        match effect {
            Effect::Nothing => self.clone(),
            Effect::Delete => Current(None),
            Effect::Put { value, .. } => Current(Some((at, value.clone()))),
        }
    }
}

/// What a request does to a state, and what its caller is told.
pub fn evaluate(current: &Current, kind: &WriteKind) -> (Effect, Outcome) {
    match kind {
        WriteKind::Put { condition, .. } | WriteKind::Delete { condition }
            if !current.holds(*condition) =>
        {
            (Effect::Nothing, Outcome::Conflict(current.version()))
        }
        WriteKind::Put { value, .. } => {
            (Effect::Put { value: value.clone(), expires_at: None }, Outcome::Written)
        }
        WriteKind::Delete { .. } if current.0.is_none() => {
            (Effect::Nothing, Outcome::NothingToDelete)
        }
        WriteKind::Delete { .. } => (Effect::Delete, Outcome::Written),
        WriteKind::Increment { delta } => match sum(current, *delta) {
            Some(sum) => {
                let value = Bytes::from(sum.to_string());
                (Effect::Put { value, expires_at: None }, Outcome::Number(sum))
            }
            None => (Effect::Nothing, Outcome::NotANumber),
        },
    }
}

fn sum(current: &Current, delta: i64) -> Option<i64> {
    let number = match &current.0 {
        None => 0,
        Some((_, value)) => std::str::from_utf8(value).ok()?.parse::<i64>().ok()?,
    };
    number.checked_add(delta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(version: u64, value: &'static str) -> Current {
        Current(Some((Timestamp(version), Bytes::from_static(value.as_bytes()))))
    }

    #[test]
    fn conditions() {
        let put = |condition| WriteKind::Put { value: Bytes::from_static(b"new"), condition };
        let refused = |current: &Current, condition| {
            evaluate(current, &put(condition))
                == (Effect::Nothing, Outcome::Conflict(current.version()))
        };
        assert!(refused(&holding(5, "x"), Condition::Absent));
        assert!(refused(&holding(5, "x"), Condition::Version(Timestamp(4))));
        assert!(refused(&Current(None), Condition::Version(Timestamp(4))));
        // Version 0 means absent on the wire; as a condition it never holds.
        assert!(refused(&Current(None), Condition::Version(Timestamp::ZERO)));
        assert!(!refused(&Current(None), Condition::Absent));
        assert!(!refused(&holding(5, "x"), Condition::Version(Timestamp(5))));
    }

    #[test]
    fn increments() {
        let add = |current: &Current, delta| evaluate(current, &WriteKind::Increment { delta }).1;
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
}
